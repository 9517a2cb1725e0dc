package survey

import (
	"context"
	"fmt"
	"hash/maphash"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"
)

// maxSeenKeys bounds the set of keys that were met, see the package comment.
const maxSeenKeys = 1 << 21

// checkEvery is how many entries are read between two looks at the context: about a millisecond's worth.
const checkEvery = 4096

// entry is a stored mvccpb.KeyValue. Its slices lie in the file's memory map.
type entry struct {
	key, value           []byte
	create, mod, version int64
	lease                int64
}

// parse reads the fields without copying; a field that is missing is zero.
func (e *entry) parse(b []byte) error {
	*e = entry{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if n = e.field(num, typ, b); n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	return nil
}

// field reads one field's value from the beginning of b and returns its length, or protowire's negative error.
func (e *entry) field(num protowire.Number, typ protowire.Type, b []byte) (n int) {
	switch {
	case num == 1 && typ == protowire.BytesType:
		e.key, n = protowire.ConsumeBytes(b)
	case num == 5 && typ == protowire.BytesType:
		e.value, n = protowire.ConsumeBytes(b)
	case typ == protowire.VarintType:
		var v uint64
		v, n = protowire.ConsumeVarint(b)
		switch num {
		case 2:
			e.create = int64(v)
		case 3:
			e.mod = int64(v)
		case 4:
			e.version = int64(v)
		case 6:
			e.lease = int64(v)
		}
	default:
		n = protowire.ConsumeFieldValue(num, typ, b)
	}
	return n
}

// isTombstone reads an entry's key: 8 bytes revision, '_', 8 bytes position within it, and 't' for a tombstone
// (etcd server/storage/mvcc/revision.go).
func isTombstone(position []byte) (bool, error) {
	switch {
	case len(position) == 17 && position[8] == '_':
		return false, nil
	case len(position) == 18 && position[8] == '_' && position[17] == 't':
		return true, nil
	}
	return false, fmt.Errorf("malformed revision key %x", position)
}

// scanner is one pass over the bucket, for the keys whose hash modulo shares is share.
type scanner struct {
	shares, share uint64
	seeds         [2]maphash.Seed
	seen          map[[2]uint64]struct{}
}

// scanLive hands every live key of the bucket to each, which must not keep the entry itself.
func scanLive(ctx context.Context, b *bolt.Bucket, maxSeen int, each func(*entry)) error {
	s := scanner{
		shares: 1 + uint64(b.Stats().KeyN/maxSeen),
		seeds:  [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		seen:   make(map[[2]uint64]struct{}),
	}
	for ; s.share < s.shares; s.share++ {
		clear(s.seen)
		if err := s.scan(ctx, b, each); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) scan(ctx context.Context, b *bolt.Bucket, each func(*entry)) error {
	var e entry
	c := b.Cursor()
	read := 0
	for k, v := c.Last(); k != nil; k, v = c.Prev() {
		if read%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		read++
		tombstone, err := isTombstone(k)
		if err != nil {
			return damaged(err)
		}
		if err := e.parse(v); err != nil {
			return damaged(fmt.Errorf("entry %x: %w", k, err))
		}
		// A store whose revision was bumped has one entry with no key at all: it is no key of anybody's.
		if len(e.key) > 0 && s.first(e.key) && !tombstone {
			each(&e)
		}
	}
	return nil
}

// first says whether the key belongs to this pass's share and is met for the first time.
func (s *scanner) first(key []byte) bool {
	h := [2]uint64{maphash.Bytes(s.seeds[0], key), maphash.Bytes(s.seeds[1], key)}
	if h[0]%s.shares != s.share {
		return false
	}
	before := len(s.seen)
	s.seen[h] = struct{}{}
	return len(s.seen) > before
}
