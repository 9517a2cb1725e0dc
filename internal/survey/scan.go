package survey

import (
	"context"
	"fmt"
	"hash/maphash"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/mvcc"
)

// maxSeenKeys bounds the set of keys that were met, see the package comment.
const maxSeenKeys = 1 << 21

// checkEvery is how many entries are read between two looks at the context: about a millisecond's worth.
const checkEvery = 4096

// scanner is one pass over the bucket, for the keys whose hash modulo shares is share.
type scanner struct {
	shares, share uint64
	seeds         [2]maphash.Seed
	seen          map[[2]uint64]struct{}
}

// scanLive hands every live key of the bucket to each. What each gets lies in the file's memory map.
func scanLive(ctx context.Context, b *bolt.Bucket, maxSeen int, each func(mvcc.KeyValue)) error {
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

func (s *scanner) scan(ctx context.Context, b *bolt.Bucket, each func(mvcc.KeyValue)) error {
	c := b.Cursor()
	read := 0
	for k, v := c.Last(); k != nil; k, v = c.Prev() {
		if read%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		read++
		position, err := mvcc.ParsePosition(k)
		if err != nil {
			return damaged(err)
		}
		kv, err := mvcc.ParseValue(v)
		if err != nil {
			return damaged(fmt.Errorf("entry %x: %w", k, err))
		}
		// A store whose revision was bumped has one entry with no key at all: it is no key of anybody's.
		if len(kv.Key) > 0 && s.first(kv.Key) && !position.Tombstone {
			each(kv)
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
