package etcd

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// LeaseTTL asks for how many seconds a lease was granted. ok is false for a lease that has expired or was revoked: nobody can
// tell any more. The leader answers it, through the member: without one the error wraps ErrNoQuorum, and that of a learner
// ErrLearner.
func (c *Client) LeaseTTL(ctx context.Context, id int64) (seconds int64, ok bool, err error) {
	r, err := pb.NewLeaseClient(c.awake(ctx)).LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id})
	if err != nil {
		return 0, false, c.explain(ctx, fmt.Sprintf("time to live of lease %x", id), err)
	}
	return r.GetGrantedTTL(), r.GetGrantedTTL() > 0, nil
}

// Leases lists the IDs of all leases as the member knows them.
func (c *Client) Leases(ctx context.Context) ([]int64, error) {
	r, err := pb.NewLeaseClient(c.awake(ctx)).LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		return nil, c.explain(ctx, "list leases", err)
	}
	ids := make([]int64, 0, len(r.GetLeases()))
	for _, l := range r.GetLeases() {
		ids = append(ids, l.GetID())
	}
	return ids, nil
}
