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
	var known []*repo.Segment
	for _, e := range h.segments {
		if r.tells(e.Segment) {
			known = append(known, e.Segment)
		}
	}
	slices.SortStableFunc(known, func(a, b *repo.Segment) int { return a.From.Compare(b.From) })
	last := int64(-1) // revision at the end of the newest span
	for _, s := range known {
		n := len(r.Times)
		switch {
		case n == 0 || s.From.After(r.Times[n-1].To) && s.First-1 != last:
			r.Times = append(r.Times, Span{From: s.From, To: s.To})
			last = s.Last
		case s.To.After(r.Times[n-1].To): // it goes on, or nothing happened in between
			r.Times[n-1].To, last = s.To, s.Last
		}
	}
}

// tells reports whether every revision that a segment dates is in the range: those that it holds, and the one before.
func (r *Range) tells(s *repo.Segment) bool {
	return max(1, s.First-1) >= r.First && s.Last <= r.Last
}
