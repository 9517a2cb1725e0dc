package restore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/snapshot"
)

// Buckets and keys of an etcd store (etcd server/storage/schema/bucket.go).
var (
	keyBucket     = []byte("key")
	metaBucket    = []byte("meta")
	leaseBucket   = []byte("lease")
	alarmBucket   = []byte("alarm")
	clusterBucket = []byte("cluster")

	scheduledCompactKey = []byte("scheduledCompactRev")
	storageVersionKey   = []byte("storageVersion")
	clusterVersionKey   = []byte("clusterVersion")
)

// edits are what must change in a store before a cluster is started from it. The zero value changes nothing.
type edits struct {
	clearAlarms bool
	leases      []int64 // that live keys name and that have no record
	leaseTTL    time.Duration
	versions    versionEdit
	revision    int64 // of the store as it is
	bump        int64 // revisions; more than 0 also marks everything up to the new one compacted
}

// planEdits derives the edits from what the store holds.
func planEdits(f snapshot.Facts, r Request) (edits, error) {
	versions, err := versionsFor(r.ForEtcd, f.StorageVersion, f.ClusterVersion)
	if err != nil {
		return edits{}, err
	}
	e := edits{
		clearAlarms: len(f.Alarms) > 0,
		leases:      f.MissingLeases,
		leaseTTL:    r.LeaseTTL,
		versions:    versions,
		revision:    f.Revision,
		bump:        r.Bump.amount(f.Kubernetes),
	}
	if e.bump > 0 && e.bump > maxRevision-e.revision {
		err := fmt.Errorf("revision bump %d: the store is at revision %d, no room is left above", e.bump, e.revision)
		return edits{}, hint.New(err, "keep the revisions as they are: --bump-revision 0")
	}
	return e, nil
}

func (e edits) none() bool {
	return !e.clearAlarms && len(e.leases) == 0 && e.versions == (versionEdit{}) && e.bump == 0
}

// apply changes the store in one transaction. The file must have passed the inspection: bbolt panics on damage.
func (e edits) apply(db *bolt.DB) error {
	err := db.Update(func(tx *bolt.Tx) error {
		for _, step := range []func(*bolt.Tx) error{e.dropAlarms, e.addLeases, e.versions.apply, e.bumpRevision} {
			if err := step(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("edit the store: %w", err)
	}
	return nil
}

// dropAlarms empties the alarm bucket. Alarms name members of the lost cluster, and a NOSPACE alarm would make
// the restored one refuse writes.
func (e edits) dropAlarms(tx *bolt.Tx) error {
	if !e.clearAlarms {
		return nil
	}
	if err := tx.DeleteBucket(alarmBucket); err != nil {
		return fmt.Errorf("drop alarms: %w", err)
	}
	_, err := tx.CreateBucket(alarmBucket)
	return err
}

// addLeases writes a record for each lease that a live key names and that has none. Without it, one
// `put --ignore-lease` on such a key panics every member, again at each start. The remaining time
// does not matter: a new leader renews every lease to its full time to live.
func (e edits) addLeases(tx *bolt.Tx) error {
	if len(e.leases) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(leaseBucket)
	if err != nil {
		return fmt.Errorf("add leases: %w", err)
	}
	for _, id := range slices.Sorted(slices.Values(e.leases)) {
		record, err := proto.Marshal(&leasepb.Lease{ID: id, TTL: int64(e.leaseTTL / time.Second)})
		if err != nil {
			return fmt.Errorf("add lease %x: %w", id, err)
		}
		if err := b.Put(binary.BigEndian.AppendUint64(nil, uint64(id)), record); err != nil {
			return fmt.Errorf("add lease %x: %w", id, err)
		}
	}
	return nil
}

// bumpRevision does what `etcdutl snapshot restore --bump-revision N --mark-compacted` does: one entry without
// content takes the new revision, and a compaction up to it is scheduled, which etcd runs when it starts
// (etcd etcdutl/snapshot/v3_snapshot.go, modifyLatestRevision).
func (e edits) bumpRevision(tx *bolt.Tx) error {
	if e.bump == 0 {
		return nil
	}
	keys, meta := tx.Bucket(keyBucket), tx.Bucket(metaBucket)
	if keys == nil || meta == nil {
		return errors.New("bump the revision: the store has no key or meta bucket")
	}
	position := revisionKey(e.revision + e.bump)
	if err := keys.Put(position, nil); err != nil {
		return fmt.Errorf("bump the revision: %w", err)
	}
	if err := meta.Put(scheduledCompactKey, position); err != nil {
		return fmt.Errorf("mark the revision compacted: %w", err)
	}
	return nil
}

// revisionKey is the key of the first change of a revision: 8 bytes main, '_', 8 bytes sub
// (etcd server/storage/mvcc/revision.go).
func revisionKey(main int64) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(main))
	return binary.BigEndian.AppendUint64(append(k, '_'), 0)
}

// openStore opens a store for offline changes. Nothing is synced until sync: a crash loses a scratch file only.
// No free list is written, as etcd itself does it, and the file grows by exactly the pages needed.
func openStore(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		NoSync:         true,
		NoGrowSync:     true,
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		Timeout:        time.Second, // nobody else has it open: waiting longer would hide a mistake
	})
	if err != nil {
		return nil, fmt.Errorf("open the store for changes: %w", err)
	}
	return db, nil
}
