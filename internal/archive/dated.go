package archive

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// Seen says when a revision came to be, as far as the archive tells. Times are in UTC; zero is not known.
type Seen struct {
	// At is the second in which it was seen. Where it is known, After and By are zero.
	At time.Time
	// After and By are bounds: it came to be after the one and no later than the other.
	After, By time.Time
}

// Dates tell when the revisions of a history came to be. Bounds follow from the manifests alone; the second stands in the segment,
// which is read only where a revision of it was asked for: Need, then Read, then Of.
//
// Memory goes with the seconds in which something happened in the segments that are read: 32 bytes for each.
type Dates struct {
	pieces []piece // by revision; they do not overlap
	spans  []span  // of the pieces that were read, by revision
	by     []bound // by revision: that one, and all before it, were there by then
	after  []bound // by revision: all beyond that one came after
}

// piece is the range of revisions for which a segment is asked.
type piece struct {
	first, last int64
	segment     *repo.Segment
	needed      bool
}

// span is a range of revisions that were seen in one second.
type span struct {
	first, last int64
	second      int64
	after       int64 // of what was not seen in time: the second before which it did not happen; 0: it was
}

type bound struct {
	revision int64
	time     time.Time
}

// Dates begins with what the manifests of the history tell.
func (h *History) Dates() *Dates {
	d := &Dates{}
	for _, e := range h.snapshots {
		d.by = append(d.by, bound{e.Manifest.Revision, e.Manifest.CaptureEnd})
		d.after = append(d.after, bound{e.Manifest.Revision, e.Manifest.CaptureStart})
	}
	reached := int64(0)
	for _, e := range h.segments {
		s := e.Segment
		d.by = append(d.by, bound{s.Last, s.To})
		d.after = append(d.after, bound{s.First - 1, s.From}, bound{s.Last, s.To})
		if s.Last > reached {
			d.pieces = append(d.pieces, piece{first: max(s.First, reached+1), last: s.Last, segment: s})
			reached = s.Last
		}
	}
	// The oldest time by which a revision or a later one was there is a bound for it, and so is the newest time at which it was
	// not there yet.
	byRevision := func(a, b bound) int { return cmp.Compare(a.revision, b.revision) }
	slices.SortStableFunc(d.by, byRevision)
	slices.SortStableFunc(d.after, byRevision)
	for i := len(d.by) - 2; i >= 0; i-- {
		if d.by[i+1].time.Before(d.by[i].time) {
			d.by[i].time = d.by[i+1].time
		}
	}
	for i := 1; i < len(d.after); i++ {
		if d.after[i-1].time.After(d.after[i].time) {
			d.after[i].time = d.after[i-1].time
		}
	}
	return d
}

// Need has Read look for a revision.
func (d *Dates) Need(revision int64) {
	i, ok := slices.BinarySearchFunc(d.pieces, revision, func(p piece, r int64) int { return compareRange(p.first, p.last, r) })
	if ok {
		d.pieces[i].needed = true
	}
}

// Needed is how many segments Read will open.
func (d *Dates) Needed() (n int) {
	for _, p := range d.pieces {
		if p.needed {
			n++
		}
	}
	return n
}

// Read opens the segments that are needed, each once, by the first of the ways to open it that works. Of those that nobody can
// deliver only the bounds are known then, and the error names them; only the end of ctx stops it.
func (d *Dates) Read(ctx context.Context, ways ...OpenFunc) error {
	d.spans = nil
	var failed []error
	for i := range d.pieces {
		p := &d.pieces[i]
		if !p.needed {
			continue
		}
		var tried []error
		for _, open := range ways {
			spans, err := p.read(ctx, open)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err == nil {
				d.spans, tried = append(d.spans, spans...), nil
				break
			}
			tried = append(tried, err)
		}
		failed = append(failed, tried...)
	}
	return errors.Join(failed...)
}

func (p *piece) read(ctx context.Context, open OpenFunc) ([]span, error) {
	var spans []span
	now := Stamp{Time: p.segment.From}
	before := p.segment.From // the stamp before
	err := walk(ctx, p.segment, open, func(r Record) error {
		switch r.Kind {
		case KindStamp:
			before, now = now.Time, r.Stamp
		case KindEntry:
			revision := r.Entry.Main
			if revision < p.first || revision > p.last {
				return nil
			}
			if n := len(spans); n > 0 && spans[n-1].second == now.Time.Unix() {
				spans[n-1].last = revision
				return nil
			}
			s := span{first: revision, last: revision, second: now.Time.Unix()}
			if now.Late {
				s.after = max(1, before.Unix())
			}
			spans = append(spans, s)
		}
		return nil
	})
	return spans, err
}

// Of is what is known of a revision.
func (d *Dates) Of(revision int64) Seen {
	i, ok := slices.BinarySearchFunc(d.spans, revision, func(s span, r int64) int { return compareRange(s.first, s.last, r) })
	if !ok {
		return d.bounds(revision)
	}
	s := d.spans[i]
	if s.after > 0 {
		return Seen{After: time.Unix(s.after, 0).UTC(), By: time.Unix(s.second, 0).UTC()}
	}
	return Seen{At: time.Unix(s.second, 0).UTC()}
}

func (d *Dates) bounds(revision int64) (seen Seen) {
	find := func(b bound, r int64) int { return cmp.Compare(b.revision, r) }
	if i, _ := slices.BinarySearchFunc(d.by, revision, find); i < len(d.by) {
		seen.By = d.by[i].time.UTC()
	}
	if i, _ := slices.BinarySearchFunc(d.after, revision, find); i > 0 {
		seen.After = d.after[i-1].time.UTC()
	}
	if !seen.By.IsZero() && seen.After.After(seen.By) { // two clocks that disagree
		seen.After = time.Time{}
	}
	return seen
}

// compareRange is less than 0 for a range below a revision, 0 for one that it lies in.
func compareRange(first, last, revision int64) int {
	switch {
	case last < revision:
		return -1
	case first > revision:
		return 1
	}
	return 0
}
