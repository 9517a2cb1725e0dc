package retention

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/revisions"
)

// steps is into how many parts the archive's time is divided, each of which keeps a snapshot: nothing of it is further than an eighth
// from a snapshot, and one of them is the next base when the time has gone on. Without, one base would lead on for ever,
// and with it all segments since.
const steps = 8

// piece is what the rules need to know of a segment.
type piece struct {
	first, last int64 // revisions
	from, to    time.Time
}

func pieceOf(s *repo.Segment) piece {
	return piece{first: s.First, last: s.Last, from: s.From, to: s.To}
}

// needed keeps the snapshots that the restore of any point within archive.keep_within needs. It returns the revision up to which no
// segment that is older is needed for that.
//
// What cannot be read now may be there again tomorrow, so the question is asked twice: as if that were there, and as if it were not.
func (l *line) needed() (gone int64) {
	known := slices.Clone(l.future)
	for _, d := range l.usable {
		known = append(known, pieceOf(d.Entry.Segment))
	}
	gone = l.needs(known)
	if len(l.unknown) > 0 {
		gone = min(gone, l.needs(slices.Concat(known, l.unknown)))
	}
	l.keepMoments(known)
	return gone
}

// needs is needed for some segments.
func (l *line) needs(segments []piece) (gone int64) {
	r := newReach(segments)
	low, within := l.lowest(segments)
	switch {
	case !within && !l.current:
		return math.MaxInt64 // it has ended before
	case !within:
		low = l.furthest(r)
	default:
		l.keepSteps()
	}
	points := above(l.restorable(r, anyFate), low)
	if len(points) == 0 {
		return 0
	}
	base := l.base(r, points[0].First, within)
	if base != nil {
		l.rely(base, "base of the archive")
		gone = base.Entry.Manifest.Revision
	}
	if within {
		l.keepBases()
	}
	l.cover(r, points)
	return gone
}

func anyFate(*Decision) bool { return true }

// rely keeps a snapshot because the archive needs it. What is needed is found without regard to what the rules keep: they look at
// the time, and another node, which prunes from the same listing at another moment, must not come to rely on what this one deletes.
func (l *line) rely(d *Decision, reason string) {
	d.keep(reason)
	l.relied[d] = true
}

// keepBases keeps every snapshot that may be the base for a node that prunes at the same time, with another clock or a little later.
func (l *line) keepBases() {
	for _, d := range l.snapshots {
		if at := d.Entry.Manifest.CaptureEnd; at.After(l.since) && !at.After(l.since.Add(l.spread)) {
			d.keep("base of the archive soon, or for another node")
		}
	}
}

// lowest is the first revision that a segment tells of which ends within the time to keep.
func (l *line) lowest(segments []piece) (low int64, within bool) {
	low = math.MaxInt64
	for _, s := range segments {
		if !s.to.Before(l.since) {
			low, within = min(low, max(1, s.first-1)), true
		}
	}
	return low, within
}

// furthest is the newest revision that can be restored.
func (l *line) furthest(r reach) (revision int64) {
	for _, d := range l.snapshots {
		revision = max(revision, r.from(d.Entry.Manifest.Revision))
	}
	return revision
}

// reach says how far segments lead on from a revision.
type reach []revisions.Range

func newReach(segments []piece) reach {
	var changes []revisions.Range
	for _, s := range segments {
		if s.last >= s.first {
			changes = append(changes, revisions.Range{First: s.first, Last: s.last})
		}
	}
	return revisions.Union(changes)
}

func (r reach) from(revision int64) int64 {
	i, _ := slices.BinarySearchFunc(r, revision+1, func(s revisions.Range, want int64) int { return cmp.Compare(s.Last, want) })
	if i < len(r) && r[i].First <= revision+1 {
		return r[i].Last
	}
	return revision
}

// span is what can be restored from a snapshot: it can be cut back to its compact revision.
func (r reach) span(e *repo.Entry) revisions.Range {
	return revisions.Range{First: max(1, e.Manifest.CompactRevision), Last: r.from(e.Manifest.Revision)}
}

// restorable are the revisions that some of the snapshots lead to.
func (l *line) restorable(r reach, some func(*Decision) bool) []revisions.Range {
	var spans []revisions.Range
	for _, d := range l.snapshots {
		if some(d) {
			spans = append(spans, r.span(d.Entry))
		}
	}
	return revisions.Union(spans)
}

// above cuts off what is below a revision.
func above(all []revisions.Range, low int64) []revisions.Range {
	var out []revisions.Range
	for _, s := range all {
		if s.Last >= low {
			out = append(out, revisions.Range{First: max(s.First, low), Last: s.Last})
		}
	}
	return out
}

// base is the newest snapshot from before the time to keep that leads to its first point, or to the newest of all when nothing is
// within that time; nil: there is none.
func (l *line) base(r reach, point int64, within bool) *Decision {
	i := lastIndex(l.snapshots, func(d *Decision) bool {
		return (!within || !d.Entry.Manifest.CaptureEnd.After(l.since)) && r.span(d.Entry).Has(point)
	})
	if i < 0 {
		return nil
	}
	return l.snapshots[i]
}

// keepSteps keeps the first snapshot of each part of the time to keep.
func (l *line) keepSteps() {
	step := max(1, int64((l.within / steps).Seconds()))
	first := make(map[int64]*Decision)
	for _, d := range l.snapshots {
		part := d.Entry.ID.Time.Unix() / step
		if f := first[part]; f == nil || d.Entry.ID.Compare(f.Entry.ID) < 0 {
			first[part] = d
		}
	}
	for _, d := range l.snapshots {
		if first[d.Entry.ID.Time.Unix()/step] == d && d.Entry.Manifest.CaptureEnd.After(l.since) {
			d.keep("the archive, first of " + coarse(time.Duration(step)*time.Second))
		}
	}
}

// cover keeps snapshots until the points can be restored that all of them together restore, newest first.
func (l *line) cover(r reach, points []revisions.Range) {
	for {
		revision, missing := firstMissing(points, l.restorable(r, func(d *Decision) bool { return l.relied[d] }))
		if !missing {
			return
		}
		i := lastIndex(l.snapshots, func(d *Decision) bool { return !l.relied[d] && r.span(d.Entry).Has(revision) })
		if i < 0 {
			return
		}
		l.rely(l.snapshots[i], fmt.Sprintf("the archive, which needs it for revision %d", revision))
	}
}

func lastIndex(all []*Decision, is func(*Decision) bool) int {
	for i, d := range slices.Backward(all) {
		if is(d) {
			return i
		}
	}
	return -1
}

// firstMissing is the first revision of want that have lacks. Both are in order, and have is a union.
func firstMissing(want, have []revisions.Range) (int64, bool) {
	for _, w := range want {
		next := w.First
		for _, h := range have {
			if h.Has(next) {
				next = h.Last + 1
			}
		}
		if next <= w.Last {
			return next, true
		}
	}
	return 0, false
}
