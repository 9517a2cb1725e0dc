package snapshot

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/child"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/mvcc"
)

// maxReportedDamage is how many of bbolt's findings an error repeats: one is a fact, ten are a pattern, the rest is noise.
const maxReportedDamage = 10

// Inspect reads the facts out of a snapshot file, with or without its trailer, and checks its structure.
// The file is opened read-only. onRevision, if not nil, is called as soon as the revision is known, long
// before the whole file was read.
//
// It must run in a process of its own (Inspector): bbolt panics on some damage, and does so in
// goroutines where nobody can recover.
func Inspect(ctx context.Context, path string, onRevision func(int64)) (facts Facts, err error) {
	err = withFile(path, func(db *bolt.DB) error {
		if facts, err = small(db); err != nil {
			return damaged(err)
		}
		if onRevision != nil {
			onRevision(facts.Revision)
		}
		return facts.readAll(ctx, db)
	})
	return facts, err
}

// hashFile computes HashKV of the file at path, and checks nothing else. It must run in a process of its own too.
func hashFile(ctx context.Context, path string, revision, compact int64) (hash Hash, err error) {
	err = withFile(path, func(db *bolt.DB) error {
		return db.View(func(tx *bolt.Tx) error {
			hash, err = HashKV(ctx, tx, revision, compact)
			return err
		})
	})
	return hash, err
}

// withFile opens the file at path read-only for read, and turns panics and memory faults of this goroutine into errors.
func withFile(path string, read func(*bolt.DB) error) (err error) {
	defer child.Guard(&err, damaged)()
	if err := checkLength(path); err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return damaged(fmt.Errorf("open: %w", err))
	}
	defer db.Close()
	return read(db)
}

// ErrDamaged is wrapped when a snapshot file cannot be read as what it should be, by fault of its content.
var ErrDamaged = errors.New("the snapshot file is damaged")

func damaged(err error) error {
	return hint.New(fmt.Errorf("%w: %w", ErrDamaged, err), "use another snapshot; if it was just taken, the member's own database may be damaged: compare members with etcdctl endpoint hashkv")
}

// checkLength compares the page count of bbolt's meta page with the file's length: a truncated file would be read
// beyond its end through the memory map, which is a fatal signal.
func checkLength(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open snapshot file: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat snapshot file: %w", err)
	}
	need, err := boltLength(f)
	if err != nil {
		return damaged(err)
	}
	if st.Size() < need {
		return damaged(fmt.Errorf("it is truncated: %d bytes, its pages need %d", st.Size(), need))
	}
	return nil
}

// Layout of bbolt's meta page: a 16-byte page header, then magic, version, page size, flags (4 bytes each), root
// bucket (16), freelist (8), page count (8), transaction (8), checksum (8). Little endian on every platform etcd supports.
const (
	boltMagic     = 0xED0CDAED
	boltMetaBytes = 16 + 64
	maxBoltPage   = 64 << 10
)

// boltLength returns the bytes that the pages of a bbolt file take, by the newer of its two meta pages.
func boltLength(f *os.File) (int64, error) {
	var need int64
	var buf [boltMetaBytes]byte
	offsets := []int64{0}
	for i := 0; i < len(offsets); i++ {
		if _, err := f.ReadAt(buf[:], offsets[i]); err != nil {
			continue
		}
		if binary.LittleEndian.Uint32(buf[16:]) != boltMagic {
			continue
		}
		page := int64(binary.LittleEndian.Uint32(buf[24:]))
		count := binary.LittleEndian.Uint64(buf[56:])
		if page < 512 || page > maxBoltPage || count > uint64(math.MaxInt64/page) {
			continue
		}
		need = max(need, page*int64(count))
		if i == 0 {
			offsets = append(offsets, page)
		}
	}
	if need == 0 {
		return 0, errors.New("it is no bbolt database")
	}
	return need, nil
}

// small reads what lies in the small buckets: no full pass over the file.
func small(db *bolt.DB) (Facts, error) {
	f := Facts{CompactRevision: NeverCompacted}
	err := db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(mvcc.Bucket)
		if b == nil {
			return mvcc.ErrNoBucket
		}
		f.DBSize = tx.Size()
		// A fresh store is at revision 1 without a single entry (mvcc/kvstore.go, restoreIntoIndex).
		f.Revision = 1
		if k, _ := b.Cursor().Last(); k != nil {
			pos, err := mvcc.ParsePosition(k)
			if err != nil {
				return err
			}
			f.Revision = max(f.Revision, pos.Main)
		}
		if err := f.readMeta(tx); err != nil {
			return err
		}
		// The newest entries may be compacted tombstones, or a compaction may have been interrupted:
		// etcd starts from whichever is highest (mvcc/kvstore.go, restore).
		f.Revision = max(f.Revision, f.CompactRevision)
		return f.readOthers(tx)
	})
	return f, err
}

func (f *Facts) readMeta(tx *bolt.Tx) error {
	meta := tx.Bucket([]byte("meta"))
	if meta == nil {
		return errors.New("there is no \"meta\" bucket: this is not an etcd store")
	}
	for _, name := range []string{"finishedCompactRev", "scheduledCompactRev"} {
		v := meta.Get([]byte(name))
		if v == nil {
			continue
		}
		pos, err := mvcc.ParsePosition(v)
		if err != nil {
			return fmt.Errorf("meta/%s: %w", name, err)
		}
		f.CompactRevision = max(f.CompactRevision, pos.Main)
	}
	f.ConsistentIndex = bigEndian(meta.Get([]byte("consistent_index")))
	f.Term = bigEndian(meta.Get([]byte("term")))
	f.StorageVersion = string(meta.Get([]byte("storageVersion")))
	if b := tx.Bucket([]byte("cluster")); b != nil {
		f.ClusterVersion = string(b.Get([]byte("clusterVersion")))
	}
	return nil
}

func bigEndian(v []byte) uint64 {
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

func (f *Facts) readOthers(tx *bolt.Tx) error {
	if b := tx.Bucket([]byte("auth")); b != nil {
		v := b.Get([]byte("authEnabled"))
		f.AuthEnabled = len(v) == 1 && v[0] == 1
	}
	if err := f.readAlarms(tx.Bucket([]byte("alarm"))); err != nil {
		return err
	}
	return f.readMembers(tx.Bucket([]byte("members")))
}

func (f *Facts) readAlarms(b *bolt.Bucket) error {
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, _ []byte) error {
		var a etcdserverpb.AlarmMember
		if err := proto.Unmarshal(k, &a); err != nil {
			return fmt.Errorf("malformed alarm record: %w", err)
		}
		f.Alarms = append(f.Alarms, fmt.Sprintf("%s on member %x", a.GetAlarm(), a.GetMemberID()))
		return nil
	})
}

func (f *Facts) readMembers(b *bolt.Bucket) error {
	if b == nil {
		return nil
	}
	err := b.ForEach(func(_, v []byte) error {
		var m struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(v, &m); err != nil {
			return fmt.Errorf("malformed member record: %w", err)
		}
		if m.Name != "" {
			f.Members = append(f.Members, m.Name)
		}
		return nil
	})
	slices.Sort(f.Members)
	return err
}

// readAll makes the two full passes at the same time: bbolt's structural check, and HashKV. Each has a transaction of
// its own, and both begin before either pass and end after both: the check loads the list of free pages into the
// database without a lock, and beginning or ending a transaction reads it.
func (f *Facts) readAll(ctx context.Context, db *bolt.DB) (err error) {
	var txs [2]*bolt.Tx
	for i := range txs {
		if txs[i], err = db.Begin(false); err != nil {
			return damaged(err)
		}
		defer func() { err = errors.Join(err, txs[i].Rollback()) }()
	}
	var g errgroup.Group
	g.Go(func() error { return checkStructure(ctx, txs[0]) })
	g.Go(func() error { return f.readKeys(ctx, txs[1]) })
	return g.Wait()
}

// checkStructure always drains the check, because its goroutine would otherwise outlive the transaction.
func checkStructure(ctx context.Context, tx *bolt.Tx) error {
	var found []error
	count := 0
	for err := range tx.Check() {
		if count++; count <= maxReportedDamage {
			found = append(found, err)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if count > 0 {
		return damaged(fmt.Errorf("bbolt's check found %d errors: %w", count, errors.Join(found...)))
	}
	return nil
}

func (f *Facts) readKeys(ctx context.Context, tx *bolt.Tx) (err error) {
	defer child.Guard(&err, damaged)()
	h, err := HashKV(ctx, tx, f.Revision, f.CompactRevision)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return damaged(err)
	}
	f.HashKV, f.Keys, f.Revisions, f.Kubernetes = h.Value, h.Keys, h.Entries, h.Kubernetes
	return f.readLeases(tx.Bucket([]byte("lease")), h.Leases)
}

func (f *Facts) readLeases(b *bolt.Bucket, named []int64) error {
	known := make(map[int64]bool)
	if b != nil {
		err := b.ForEach(func(k, _ []byte) error {
			if len(k) != 8 {
				return damaged(fmt.Errorf("malformed lease record %x", k))
			}
			known[int64(binary.BigEndian.Uint64(k))] = true
			return nil
		})
		if err != nil {
			return err
		}
	}
	f.Leases = len(known)
	for _, id := range named {
		if !known[id] {
			f.MissingLeases = append(f.MissingLeases, id)
		}
	}
	slices.SortFunc(f.MissingLeases, cmp.Compare)
	return nil
}
