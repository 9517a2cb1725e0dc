package archive

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// OpenFunc opens the plain content of a segment: Open with a repository and keys, or a copy that was fetched before. It is called by
// several goroutines at once.
type OpenFunc func(ctx context.Context, s *repo.Segment) (io.ReadCloser, error)

// SegmentError says which segment could not be used. The way out is another target, or History.Without it.
type SegmentError struct {
	Name repo.SegmentName
	Err  error
}

// Error names the segment.
func (e *SegmentError) Error() string { return fmt.Sprintf("segment %s: %v", e.Name, e.Err) }

// Unwrap is what is wrong with it.
func (e *SegmentError) Unwrap() error { return e.Err }

// lookEvery is after how many records a walk asks whether it should go on.
const lookEvery = 4096

// walk hands the records of a segment to each, and reads to the proved end whatever each needs of it: what is used must be what
// was signed. Every error wraps a *SegmentError, except those of each and of ctx.
func walk(ctx context.Context, s *repo.Segment, open OpenFunc, each func(Record) error) (err error) {
	plain, err := open(ctx, s)
	if err != nil {
		return &SegmentError{s.Name(), err}
	}
	defer func() {
		if closeErr := plain.Close(); err == nil && closeErr != nil {
			err = &SegmentError{s.Name(), closeErr}
		}
	}()
	r := NewReader(plain)
	for n := 1; ; n++ {
		if n%lookEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		record, err := r.Next()
		switch {
		case err == io.EOF: //nolint:errorlint // the end is io.EOF itself
			return matches(s, r)
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return &SegmentError{s.Name(), err}
		}
		if err := each(record); err != nil {
			return err
		}
	}
}

// matches compares what was read with what the manifest says.
func matches(s *repo.Segment, r *Reader) error {
	if r.First() == s.First && r.Last() == s.Last && r.Entries() == s.Events {
		return nil
	}
	return &SegmentError{s.Name(), fmt.Errorf("%w: it holds %d changes of revisions %d to %d, recorded are %d of %d to %d",
		repo.ErrDamaged, r.Entries(), r.First(), r.Last(), s.Events, s.First, s.Last)}
}

// Moment is the revision at an instant.
type Moment struct {
	// Revision is the last one that is known to have been there before the instant: everything seen in an earlier second.
	Revision int64
	// Highest is above Revision when the changes between were not seen in time: they may have happened before or after.
	Highest int64
}

// Exact reports whether there is no doubt, to the second.
func (m Moment) Exact() bool { return m.Revision == m.Highest }

// RevisionAt reads out of the chain's Clock which revision was there at the beginning of the second that was asked for. It opens one segment, and
// none when the chain has no Clock.
func RevisionAt(ctx context.Context, c *Chain, open OpenFunc) (Moment, error) {
	if c.Clock == nil {
		return Moment{c.Low, c.Low}, nil
	}
	s := c.Clock.Segment
	m := Moment{max(1, s.First-1), max(1, s.First-1)}
	before, late, later := false, false, false // where the entries lie: before the instant, not known, after it
	err := walk(ctx, s, open, func(r Record) error {
		switch r.Kind {
		case KindStamp:
			before = r.Stamp.Time.Before(c.Time)
			late = !before && r.Stamp.Late && !later
			later = !before
		case KindEntry:
			if before {
				m.Revision, m.Highest = r.Entry.Main, r.Entry.Main
			} else if late {
				m.Highest = r.Entry.Main
			}
		}
		return nil
	})
	if err != nil {
		return Moment{}, fmt.Errorf("find the revision of %s: %w", c.Time.Format(time.RFC3339), err)
	}
	if m.Revision < c.Low { // the chain begins within the segment
		u := &Unreachable{Timeline: s.Timeline, Time: c.Time, MissingFirst: m.Revision, MissingLast: c.Low - 1, After: &Point{Revision: c.Low}}
		return Moment{}, u.hinted()
	}
	return m, nil
}

// Checkpoints are the hashes that live members gave of revisions up to one, as far as a store made of the chain can be compared with
// them: its history must reach back to what the member had compacted.
func (c *Chain) Checkpoints(upTo int64) []repo.Checkpoint {
	var found []repo.Checkpoint
	for _, e := range c.Segments {
		for _, p := range e.Segment.Checkpoints {
			if p.Revision <= upTo && p.CompactRevision >= c.Base.Manifest.CompactRevision {
				found = append(found, p)
			}
		}
	}
	return found
}
