package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// CaughtUp waits until the member has everything that its cluster had committed when it was asked, and returns its revision then. It
// is a linearizable count of one key: the leader is asked how far the cluster is, and the member answers when it is there. So a
// member that is behind, for it has just started or receives a snapshot from its leader, is told from one that has
// another history. Without a leader the error wraps ErrNoQuorum; a member that does not get there ends with ctx.
func (c *Client) CaughtUp(ctx context.Context) (revision int64, err error) {
	answer, err := pb.NewKVClient(c.awake(ctx)).Range(ctx, &pb.RangeRequest{Key: []byte{0}, CountOnly: true})
	if err != nil {
		return 0, c.explain(ctx, "wait for the member to catch up", err)
	}
	return answer.GetHeader().GetRevision(), nil
}
