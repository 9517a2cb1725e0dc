package archive

import (
	"math"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/revisions"
)

// Range is a range of revisions each of which can be restored.
type Range struct {
	First, Last int64
	// Times are the spans of time within the range for which the archive tells the revision of every second, in order. Outside
	// of them only the snapshots are dated.
	Times     []Span
	Snapshots []Point // those in the range, by revision; dated with the end of their capture
}

// Span is a span of time, both ends included, in UTC.
type Span struct{ From, To time.Time }

// Window lists what can be restored, by revision. What lies between two ranges is a hole: nothing that is there brings it back.
func (h *History) Window() []Range {
	var reached []revisions.Range
	for _, e := range h.snapshots {
		_, last := h.path(e.Manifest.Revision, math.MaxInt64)
		reached = append(reached, revisions.Range{First: oldest(e), Last: last})
	}
	var ranges []Range
	for _, r := range revisions.Union(reached) {
		dated := Range{First: r.First, Last: r.Last}
		h.date(&dated)
		ranges = append(ranges, dated)
	}
	return ranges
}

// date fills in what is known of the time.
func (h *History) date(r *Range) {
	for _, e := range h.snapshots {
		if m := e.Manifest; m.Revision >= r.First && m.Revision <= r.Last {
			r.Snapshots = append(r.Snapshots, Point{Revision: m.Revision, Time: m.CaptureEnd})
		}
	}
	var known []told
	for _, e := range h.segments {
		if t, ok := r.told(e.Segment); ok {
			known = append(known, t)
		}
	}
	slices.SortStableFunc(known, func(a, b told) int { return a.From.Compare(b.From) })
	last := int64(-1) // revision at the end of the newest span
	for _, s := range known {
		n := len(r.Times)
		switch {
		case n == 0 || s.From.After(r.Times[n-1].To) && s.first-1 != last:
			r.Times = append(r.Times, s.Span)
			last = s.last
		case s.To.After(r.Times[n-1].To): // it goes on, or nothing happened in between
			r.Times[n-1].To, last = s.To, s.last
		}
	}
}

// told is what a segment says of a range: a span of time, and what happened in it.
type told struct {
	Span
	first, last int64
}

// told is the part of a segment's time in which every revision is in the range. Of one that begins before the range does, as a merged
// one may, that is what comes after the range's first snapshot was taken.
func (r *Range) told(s *repo.Segment) (told, bool) {
	t := told{Span{s.From, s.To}, s.First, s.Last}
	if r.tells(s) {
		return t, true
	}
	if s.Last > r.Last || s.Last < r.First || len(r.Snapshots) == 0 {
		return told{}, false
	}
	if at := r.Snapshots[0].Time; at.After(t.From) {
		t.From, t.first = at, r.Snapshots[0].Revision+1
	}
	return t, !t.From.After(t.To)
}

// tells reports whether every revision that a segment dates is in the range: those that it holds, and the one before.
func (r *Range) tells(s *repo.Segment) bool {
	return max(1, s.First-1) >= r.First && s.Last <= r.Last
}
