package etcd

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrUnsupported is wrapped when the server is too old for a question.
var ErrUnsupported = errors.New("this version of etcd cannot tell")

// AuthRevision is a number that changes with each change of users, roles, and of whether there are any: no watch tells of
// these. etcd 3.4 cannot tell it: ErrUnsupported. Where etcd has users, 3.5 and 3.6 tell it to the root role only.
//
// etcd answers it through raft: each call is an entry in the log of every member. Once a minute is often enough.
func (c *Client) AuthRevision(ctx context.Context) (uint64, error) {
	r, err := pb.NewAuthClient(c.awake(ctx)).AuthStatus(ctx, &pb.AuthStatusRequest{})
	if status.Code(err) == codes.Unimplemented {
		return 0, fmt.Errorf("auth status: %s: %w", c.url, ErrUnsupported)
	}
	if err != nil {
		return 0, c.explain(ctx, "auth status", err)
	}
	return r.GetAuthRevision(), nil
}
