package archive

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
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

// Window lists what can be restored, by revision. What lies between two ranges is a hole (Holes).
func (h *History) Window() []Range {
	var ranges []Range
	for _, e := range h.snapshots {
		_, reached := h.path(e.Manifest.Revision, math.MaxInt64)
		ranges = append(ranges, Range{First: oldest(e), Last: reached})
	}
	ranges = union(ranges)
	for i := range ranges {
		h.date(&ranges[i])
	}
	return ranges
}

// union merges ranges that touch.
func union(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	var out []Range
	for _, r := range ranges {
		if n := len(out); n > 0 && r.First-1 <= out[n-1].Last {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Holes are the revisions between ranges: nothing that is there brings them back. Times has one span each, from the newest time
// before it to the oldest after it, where both are known.
func Holes(ranges []Range) []Range {
	var holes []Range
	for i := 1; i < len(ranges); i++ {
		before, after := ranges[i-1], ranges[i]
		hole := Range{First: before.Last + 1, Last: after.First - 1}
		from, _ := before.ends()
		_, to := after.ends()
		if !from.IsZero() && !to.IsZero() {
			hole.Times = []Span{{From: from, To: to}}
		}
		holes = append(holes, hole)
	}
	return holes
}

// ends are the newest and the oldest time that is known of the range.
func (r *Range) ends() (newest, oldest time.Time) {
	note := func(t time.Time) {
		if t.After(newest) {
			newest = t
		}
		if oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	for _, s := range r.Times {
		note(s.From)
		note(s.To)
	}
	for _, p := range r.Snapshots {
		note(p.Time)
	}
	return newest, oldest
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
