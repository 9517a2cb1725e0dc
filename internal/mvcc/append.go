package mvcc

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

const (
	// batchEntries and batchBytes bound one transaction: bbolt keeps what it changes in memory until the commit. Larger
	// ones were measured to be no faster.
	batchEntries = 10_000
	batchBytes   = 16 << 20
	// fill is how full a page is made before the next one is begun: entries only ever come at the end.
	fill = 0.9
)

// ErrGap is wrapped when an entry does not follow the one before it.
var ErrGap = errors.New("the history has a gap")

// Appender adds the changes that follow a store's revision, each under its own. It writes in large batches and syncs
// nothing: the file is a scratch copy until the caller has checked it. It must be closed, and is not safe for
// concurrent use.
type Appender struct {
	db   *bolt.DB
	last Position
	key  []byte

	tx             *bolt.Tx
	bucket         *bolt.Bucket
	entries, bytes int
	err            error // sticky
}

// NewAppender continues the store in db after revision, which MUST be the store's own.
func NewAppender(db *bolt.DB, revision int64) *Appender {
	return &Appender{db: db, last: Position{Main: revision}}
}

// Append adds one entry. An entry that does not follow the one before it is an error wrapping ErrGap: of a revision that
// the store has, of a later one than the next, or not the next one of its revision. Errors are final.
//
// bbolt keeps the slice until the batch is committed: e.Value MUST NOT change after the call, until Close.
func (a *Appender) Append(e Entry) error {
	if a.err == nil {
		a.err = a.append(e)
	}
	return a.err
}

func (a *Appender) append(e Entry) error {
	// The store's own last revision is whole: it can only be followed by the first change of the next.
	if !e.Follows(a.last) || e.Main == a.last.Main && a.fresh() {
		return fmt.Errorf("%w: %s after %s", ErrGap, e.Position, a.last)
	}
	if err := a.begin(); err != nil {
		return err
	}
	a.key = e.AppendKey(a.key[:0])
	if err := a.bucket.Put(a.key, e.Value); err != nil {
		return fmt.Errorf("append revision %s: %w", e.Position, err)
	}
	a.last = e.Position
	a.entries++
	a.bytes += len(a.key) + len(e.Value)
	if a.entries >= batchEntries || a.bytes >= batchBytes {
		return a.commit()
	}
	return nil
}

// fresh: nothing was appended yet.
func (a *Appender) fresh() bool { return a.key == nil }

func (a *Appender) begin() (err error) {
	if a.tx != nil {
		return nil
	}
	if a.tx, err = a.db.Begin(true); err != nil {
		return fmt.Errorf("append to the store: %w", err)
	}
	if a.bucket = a.tx.Bucket(Bucket); a.bucket == nil {
		return ErrNoBucket
	}
	a.bucket.FillPercent = fill
	return nil
}

func (a *Appender) commit() error {
	tx := a.tx
	a.tx, a.bucket, a.entries, a.bytes = nil, nil, 0, 0
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("append to the store: %w", err)
	}
	return nil
}

// Close writes what is left. After an error it takes the unfinished batch back, and returns that error.
func (a *Appender) Close() error {
	switch {
	case a.tx == nil:
		return a.err
	case a.err != nil:
		return errors.Join(a.err, a.tx.Rollback())
	}
	a.err = a.commit()
	return a.err
}
