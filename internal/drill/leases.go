package drill

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/proof"
)

// leasesOf reads the lease records of a restored data directory: the seconds that each has left when etcd starts. The
// file has passed its inspection.
func leasesOf(dataDir string) (map[int64]int64, error) {
	db, err := bolt.Open(filepath.Join(dataDir, "member", "snap", "db"), 0o400, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	leases := make(map[int64]int64)
	err = db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("lease"))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			var l leasepb.Lease
			if err := proto.Unmarshal(v, &l); err != nil || len(k) != 8 {
				return fmt.Errorf("lease record %x is malformed: %w", k, err)
			}
			left := l.GetTTL()
			if l.GetRemainingTTL() > 0 {
				left = l.GetRemainingTTL()
			}
			leases[int64(binary.BigEndian.Uint64(k))] = left
			return nil
		})
	})
	return leases, err
}

// leaseMargin is how much earlier than by its record a lease may end, as seen from here, in seconds: it runs from when the
// member took the lead, and etcd looks twice a second.
const leaseMargin = 5

// checkLeases expects every lease that was restored, except those that have run out since etcd was started.
func (a *attempt) checkLeases(ctx context.Context, c *proof.Check) error {
	var answer *pb.LeaseLeasesResponse
	err := a.ask(ctx, askTimeout, func(ctx context.Context) (err error) {
		answer, err = pb.NewLeaseClient(a.etcd.Conn()).LeaseLeases(ctx, &pb.LeaseLeasesRequest{}, grpc.MaxCallRecvMsgSize(maxAnswer))
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for leases: %w", err)
	}
	running := int64(time.Since(a.booted)/time.Second) + leaseMargin
	c.Expected, c.Found = fmt.Sprint(len(a.leases)), fmt.Sprint(len(answer.GetLeases()))
	there := make(map[int64]bool, len(answer.GetLeases()))
	for _, l := range answer.GetLeases() {
		if _, known := a.leases[l.GetID()]; !known {
			return fmt.Errorf("lease %x was not in the restored store", l.GetID())
		}
		there[l.GetID()] = true
	}
	for id, left := range a.leases {
		if !there[id] && left > running {
			return fmt.Errorf("lease %x with %d seconds left is not there", id, left)
		}
	}
	return nil
}
