package archive

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/snapshot"
)

// Buckets and keys of an etcd store (etcd server/storage/schema/bucket.go).
var (
	metaBucket  = []byte("meta")
	leaseBucket = []byte("lease")

	compactKeys = [][]byte{[]byte("finishedCompactRev"), []byte("scheduledCompactRev")}
)

// storeAt reads a store's revision and compact revision. The newest change may have been compacted away: then the store is at the
// revision of the compaction (etcd server/storage/mvcc/kvstore.go, restore).
func storeAt(db *bolt.DB) (revision, compact int64, err error) {
	compact = snapshot.NeverCompacted
	err = db.View(func(tx *bolt.Tx) error {
		keys, meta := tx.Bucket(mvcc.Bucket), tx.Bucket(metaBucket)
		if keys == nil {
			return mvcc.ErrNoBucket
		}
		revision = 1 // of a store in which nothing was ever written
		if k, _ := keys.Cursor().Last(); k != nil {
			p, err := mvcc.ParsePosition(k)
			if err != nil {
				return err
			}
			revision = p.Main
		}
		for _, name := range compactKeys {
			if meta == nil || meta.Get(name) == nil {
				continue
			}
			p, err := mvcc.ParsePosition(meta.Get(name))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			compact = max(compact, p.Main)
		}
		revision = max(revision, compact)
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("read the store: %w", err)
	}
	return revision, compact, nil
}

// leaseTimes are the seconds that leases were granted for, by ID; 0: nobody could tell.
type leaseTimes map[int64]int64

// tell takes note of a lease. Once replay is where it should be, only of one that is not known yet: the same ID may be
// granted again later.
func (t leaseTimes) tell(l Lease, before bool) {
	if old, known := t[l.ID]; !known || before && (l.TTL > 0 || old == 0) {
		t[l.ID] = l.TTL
	}
}

// finish hashes the store and writes the leases that its live keys name.
func (r *replay) finish() error {
	hash, err := r.hash()
	if err != nil {
		return err
	}
	r.out.Revision, r.out.Hash = r.at, hash
	err = r.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(leaseBucket)
		if err != nil {
			return err
		}
		for _, id := range hash.Leases {
			if err := r.writeLease(b, id); err != nil {
				return fmt.Errorf("lease %x: %w", id, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write leases: %w", err)
	}
	return nil
}

// writeLease sets one record to what the segments tell, which is newer than what the snapshot has: an ID may be granted again.
func (r *replay) writeLease(b *bolt.Bucket, id int64) error {
	key := binary.BigEndian.AppendUint64(nil, uint64(id))
	there := b.Get(key)
	ttl := r.leases[id]
	if there != nil {
		var old leasepb.Lease
		if err := proto.Unmarshal(there, &old); err != nil {
			return err
		}
		if ttl == 0 || old.GetTTL() == ttl {
			return nil
		}
	}
	if ttl == 0 {
		r.out.LeasesUnknown = append(r.out.LeasesUnknown, id)
		return nil
	}
	record, err := proto.Marshal(&leasepb.Lease{ID: id, TTL: ttl})
	if err != nil {
		return err
	}
	r.out.LeasesWritten++
	return b.Put(key, record)
}

func (r *replay) hash() (hash snapshot.Hash, err error) {
	err = r.db.View(func(tx *bolt.Tx) error {
		hash, err = snapshot.HashKV(r.ctx, tx, r.at, r.compact)
		return err
	})
	if err != nil {
		return snapshot.Hash{}, fmt.Errorf("hash the store: %w", err)
	}
	return hash, nil
}

// forgetLeases keeps those that live keys name. It is called between segments: each tells again of the leases that it names.
func (r *replay) forgetLeases() error {
	if err := r.flush(); err != nil {
		return err
	}
	hash, err := r.hash()
	if err != nil {
		return err
	}
	needed := make(leaseTimes, len(hash.Leases))
	for _, id := range hash.Leases {
		if ttl, known := r.leases[id]; known {
			needed[id] = ttl
		}
	}
	r.leases = needed
	return nil
}
