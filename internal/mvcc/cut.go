package mvcc

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Cut takes every change after revision away, so that the store is the one that etcd had then. revision must not be below
// the store's compact revision: of what was there before, compacted changes are missing. That is the caller's to check,
// who has read it. Cut returns how many changes went. The file keeps its size.
//
// When it fails half way the store is at some revision between: it is a scratch copy, to be thrown away.
func Cut(ctx context.Context, db *bolt.DB, revision int64) (removed int64, err error) {
	for {
		n, err := cutBatch(db, revision)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("cut the store at revision %d: %w", revision, err)
		}
		if n < batchEntries {
			return removed, nil
		}
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
	}
}

// cutBatch removes the newest entries, which keeps what is left a history at any time.
func cutBatch(db *bolt.DB, revision int64) (n int64, err error) {
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(Bucket)
		if b == nil {
			return ErrNoBucket
		}
		keys := make([][]byte, 0, batchEntries)
		c := b.Cursor()
		for k, _ := c.Last(); k != nil && len(keys) < batchEntries; k, _ = c.Prev() {
			p, err := ParsePosition(k)
			if err != nil {
				return err
			}
			if p.Main <= revision {
				break
			}
			keys = append(keys, append([]byte(nil), k...))
		}
		for _, k := range keys { // not through the cursor: deleting under it makes it skip
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		n = int64(len(keys))
		return nil
	})
	return n, err
}
