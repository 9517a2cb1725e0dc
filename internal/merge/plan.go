package merge

import (
	"cmp"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
)

const (
	// largestSource is up to which size, in bytes sealed, a segment is merged again: a larger one costs no more for being alone.
	largestSource = 16 << 20
	// largestMerged is how much, in bytes sealed, is merged into one: a restore to a revision, or the question which revision was
	// there at a second, reads the whole of one.
	largestMerged = 64 << 20
	// settle is how long after the end of an hour or a day it is merged: what waited for the target has come then.
	settle = 10 * time.Minute
	// abandoned is how long after its end also what no newer segment follows is merged: the timeline has ended.
	abandoned = 24 * time.Hour
)

// levels are the spans whose segments are merged into one, the shortest first.
var levels = [...]time.Duration{time.Hour, 24 * time.Hour}

// run is a sequence of segments that are merged into one.
type run []*repo.SegmentEntry

// plan finds what is to be merged among usable segments: of the shortest level at which there is anything. cut names the
// segments that do not go with the one before.
func plan(usable []*repo.SegmentEntry, cut func(repo.SegmentName) bool, now time.Time) []run {
	newest := newestOf(usable)
	for _, level := range levels {
		var small []*repo.SegmentEntry
		for _, e := range usable {
			last := newest[e.Segment.Timeline]
			if e != last && e.Segment.Object.Size <= largestSource && over(e.Segment.To.Truncate(level).Add(level), last.Segment.To, now) {
				small = append(small, e)
			}
		}
		if runs := runsOf(small, level, cut); len(runs) > 0 {
			return runs
		}
	}
	return nil
}

// over reports whether a span that ends at end is: the archive has gone on since, or never will.
func over(end, newest, now time.Time) bool {
	return !newest.Before(end.Add(settle)) || !now.Before(end.Add(abandoned))
}

// newestOf is the segment of each timeline in which the archive ends. It is never merged: whoever goes on from there reads it.
func newestOf(entries []*repo.SegmentEntry) map[string]*repo.SegmentEntry {
	newest := make(map[string]*repo.SegmentEntry)
	for _, e := range entries {
		s := e.Segment
		if n := newest[s.Timeline]; n == nil || cmp.Or(cmp.Compare(s.Last, n.Segment.Last), s.To.Compare(n.Segment.To)) > 0 {
			newest[s.Timeline] = e
		}
	}
	return newest
}

// place is where a segment begins, or where one must begin that goes on from another.
type place struct {
	timeline string
	first    int64
	from     int64 // Unix time in nanoseconds
}

// runsOf divides segments into runs of at least two, each within one span.
func runsOf(entries []*repo.SegmentEntry, level time.Duration, cut func(repo.SegmentName) bool) []run {
	slices.SortStableFunc(entries, func(a, b *repo.SegmentEntry) int {
		x, y := a.Segment, b.Segment
		return cmp.Or(cmp.Compare(x.Timeline, y.Timeline), x.From.Compare(y.From), cmp.Compare(x.First, y.First), x.To.Compare(y.To), cmp.Compare(x.Last, y.Last))
	})
	s := sorting{level: level, cut: cut, at: make(map[place][]*repo.SegmentEntry), used: make(map[*repo.SegmentEntry]bool)}
	for _, e := range entries {
		p := place{e.Segment.Timeline, e.Segment.First, e.Segment.From.UnixNano()}
		s.at[p] = append(s.at[p], e)
	}
	var runs []run
	for _, e := range entries {
		if s.used[e] {
			continue
		}
		if r := s.from(e); len(r) > 1 {
			runs = append(runs, r)
		}
	}
	return runs
}

// sorting is the making of runs.
type sorting struct {
	level time.Duration
	cut   func(repo.SegmentName) bool
	at    map[place][]*repo.SegmentEntry
	used  map[*repo.SegmentEntry]bool
}

// from is the run that begins with a segment, as long as one can be.
func (s *sorting) from(e *repo.SegmentEntry) run {
	var r run
	for size := int64(0); e != nil; e = s.next(e.Segment, largestMerged-size) {
		s.used[e] = true
		size += e.Segment.Object.Size
		if r = append(r, e); len(r) == repo.MaxMerged {
			break
		}
	}
	return r
}

// next is what goes on from a segment and has at most room bytes, nil where nothing does.
func (s *sorting) next(last *repo.Segment, room int64) *repo.SegmentEntry {
	for _, e := range s.at[place{last.Timeline, last.Last + 1, last.To.UnixNano()}] {
		sameSpan := last.To.Truncate(s.level).Equal(e.Segment.To.Truncate(s.level))
		if sameSpan && !s.used[e] && e.Segment.Object.Size <= room && archive.Joins(last, e.Segment) && !s.cut(e.Name) {
			return e
		}
	}
	return nil
}
