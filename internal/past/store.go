package past

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/mvcc"
)

// neverCompacted is the compact revision of a store that was never compacted.
const neverCompacted = -1

// store is the file as the child reads it.
type store struct {
	ctx   context.Context
	tx    *bolt.Tx
	facts Facts
	say   func(message) error
}

// openStore finds out which revisions the store holds.
func openStore(ctx context.Context, tx *bolt.Tx, say func(message) error) (*store, error) {
	s := &store{ctx: ctx, tx: tx, say: say, facts: Facts{Revision: 1, CompactRevision: neverCompacted}}
	b := tx.Bucket(mvcc.Bucket)
	if b == nil {
		return nil, mvcc.ErrNoBucket
	}
	if k, _ := b.Cursor().Last(); k != nil {
		p, err := mvcc.ParsePosition(k)
		if err != nil {
			return nil, err
		}
		s.facts.Revision = p.Main
	}
	// A compaction is written down before it begins and when it is done (etcd server/storage/schema/bucket.go).
	meta := tx.Bucket([]byte("meta"))
	for _, name := range []string{"scheduledCompactRev", "finishedCompactRev"} {
		if meta == nil || meta.Get([]byte(name)) == nil {
			continue
		}
		p, err := mvcc.ParsePosition(meta.Get([]byte(name)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.facts.CompactRevision = max(s.facts.CompactRevision, p.Main)
	}
	s.facts.Revision = max(s.facts.Revision, s.facts.CompactRevision) // the newest change may have been compacted away
	return s, nil
}

// each hands the entries of the selected keys after one revision and up to another to f. What f gets is valid until it returns.
func (s *store) each(sel Selection, after, upTo int64, f func(mvcc.Position, mvcc.KeyValue) error) error {
	return mvcc.Extract(s.ctx, s.tx, after, upTo, func(e mvcc.Entry) error {
		kv, err := mvcc.ParseValue(e.Value)
		if err != nil {
			return damaged(fmt.Errorf("entry %s: %w", e.Position, err))
		}
		if !sel.Has(kv.Key) {
			return nil
		}
		return f(e.Position, kv)
	})
}

// at is the entry at a position that each has seen.
func (s *store) at(p mvcc.Position) (mvcc.KeyValue, error) {
	kv, err := mvcc.ParseValue(s.tx.Bucket(mvcc.Bucket).Get(p.AppendKey(nil)))
	if err != nil {
		return kv, damaged(fmt.Errorf("entry %s: %w", p, err))
	}
	return kv, nil
}

func newChange(p mvcc.Position, kv mvcc.KeyValue, values bool) *Change {
	c := &Change{Key: kv.Key, Revision: p.Main, Deleted: p.Tombstone}
	if p.Tombstone {
		return c
	}
	c.CreateRevision, c.Version, c.Lease, c.Size = kv.CreateRevision, kv.Version, kv.Lease, int64(len(kv.Value))
	if values {
		c.Value = kv.Value
	}
	return c
}

func (s *store) log(q query) error {
	return s.each(q.Selection, q.From-1, q.To, func(p mvcc.Position, kv mvcc.KeyValue) error {
		s.facts.Found++
		return s.say(message{Change: newChange(p, kv, q.Values)})
	})
}
