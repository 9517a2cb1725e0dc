package archive

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
)

// Chain is what one point is restored from: a snapshot, and the segments that lead on from it, in order.
type Chain struct {
	Base     *repo.Entry
	Segments []*repo.SegmentEntry // none when the snapshot holds all
	// Low and High: every revision from Low to High can be made of it, also one before the snapshot's own, which is cut back
	// then. They are equal when a revision was asked for.
	Low, High int64
	// Time is the instant that was asked for, zero otherwise. Clock is the segment whose stamps say which revision that is; nil
	// when it can be only one. RevisionAt reads it.
	Time  time.Time
	Clock *repo.SegmentEntry
	// ClockNote is what the writer noted of its clock when it told of Time; "" nothing was wrong with it.
	ClockNote string
	// Newest is the newest point that can be restored on this timeline: what lies between is given up.
	Newest Point
}

// Unreachable is why a point cannot be restored, and what can be instead. It wraps repo.ErrNothing.
type Unreachable struct {
	Timeline string
	Revision int64     // that was wanted, 0: a time was
	Time     time.Time // that was wanted, zero: a revision was
	// MissingFirst and MissingLast are the revisions that no object holds; both 0 when it is the time that nothing tells.
	// MissingLast is 0 when nothing after MissingFirst is there at all.
	MissingFirst, MissingLast int64
	Before, After             *Point // the nearest points that can be restored; nil: there is none
}

// Error names the gap and the alternatives.
func (u *Unreachable) Error() string {
	text := fmt.Sprintf("revision %d", u.Revision)
	if u.Revision == 0 {
		text = "the revision of " + u.Time.UTC().Format(time.RFC3339Nano)
	}
	switch {
	case u.MissingFirst == 0:
		text += " is not known: no segment tells what happened at that time"
	case u.MissingLast == 0:
		text += fmt.Sprintf(" cannot be restored: nothing holds the revisions from %d on", u.MissingFirst)
	default:
		text += fmt.Sprintf(" cannot be restored: revisions %d to %d are missing", u.MissingFirst, u.MissingLast)
	}
	text += u.Before.text("; the newest point before it is", "; no point before it can be restored")
	return text + u.After.text(", the oldest after it", ", none after it")
}

// Unwrap is repo.ErrNothing.
func (u *Unreachable) Unwrap() error { return repo.ErrNothing }

func (p *Point) text(with, without string) string {
	switch {
	case p == nil:
		return without
	case p.Time.IsZero():
		return fmt.Sprintf("%s revision %d", with, p.Revision)
	}
	return fmt.Sprintf("%s revision %d of %s", with, p.Revision, p.Time.UTC().Format(time.RFC3339))
}

func (u *Unreachable) hinted() error {
	if u.Before == nil {
		return hint.New(u, "run `drd list` to see what can be restored")
	}
	return hint.New(u, "restore what is there: --revision %d", u.Before.Revision)
}

// AtRevision is the chain to a revision: of the fewest objects, and among those the least to cut or read. A revision that cannot
// be reached is an error wrapping *Unreachable.
func (h *History) AtRevision(revision int64) (*Chain, error) {
	c := h.chain(revision, revision)
	if c == nil {
		u := h.missing(revision)
		u.Revision = revision
		return nil, u.hinted()
	}
	return c, nil
}

// Latest is the chain to the newest point of the timeline: the newest in time is the highest revision there. Without any
// snapshot it is an error wrapping *Unreachable.
func (h *History) Latest() (*Chain, error) {
	newest := h.newest()
	return h.AtRevision(max(1, newest.Revision))
}

// newest is the highest revision that can be restored; the zero Point when there is none.
func (h *History) newest() Point {
	reached := int64(0)
	for _, e := range h.snapshots {
		_, r := h.path(e.Manifest.Revision, math.MaxInt64)
		reached = max(reached, r)
	}
	return h.point(reached)
}

// chain finds a snapshot and segments for every revision from low to high, nil when there are none.
func (h *History) chain(low, high int64) *Chain {
	var base *repo.Entry
	for _, e := range h.snapshots { // by revision: the first that holds all of it, else the nearest before
		if oldest(e) > low {
			continue
		}
		base = e
		if e.Manifest.Revision >= high {
			break
		}
	}
	if base == nil {
		return nil
	}
	path, reached := h.path(base.Manifest.Revision, high)
	if reached < high {
		return nil
	}
	return &Chain{Base: base, Segments: path, Low: low, High: high, Newest: h.newest()}
}

// missing says what lies between a revision that cannot be restored and those that can.
func (h *History) missing(revision int64) *Unreachable {
	u := &Unreachable{Timeline: h.timeline, MissingFirst: 1}
	for _, r := range h.Window() {
		switch {
		case r.Last < revision:
			u.Before, u.MissingFirst = ptr(h.point(r.Last)), r.Last+1
		case r.First > revision && u.After == nil:
			u.After = ptr(h.point(r.First))
			u.MissingLast = r.First - 1
		}
	}
	// Segments that nothing leads to lie beyond the gap: they are there, and of no use.
	for _, e := range h.segments {
		if s := e.Segment; !s.Silence() && s.First > u.MissingFirst {
			if u.MissingLast == 0 || s.First-1 < u.MissingLast {
				u.MissingLast = s.First - 1
			}
			break // by first revision
		}
	}
	return u
}

func ptr(p Point) *Point { return &p }

// AtTime is the chain to an instant, which is taken to the second. Which revision that is, is read out of the chain's Clock by
// RevisionAt, for which the segment must be opened: from the manifests alone follow the bounds Low and High. An instant of which
// the archive tells nothing, or one that cannot be reached, is an error wrapping *Unreachable.
func (h *History) AtTime(t time.Time) (*Chain, error) {
	t = t.UTC().Truncate(time.Second)
	var failed *Unreachable
	for _, clock := range h.clocks(t) {
		s := clock.Segment
		low, high := max(1, s.First-1), max(1, s.Last)
		c := h.chain(low, high)
		if c == nil {
			c = h.chainWithin(low, high)
		}
		if c != nil {
			c.Time, c.ClockNote = t, s.ClockSkewNote
			if low < high { // also where the chain begins within the segment, maybe at its very end
				c.Clock = clock
			}
			return c, nil
		}
		if failed == nil {
			failed = h.missing(low)
		}
	}
	if revision, known := h.between(t); failed == nil && known {
		if c := h.chain(revision, revision); c != nil {
			c.Time = t
			return c, nil
		}
	}
	if failed == nil {
		failed = h.untold(t)
	}
	failed.Time = t
	return nil, failed.hinted()
}

// chainWithin is a chain for the upper part of a range, which begins within it.
func (h *History) chainWithin(low, high int64) *Chain {
	for _, e := range h.snapshots {
		if from := oldest(e); from > low && from <= high {
			if c := h.chain(from, high); c != nil {
				return c
			}
		}
	}
	return nil
}

// clocks are the segments that tell of an instant, the narrowest first.
func (h *History) clocks(t time.Time) []*repo.SegmentEntry {
	var found []*repo.SegmentEntry
	for _, e := range h.segments {
		if !e.Segment.From.After(t) && !e.Segment.To.Before(t) {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b *repo.SegmentEntry) int {
		width := func(s *repo.Segment) time.Duration { return s.To.Sub(s.From) }
		return int(min(1, max(-1, width(a.Segment)-width(b.Segment))))
	})
	return found
}

// between is the revision at an instant that no segment tells of, if it was the same before and after.
func (h *History) between(t time.Time) (revision int64, known bool) {
	low, high := int64(0), int64(math.MaxInt64)
	atLeast := func(at time.Time, r int64) {
		if !at.After(t) {
			low = max(low, r)
		}
	}
	atMost := func(at time.Time, r int64) {
		if !at.Before(t) {
			high = min(high, r)
		}
	}
	for _, e := range h.segments {
		s := e.Segment
		atLeast(s.To, s.Last)
		atMost(s.From, s.First-1)
	}
	for _, e := range h.snapshots {
		atLeast(e.Manifest.CaptureEnd, e.Manifest.Revision)
		atMost(e.Manifest.CaptureStart, e.Manifest.Revision)
	}
	return low, low == high && low >= 1
}

// untold names what can be had instead of an instant that nothing tells of.
func (h *History) untold(t time.Time) *Unreachable {
	u := &Unreachable{Timeline: h.timeline}
	consider := func(p Point) {
		switch {
		case p.Time.After(t):
			if u.After == nil || p.Time.Before(u.After.Time) {
				u.After = &p
			}
		case u.Before == nil || p.Time.After(u.Before.Time):
			u.Before = &p
		}
	}
	for _, r := range h.Window() {
		for _, p := range r.Snapshots {
			consider(p)
		}
		for _, e := range h.segments {
			if s := e.Segment; r.tells(s) {
				consider(Point{Revision: max(1, s.First-1), Time: s.From})
				consider(Point{Revision: max(1, s.Last), Time: s.To})
			}
		}
	}
	return u
}
