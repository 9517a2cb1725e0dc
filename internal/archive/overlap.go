package archive

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/mvcc"
)

// overlap compares the changes that a segment repeats with those of the store. Above the compact revision the store has all of
// them, in the same order; below, those that it still has must be equal.
type overlap struct {
	tx            *bolt.Tx
	bucket        *bolt.Bucket
	cursor        *bolt.Cursor
	compact, upTo int64

	started bool
	key     []byte
	k, v    []byte // what the store has next
}

func (o *overlap) entry(e mvcc.Entry) error {
	o.key = e.AppendKey(o.key[:0])
	if e.Main <= o.compact {
		return o.compacted(e)
	}
	if !o.started {
		o.started = true
		o.k, o.v = o.cursor.Seek(mvcc.Position{Main: e.Main}.AppendKey(nil))
	}
	if !bytes.Equal(o.k, o.key) || !bytes.Equal(o.v, e.Value) {
		return fmt.Errorf("%w: revision %s differs from what is there", ErrFork, e.Position)
	}
	o.k, o.v = o.cursor.Next()
	return nil
}

// compacted compares a change that the store may have dropped.
func (o *overlap) compacted(e mvcc.Entry) error {
	v := o.bucket.Get(o.key)
	other := e.Position
	other.Tombstone = !e.Tombstone
	if v != nil && !bytes.Equal(v, e.Value) || o.bucket.Get(other.AppendKey(nil)) != nil {
		return fmt.Errorf("%w: revision %s differs from what is there", ErrFork, e.Position)
	}
	return nil
}

// end checks that the store has no more changes up to a revision than were compared.
func (o *overlap) end(revision int64) error {
	defer o.close()
	if !o.started || o.k == nil {
		return nil
	}
	p, err := mvcc.ParsePosition(o.k)
	if err == nil && p.Main <= revision {
		err = fmt.Errorf("%w: revision %s is missing in the segment", ErrFork, p)
	}
	return err
}

func (o *overlap) close() { _ = o.tx.Rollback() } // a read transaction has nothing to roll back
