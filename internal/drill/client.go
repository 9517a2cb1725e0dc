package drill

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// askTimeout is how long one request to the scratch etcd may take. It reads from memory or a local file, with the lowest
	// priority on a machine that may be busy: what takes longer says something about the machine only.
	askTimeout = 2 * time.Minute
	// hashTimeout is askTimeout for a request that reads the whole store.
	hashTimeout = 20 * time.Minute
	// askAgain is the pause before a request is repeated. There is at most one under way.
	askAgain = 500 * time.Millisecond
	// deathDelay is how long a dead etcd may take to be known as dead, after a request to it has failed: it ends with the lowest
	// priority, too.
	deathDelay = 20 * time.Second
	// maxAnswer is the largest answer that is accepted, in bytes: a value may be as large as the server was told to allow.
	maxAnswer = 1<<31 - 1
)

// get reads keys.
func (a *attempt) get(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	var answer *pb.RangeResponse
	err := a.ask(ctx, askTimeout, func(ctx context.Context) (err error) {
		answer, err = pb.NewKVClient(a.etcd.Conn()).Range(ctx, req, grpc.MaxCallRecvMsgSize(maxAnswer))
		return err
	})
	return answer, err
}

// ask makes one request and finds out what its failure means. A refusal that passes is asked about again while the etcd
// lives: etcd gives up on a request after five seconds, which a disk that stands still for a moment is enough for.
func (a *attempt) ask(ctx context.Context, limit time.Duration, request func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := request(limited)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case limited.Err() == nil && !passes(err):
			return err
		}
		select {
		case <-a.etcd.Exited():
			return a.explainDeath(ctx, err)
		case <-limited.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return unsuref("etcd did not answer within %v: %w", limit, err)
		case <-time.After(askAgain):
		}
	}
}

// passes reports whether an answer says that etcd, or the way to it, is not fit to answer at the moment.
func passes(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return true // such as "etcdserver: request timed out", "etcdserver: no leader", or an end of the process
	}
	return rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(rpctypes.ErrGRPCRequestTooManyRequests)
}

// explainDeath says why etcd does not answer any more. While it lives on, and when somebody ended it, that says nothing about
// the backup.
func (a *attempt) explainDeath(ctx context.Context, err error) error {
	select {
	case <-a.etcd.Exited():
		if end := a.etcd.Err(); end != nil {
			return fmt.Errorf("%w: etcd has ended: %w", err, end)
		}
		return unsuref("%w: etcd has ended as if it had been asked to", err)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(deathDelay):
		if passes(err) {
			return unsure{err}
		}
		return err
	}
}
