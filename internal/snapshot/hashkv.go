package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"math"
	"slices"
	"unsafe"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/mvcc"
)

// maxSeenKeys bounds the memory of the scan: at about 50 bytes a key it is 50 MiB. A store with more
// keys is scanned several times instead, each time for a share of the keys.
const maxSeenKeys = 1 << 20

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	registry   = []byte("/registry/")
)

// Hash is etcd's HashKV of a store at a revision, with what was counted on the way.
type Hash struct {
	// Value is the CRC-32C that etcd's HashKV answers for (Revision, CompactRevision).
	Value                     uint32
	Revision, CompactRevision int64
	// Keys is the number of live keys at Revision; Entries the number of stored entries up to it.
	Keys, Entries int64
	// Leases are the IDs that live keys name, ascending.
	Leases []int64
	// Kubernetes: a live key begins with /registry/.
	Kubernetes bool
}

// HashKV computes etcd's HashKV at a revision, offline and read-only, as if the store had been
// compacted at compact. compact MUST NOT be below the file's own compact revision (those entries
// are gone) nor above revision.
//
// The value is the CRC-32C of the bucket's name and of every entry up to revision, where of the
// entries up to compact only those count that are the newest of a live key at revision, and a tombstone at
// compact itself never counts (etcd server/storage/mvcc/hash.go). A key may change twice within a revision, but
// etcd refuses to put a key again that the same revision deleted, so "newest" needs no finer rule. When no key is live at revision
// etcd's filter is off and every entry present counts.
//
// Memory is bounded whatever the number of keys. ctx is looked at between pages.
func HashKV(ctx context.Context, tx *bolt.Tx, revision, compact int64) (Hash, error) {
	return hashKV(ctx, tx, revision, compact, maxSeenKeys)
}

func hashKV(ctx context.Context, tx *bolt.Tx, revision, compact int64, maxSeen int) (Hash, error) {
	if compact > revision {
		return Hash{}, fmt.Errorf("compact revision %d is above revision %d", compact, revision)
	}
	b := tx.Bucket(mvcc.Bucket)
	if b == nil {
		return Hash{}, mvcc.ErrNoBucket
	}
	newest, err := scanNewest(ctx, b, revision, maxSeen)
	if err != nil {
		return Hash{}, err
	}
	return newest.hash(ctx, b, revision, compact)
}

// newestEntries marks, among the entries up to a revision, those that are the newest of their key.
type newestEntries struct {
	bits  []uint64 // bit j: the j-th entry counted from the newest
	count int64    // entries up to the revision
}

func (n *newestEntries) mark(j int64) {
	for int64(len(n.bits)) <= j/64 {
		n.bits = append(n.bits, 0)
	}
	n.bits[j/64] |= 1 << (j % 64)
}

func (n *newestEntries) marked(j int64) bool {
	return j/64 < int64(len(n.bits)) && n.bits[j/64]&(1<<(j%64)) != 0
}

// share is the set of keys one scan looks at: those whose hash is in [low, high].
type share struct {
	low, high uint64
	seed      maphash.Seed
	seen      map[string]struct{}
}

func (s *share) whole() bool { return s.low == 0 && s.high == math.MaxUint64 }

func (s *share) has(key string) bool {
	if s.whole() {
		return true
	}
	h := maphash.String(s.seed, key)
	return s.low <= h && h <= s.high
}

// halve gives the upper half of the share back to a later scan. Marks already set for those keys are right and stay.
func (s *share) halve() {
	s.high = s.low + (s.high-s.low)/2
	for key := range s.seen {
		if maphash.String(s.seed, key) > s.high {
			delete(s.seen, key)
		}
	}
}

func scanNewest(ctx context.Context, b *bolt.Bucket, revision int64, maxSeen int) (*newestEntries, error) {
	n := &newestEntries{}
	s := share{high: math.MaxUint64, seed: maphash.MakeSeed()}
	for {
		s.seen = make(map[string]struct{})
		if err := n.scan(ctx, b, revision, &s, maxSeen); err != nil {
			return nil, err
		}
		if s.high == math.MaxUint64 {
			return n, nil
		}
		s.low, s.high = s.high+1, math.MaxUint64
	}
}

// scan walks from the newest entry to the oldest: the first entry of a key it meets is its newest.
func (n *newestEntries) scan(ctx context.Context, b *bolt.Bucket, revision int64, s *share, maxSeen int) error {
	var j int64
	c := b.Cursor()
	for k, v := lastUpTo(c, revision); k != nil; k, v = c.Prev() {
		if j%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		pos, err := mvcc.ParsePosition(k)
		if err != nil {
			return err
		}
		kv, err := mvcc.ParseValue(v)
		if err != nil {
			return fmt.Errorf("revision %d.%d: %w", pos.Main, pos.Sub, err)
		}
		// The string shares the memory map, which outlives the scan: no copy of any key is made.
		name := unsafe.String(unsafe.SliceData(kv.Key), len(kv.Key))
		if _, old := s.seen[name]; !old && s.has(name) {
			n.mark(j)
			s.seen[name] = struct{}{}
			if len(s.seen) > maxSeen {
				s.halve()
			}
		}
		j++
	}
	n.count = j
	return nil
}

// lastUpTo moves the cursor to the last entry whose main revision is at most revision.
func lastUpTo(c *bolt.Cursor, revision int64) (k, v []byte) {
	if revision == math.MaxInt64 {
		return c.Last()
	}
	var next [8]byte
	binary.BigEndian.PutUint64(next[:], uint64(revision+1))
	if k, _ := c.Seek(next[:]); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// hash is the second pass, oldest first: the order in which etcd hashes.
func (n *newestEntries) hash(ctx context.Context, b *bolt.Bucket, revision, compact int64) (Hash, error) {
	out := Hash{Revision: revision, CompactRevision: compact, Entries: n.count}
	filtered := crc32.Update(0, castagnoli, mvcc.Bucket)
	unfiltered := filtered
	leases := make(map[int64]struct{})
	kept := 0 // the size of what etcd calls keep; a bumped store's entry without a key counts

	c := b.Cursor()
	k, v := c.First()
	for i := int64(0); i < n.count; i++ {
		if i%4096 == 0 && ctx.Err() != nil {
			return Hash{}, context.Cause(ctx)
		}
		pos, err := mvcc.ParsePosition(k)
		if err != nil {
			return Hash{}, err
		}
		live := !pos.Tombstone && n.marked(n.count-1-i)
		if live {
			kv, err := mvcc.ParseValue(v)
			if err != nil {
				return Hash{}, fmt.Errorf("revision %d.%d: %w", pos.Main, pos.Sub, err)
			}
			kept++
			out.count(kv.Key, kv.Lease, leases)
		}
		if !pos.Tombstone || pos.Main != compact {
			if live || pos.Main > compact {
				filtered = crc32.Update(crc32.Update(filtered, castagnoli, k), castagnoli, v)
			}
			unfiltered = crc32.Update(crc32.Update(unfiltered, castagnoli, k), castagnoli, v)
		}
		k, v = c.Next()
	}
	out.Value = filtered
	if kept == 0 {
		out.Value = unfiltered
	}
	for id := range leases {
		out.Leases = append(out.Leases, id)
	}
	slices.Sort(out.Leases)
	return out, nil
}

// count takes note of a live key. A bumped store has one entry with no key at all: it is no key of anybody's.
func (h *Hash) count(key []byte, lease int64, leases map[int64]struct{}) {
	if len(key) == 0 {
		return
	}
	h.Keys++
	if lease != 0 {
		leases[lease] = struct{}{}
	}
	if !h.Kubernetes && bytes.HasPrefix(key, registry) {
		h.Kubernetes = true
	}
}
