package archive

import (
	"cmp"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// Point is a place in the history of a timeline. Time is an instant at which that revision is known to have been there: the end
// of a snapshot's capture, or of a segment. Zero: not known.
type Point struct {
	Revision int64
	Time     time.Time
}

// History is what a repository holds of one timeline and a restore may use. It never changes; its methods only think.
type History struct {
	timeline  string
	snapshots []*repo.Entry        // by revision
	segments  []*repo.SegmentEntry // by first revision, silences included
}

// NewHistory picks those of a timeline that can be restored. With insecure, signatures do not count.
func NewHistory(timeline string, snapshots []repo.Entry, segments []repo.SegmentEntry, insecure bool) *History {
	h := &History{timeline: timeline}
	for i := range snapshots {
		if e := &snapshots[i]; e.Restorable(insecure) && e.Manifest.Timeline == timeline {
			h.snapshots = append(h.snapshots, e)
		}
	}
	for i := range segments {
		if e := &segments[i]; e.Usable(insecure) && e.Segment.Timeline == timeline {
			h.segments = append(h.segments, e)
		}
	}
	slices.SortStableFunc(h.snapshots, func(a, b *repo.Entry) int {
		return cmp.Or(cmp.Compare(a.Manifest.Revision, b.Manifest.Revision), a.ID.Compare(b.ID))
	})
	slices.SortStableFunc(h.segments, func(a, b *repo.SegmentEntry) int {
		return cmp.Or(cmp.Compare(a.Segment.First, b.Segment.First), cmp.Compare(a.Segment.Last, b.Segment.Last), cmp.Compare(a.Name.Hash, b.Name.Hash))
	})
	return h
}

// Without is the history as it would be without some objects: snapshots by ID, segments by name. Whoever finds a damaged one
// asks again for another way.
func (h *History) Without(names ...string) *History {
	out := &History{timeline: h.timeline}
	for _, e := range h.snapshots {
		if !slices.Contains(names, e.ID.String()) {
			out.snapshots = append(out.snapshots, e)
		}
	}
	for _, e := range h.segments {
		if !slices.Contains(names, e.Name.String()) {
			out.segments = append(out.segments, e)
		}
	}
	return out
}

// Timeline is the timeline that this is the history of.
func (h *History) Timeline() string { return h.timeline }

// oldest is the first revision that a snapshot can be cut back to: it holds every revision from its compact revision to its
// own.
func oldest(e *repo.Entry) int64 { return max(1, e.Manifest.CompactRevision) }

// path is the shortest sequence of segments that leads from a revision to another, and how far it comes. Among equally short
// ones it ends with the smallest object.
func (h *History) path(from, to int64) (path []*repo.SegmentEntry, reached int64) {
	reached = from
	next := 0
	var best *repo.SegmentEntry
	for reached < to {
		for ; next < len(h.segments) && h.segments[next].Segment.First <= reached+1; next++ {
			if e := h.segments[next]; best == nil || leadsFurther(e.Segment, best.Segment, to) {
				best = e
			}
		}
		if best == nil || best.Segment.Last <= reached {
			return path, reached
		}
		path, reached = append(path, best), best.Segment.Last
	}
	return path, reached
}

func leadsFurther(a, b *repo.Segment, to int64) bool {
	switch {
	case a.Last >= to && b.Last >= to:
		return a.Object.Size < b.Object.Size
	case a.Last != b.Last:
		return a.Last > b.Last
	}
	return a.First > b.First // the same end with less to read
}

// timeAt is the newest time at which an object of the history ended with a revision.
func (h *History) timeAt(revision int64) (at time.Time) {
	for _, e := range h.snapshots {
		if e.Manifest.Revision == revision && e.Manifest.CaptureEnd.After(at) {
			at = e.Manifest.CaptureEnd
		}
	}
	for _, e := range h.segments {
		if e.Segment.Last == revision && e.Segment.To.After(at) {
			at = e.Segment.To
		}
	}
	return at
}

func (h *History) point(revision int64) Point {
	return Point{Revision: revision, Time: h.timeAt(revision)}
}
