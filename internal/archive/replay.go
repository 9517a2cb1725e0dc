package archive

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
)

var (
	// ErrGap is wrapped when a change is missing.
	ErrGap = mvcc.ErrGap
	// ErrFork is wrapped when two objects tell different things of one revision: they are of different histories, and only a
	// person can say which one is wanted.
	ErrFork = errors.New("the history forks")
)

// Replayed is what came of a replay.
type Replayed struct {
	Revision int64 // of the store now
	Applied  int64 // changes that were added
	Compared int64 // changes that the store had already, found equal
	// Hash is HashKV of the store at Revision and its own compact revision.
	Hash snapshot.Hash
	// LeasesWritten are the lease records that were added or set to what was granted since.
	LeasesWritten int
	// LeasesUnknown are leases that live keys name, that have no record, and of which nobody could tell the time to live. They must be
	// given one before etcd starts: a live key without its lease makes every member panic.
	LeasesUnknown []int64
}

// Replay brings the store in db, whose revision is base, on to revision upTo by adding the changes of the segments, which must come in
// order and may overlap. What the store has already must be equal (ErrFork), nothing may be left out (ErrGap). It writes the
// lease records that live keys need. Memory is bounded; nothing is synced: the file is a scratch copy, to be thrown away after any
// error. What of a segment lies beyond upTo is read, and proved, and not used. Segments are opened ahead, several at the same time.
func Replay(ctx context.Context, db *bolt.DB, base int64, segments []*repo.Segment, open OpenFunc, upTo int64) (*Replayed, error) {
	r := newReplay(ctx, db, base, upTo)
	err := r.begin(base)
	if err == nil {
		err = r.segments(segments, open)
	}
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		return nil, fmt.Errorf("replay from revision %d to %d: %w", base, upTo, err)
	}
	return &r.out, nil
}

// Apply makes of the chain's snapshot, whose store is in db, the store at a revision from Low to High: by Replay, or by taking
// away what came after. Of a store that was cut back, leases that have ended since are among LeasesUnknown. As with Replay, after an
// error the file is to be thrown away.
func (c *Chain) Apply(ctx context.Context, db *bolt.DB, revision int64, open OpenFunc) (*Replayed, error) {
	base := c.Base.Manifest.Revision
	switch {
	case revision < c.Low || revision > c.High:
		return nil, fmt.Errorf("the chain leads to revisions %d to %d, not to %d", c.Low, c.High, revision)
	case revision >= base:
		var segments []*repo.Segment
		for _, e := range c.Segments {
			segments = append(segments, e.Segment)
		}
		return Replay(ctx, db, base, segments, open, revision)
	}
	r := newReplay(ctx, db, revision, revision)
	if err := r.cut(base); err != nil {
		return nil, fmt.Errorf("cut snapshot %s back to revision %d: %w", c.Base.ID, revision, err)
	}
	return &r.out, nil
}

func newReplay(ctx context.Context, db *bolt.DB, at, upTo int64) *replay {
	return &replay{ctx: ctx, db: db, at: at, upTo: upTo, leases: leaseTimes{}}
}

func (r *replay) cut(base int64) error {
	if err := r.begin(base); err != nil {
		return err
	}
	if r.compact > r.at {
		return fmt.Errorf("%w: the store is compacted at %d", ErrGap, r.compact)
	}
	if _, err := mvcc.Cut(r.ctx, r.db, r.at); err != nil {
		return err
	}
	return r.finish()
}

func (r *replay) segments(segments []*repo.Segment, open OpenFunc) error {
	var needed []*repo.Segment
	for _, s := range segments {
		if !s.Silence() && s.First <= r.upTo {
			needed = append(needed, s)
		}
	}
	ahead := readAhead(r.ctx, needed, open)
	defer ahead.stop()
	var err error
	for _, s := range needed {
		if err = r.segment(s, ahead.next); err != nil {
			break
		}
	}
	if flushErr := r.flush(); err == nil {
		err = flushErr
	}
	if err == nil && r.at < r.upTo {
		err = fmt.Errorf("%w: the segments end at revision %d", ErrGap, r.at)
	}
	return err
}

type replay struct {
	ctx     context.Context
	db      *bolt.DB
	at      int64 // revision of the store
	compact int64
	upTo    int64
	leases  leaseTimes
	out     Replayed

	arena    []byte         // its free end takes the next values
	appender *mvcc.Appender // nil: nothing is waiting to be written
	overlap  *overlap       // nil: not comparing
}

// begin checks that the store is what the caller takes it for.
func (r *replay) begin(base int64) error {
	if r.upTo < r.at {
		return errors.New("the store is beyond that revision already")
	}
	revision, compact, err := storeAt(r.db)
	if err == nil && revision != base {
		err = fmt.Errorf("the store is at revision %d", revision)
	}
	r.compact = compact
	return err
}

func (r *replay) segment(s *repo.Segment, open OpenFunc) error {
	if s.First-1 > r.at {
		return fmt.Errorf("%w: no segment has revisions %d to %d", ErrGap, r.at+1, s.First-1)
	}
	if s.First <= r.at {
		if err := r.compare(); err != nil {
			return err
		}
	}
	err := walk(r.ctx, s, open, r.record)
	if r.overlap != nil { // it ended before the store does
		if endErr := r.overlap.end(s.Last); err == nil {
			err = endErr
		}
		r.overlap = nil
	}
	if errors.Is(err, ErrFork) || errors.Is(err, ErrGap) {
		err = &SegmentError{s.Name(), err}
	}
	if err == nil && len(r.leases) > MaxLeases {
		err = r.forgetLeases()
	}
	return err
}

func (r *replay) record(record Record) error {
	switch {
	case record.Kind == KindLease:
		r.leases.tell(record.Lease, r.at < r.upTo)
		return nil
	case record.Kind != KindEntry || record.Entry.Main > r.upTo:
		return nil
	case r.overlap != nil && record.Entry.Main <= r.overlap.upTo:
		r.out.Compared++
		return r.overlap.entry(record.Entry)
	case r.overlap != nil:
		err := r.overlap.end(r.overlap.upTo)
		r.overlap = nil
		if err != nil {
			return err
		}
	}
	return r.append(record.Entry)
}

func (r *replay) append(e mvcc.Entry) error {
	if r.appender == nil {
		r.appender = mvcc.NewAppender(r.db, r.at)
	}
	e.Value = r.keep(e.Value)
	if err := r.appender.Append(e); err != nil {
		return err
	}
	r.at = e.Main
	r.out.Applied++
	return nil
}

// arenaSize is how many bytes of values are allocated at once.
const arenaSize = 256 << 10

// keep copies a value: bbolt refers to what it was given until the batch is committed, and the Reader's buffer is gone before.
func (r *replay) keep(value []byte) []byte {
	if len(value) > cap(r.arena)-len(r.arena) {
		r.arena = make([]byte, 0, max(arenaSize, len(value)))
	}
	from := len(r.arena)
	r.arena = append(r.arena, value...)
	return r.arena[from:len(r.arena):len(r.arena)]
}

// flush writes what is waiting. It may be called at any time.
func (r *replay) flush() error {
	if r.overlap != nil {
		r.overlap.close()
		r.overlap = nil
	}
	if r.appender == nil {
		return nil
	}
	err := r.appender.Close()
	r.appender = nil
	return err
}

// compare begins to compare with what the store has.
func (r *replay) compare() error {
	if err := r.flush(); err != nil {
		return err
	}
	tx, err := r.db.Begin(false)
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	b := tx.Bucket(mvcc.Bucket) // storeAt found it
	r.overlap = &overlap{tx: tx, bucket: b, cursor: b.Cursor(), compact: r.compact, upTo: r.at}
	return nil
}
