package retention

import (
	"math"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/revisions"
)

// keepMoments keeps the snapshots that say what was there at an instant of which no segment tells: the revision was the same before and
// after. Wherever a segment does tell, no snapshot is asked.
func (l *line) keepMoments(segments []piece) {
	if _, within := l.lowest(segments); !within {
		return
	}
	w := newWitnesses(segments)
	r := newReach(segments)
	for _, t := range l.untold(w) {
		low, high := w.atLeast(t), w.atMost(t)
		before, after := low, high
		for _, d := range l.snapshots {
			m := d.Entry.Manifest
			if !m.CaptureEnd.After(t) {
				before = max(before, m.Revision)
			}
			if !m.CaptureStart.Before(t) {
				after = min(after, m.Revision)
			}
		}
		if before != after || before < 1 {
			continue
		}
		l.keepWitness(low == before, before, func(d *Decision) bool { return !d.Entry.Manifest.CaptureEnd.After(t) })
		l.keepWitness(high == after, after, func(d *Decision) bool { return !d.Entry.Manifest.CaptureStart.Before(t) })
		if restorable := l.restorable(r, anyFate); slices.ContainsFunc(restorable, func(s revisions.Range) bool { return s.Has(before) }) {
			l.cover(r, []revisions.Range{{First: before, Last: before}})
		}
	}
}

// keepWitness keeps one snapshot of a revision among those that are asked for, unless that is known without.
func (l *line) keepWitness(known bool, revision int64, of func(*Decision) bool) {
	var found *Decision
	for _, d := range l.snapshots {
		if known || d.Entry.Manifest.Revision != revision || !of(d) {
			continue
		}
		found = d
	}
	if found != nil {
		l.rely(found, "the archive, which does not tell what was there then")
	}
}

// untold are instants of the time to keep that no segment tells of, one at least for each answer that there can be.
func (l *line) untold(w *witnesses) []time.Time {
	at := []time.Time{l.since}
	for _, s := range w.told {
		at = append(at, s.to.Add(1))
	}
	for _, d := range l.snapshots {
		m := d.Entry.Manifest
		at = append(at, m.CaptureStart, m.CaptureStart.Add(1), m.CaptureEnd)
	}
	return slices.DeleteFunc(at, func(t time.Time) bool { return t.Before(l.since) || w.tell(t) })
}

// witnesses say by the times of segments what was there.
type witnesses struct {
	told   []piece // spans of time, without any gap each, in order
	ends   []piece // by the time of their end, last the highest so far
	begins []piece // by the time of their beginning, first the lowest from there on
}

func newWitnesses(segments []piece) *witnesses {
	w := &witnesses{ends: slices.Clone(segments), begins: slices.Clone(segments)}
	slices.SortFunc(w.begins, func(a, b piece) int { return a.from.Compare(b.from) })
	for _, s := range w.begins {
		if n := len(w.told); n > 0 && !s.from.After(w.told[n-1].to) {
			if s.to.After(w.told[n-1].to) {
				w.told[n-1].to = s.to
			}
			continue
		}
		w.told = append(w.told, piece{from: s.from, to: s.to})
	}
	for i := len(w.begins) - 2; i >= 0; i-- {
		w.begins[i].first = min(w.begins[i].first, w.begins[i+1].first)
	}
	slices.SortFunc(w.ends, func(a, b piece) int { return a.to.Compare(b.to) })
	for i := 1; i < len(w.ends); i++ {
		w.ends[i].last = max(w.ends[i].last, w.ends[i-1].last)
	}
	return w
}

// tell reports whether a segment tells of an instant.
func (w *witnesses) tell(t time.Time) bool {
	i, _ := slices.BinarySearchFunc(w.told, t, func(s piece, t time.Time) int { return s.to.Compare(t) })
	return i < len(w.told) && !w.told[i].from.After(t)
}

// atLeast is the highest revision that a segment which had ended by then ends with; 0: none had.
func (w *witnesses) atLeast(t time.Time) int64 {
	i, _ := slices.BinarySearchFunc(w.ends, t, func(s piece, t time.Time) int {
		if s.to.After(t) {
			return 1
		}
		return -1
	})
	if i == 0 {
		return 0
	}
	return w.ends[i-1].last
}

// atMost is the lowest revision that a segment which began then or later begins behind.
func (w *witnesses) atMost(t time.Time) int64 {
	i, _ := slices.BinarySearchFunc(w.begins, t, func(s piece, t time.Time) int { return s.from.Compare(t) })
	if i == len(w.begins) {
		return math.MaxInt64
	}
	return w.begins[i].first - 1
}
