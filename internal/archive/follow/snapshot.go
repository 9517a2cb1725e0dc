package follow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
)

// leaseBucket holds the leases of a store: by ID, eight bytes big-endian, a leasepb.Lease
// (etcd server/storage/schema/lease.go).
var leaseBucket = []byte("lease")

// FromSnapshot makes the segments between a position and a snapshot out of the snapshot's store, which tx reads: what a
// watch would have told, byte for byte. It ends with revision upTo, or with the snapshot's own for 0, and returns the position
// reached. The caller has checked the store, and that it is what m describes: bbolt panics on damage.
//
// When anything happened is not known better than between the position and the capture, and the segments say so. A snapshot
// of another history is an error wrapping ErrOtherHistory. Where a compaction has overtaken the position it wraps
// etcd.ErrCompacted: what lies between is a gap, and the snapshot itself closes it.
func (f *Follower) FromSnapshot(ctx context.Context, tx *bolt.Tx, m *repo.Manifest, from Position, upTo int64) (Position, error) {
	if upTo == 0 || upTo > m.Revision {
		upTo = m.Revision
	}
	if err := continues(ctx, tx, m, from); err != nil {
		return from, fmt.Errorf("segments from snapshot %s: %w", m.ID, err)
	}
	if upTo <= from.Revision {
		return from, nil
	}
	x := &extraction{
		ctx: ctx, tx: tx, upTo: upTo, lost: make(map[int64]bool),
		recorder: recorder{f: f, at: from, member: m.Member, compact: m.CompactRevision, clock: archive.NewClock(from.Time)},
	}
	if x.at.EtcdClusterID == "" {
		x.at.EtcdClusterID = m.EtcdClusterID
	}
	x.seen = nextSecond(x.clock.At(m.CaptureEnd))
	err := mvcc.Extract(ctx, tx, from.Revision, upTo, x.add)
	if err == nil {
		err = x.end()
	}
	if err != nil {
		return x.at, fmt.Errorf("segments from snapshot %s: %w", m.ID, errors.Join(err, x.discard()))
	}
	return x.at, nil
}

// continues checks that the store holds what comes after the position.
func continues(ctx context.Context, tx *bolt.Tx, m *repo.Manifest, from Position) error {
	switch {
	case from.EtcdClusterID != "" && m.EtcdClusterID != from.EtcdClusterID:
		return fmt.Errorf("%w: it is of cluster %s, not %s", ErrOtherHistory, m.EtcdClusterID, from.EtcdClusterID)
	case m.Revision < from.Revision:
		return fmt.Errorf("%w: it ends with revision %d, the archive with %d", ErrOtherHistory, m.Revision, from.Revision)
	case m.CompactRevision > from.Revision:
		return &etcd.CompactedError{Wanted: from.Revision + 1, Compact: m.CompactRevision}
	case m.CompactRevision == from.Revision || from.RevisionSHA256 == "":
		return nil // the last archived revision may be compacted in part, or is not known
	}
	sum, err := storedHash(ctx, tx, from.Revision)
	if err != nil {
		return err
	}
	if sum != from.RevisionSHA256 {
		return fmt.Errorf("%w: revision %d has other changes", ErrOtherHistory, from.Revision)
	}
	return nil
}

// extraction is FromSnapshot at work.
type extraction struct {
	recorder
	ctx  context.Context
	tx   *bolt.Tx
	upTo int64
	seen time.Time      // by when all of it had happened
	lost map[int64]bool // leases that nobody can tell of
}

func (x *extraction) add(e mvcc.Entry) error {
	if e.Sub == 0 && x.full() {
		if err := x.finish(x.ctx, before(x.seen)); err != nil {
			return err
		}
	}
	return x.append(e, archive.Stamp{Time: x.seen, Late: true}, x.granted)
}

func (x *extraction) end() error {
	if x.draft == nil || x.last() != x.upTo {
		return fmt.Errorf("the store ends with revision %d, not %d", x.last(), x.upTo)
	}
	return x.finish(x.ctx, x.seen)
}

// granted is for how long a lease was granted, from the store itself, else from what the cluster has answered.
func (x *extraction) granted(id int64) (int64, error) {
	if b := x.tx.Bucket(leaseBucket); b != nil {
		if record := b.Get(binary.BigEndian.AppendUint64(nil, uint64(id))); record != nil {
			var l leasepb.Lease
			if err := proto.Unmarshal(record, &l); err != nil {
				return 0, fmt.Errorf("lease %x: %w", id, err)
			}
			return l.GetTTL(), nil
		}
	}
	seconds, known := x.f.leases.ttl(id)
	if !known && !x.lost[id] {
		x.lost[id] = true
		x.f.unknown.Add(1)
	}
	return x.f.orUnknown(seconds), nil
}

// orUnknown is what is written for an answer.
func (f *Follower) orUnknown(seconds int64) int64 {
	if seconds == 0 {
		return f.cfg.UnknownTTL
	}
	return seconds
}

// nextSecond rounds up: a late stamp must not be earlier than what it is about.
func nextSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second)
	}
	return t
}

// before is the end of a segment that others follow which were seen at the same time: at that time itself, the last of them
// is the one to ask.
func before(seen time.Time) time.Time { return seen.Add(-time.Second) }
