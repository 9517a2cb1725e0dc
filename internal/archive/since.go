package archive

import "time"

// Reaching is the chain to the same point as c whose store holds every revision from since to that point, since included: c itself, or
// one that begins with an earlier snapshot. An error wraps *Unreachable: its Revision is since, the missing ones are
// those that the way from there stops at, and After is how far back a store of the point can reach.
func (h *History) Reaching(c *Chain, since int64) (*Chain, error) {
	since = min(since, c.Low)
	if oldest(c.Base) <= since {
		return c, nil
	}
	if longer := h.chain(since, c.High); longer != nil {
		longer.Low, longer.Time, longer.Clock, longer.ClockNote = c.Low, c.Time, c.Clock, c.ClockNote
		return longer, nil
	}
	u := &Unreachable{Timeline: h.timeline, Revision: since, MissingFirst: since, After: &Point{Revision: oldest(c.Base)}}
	for _, e := range h.snapshots {
		if from := oldest(e); from > since {
			if from < u.After.Revision && h.chain(from, c.High) != nil {
				u.After.Revision = from
			}
		} else if _, reached := h.path(e.Manifest.Revision, c.High); reached >= u.MissingFirst {
			u.MissingFirst = reached + 1
		}
	}
	u.MissingLast = h.until(u.MissingFirst, max(u.MissingFirst, c.High))
	return nil, u.hinted()
}

// until is the last of the revisions from first on that no segment holds, at most last.
func (h *History) until(first, last int64) int64 {
	for _, e := range h.segments {
		if s := e.Segment; !s.Silence() && s.First > first {
			return min(last, s.First-1)
		}
	}
	return last
}

// KnownBy is the newest revision that is known to have been there by an instant, which may be one before the one that was;
// the zero Point when nothing is known.
func (h *History) KnownBy(t time.Time) Point {
	var newest Point
	note := func(at time.Time, revision int64) {
		if !at.After(t) && revision > newest.Revision {
			newest = Point{Revision: revision, Time: at}
		}
	}
	for _, e := range h.segments {
		note(e.Segment.To, e.Segment.Last)
	}
	for _, e := range h.snapshots {
		note(e.Manifest.CaptureEnd, e.Manifest.Revision)
	}
	return newest
}
