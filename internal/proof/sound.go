package proof

import (
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// furthest is how far back records are read at least: two periods of drills once a month, after which they are overdue, and one more, in
// which somebody has tried.
const furthest = 100 * 24 * time.Hour

// Since is the time from which on records say how a target stands: those that can be about any of the entries, and those of the last
// 100 days. Where retention keeps snapshots for less time than there is between two drills, no record is about any that is left.
func Since(entries []repo.Entry, now time.Time) time.Time {
	since := now.Add(-furthest)
	if oldest := Oldest(entries); !oldest.IsZero() && oldest.Before(since) {
		return oldest
	}
	return since
}

// Sound is the newest entry that a restore would take and that does not stand failed. Where each that it would take does, it is the newest
// of those. nil: there is none.
func (h *History) Sound(c *repo.Catalogue, now time.Time) *repo.Entry {
	newest, err := c.Latest(now, false)
	if err != nil {
		return nil // which is what the error says
	}
	if h.OfEntry(newest).State != StateFailed {
		return newest
	}
	newest, _ = h.Counting(c, now).Latest(now, false) // there is one
	return newest
}

// Counting is the catalogue without what stands failed, or all of it where a restore could take nothing else. Sound is its newest entry.
func (h *History) Counting(c *repo.Catalogue, now time.Time) *repo.Catalogue {
	good := *c
	good.Entries = nil
	for i := range c.Entries {
		if e := &c.Entries[i]; h.OfEntry(e).State != StateFailed {
			good.Entries = append(good.Entries, *e)
		}
	}
	if _, err := good.Latest(now, false); err != nil {
		return c
	}
	return &good
}

// First is when the oldest record that counts was written; ok is false where there is none, as far as records were read.
func (h *History) First() (at time.Time, ok bool) {
	for _, s := range h.records {
		if s.State == repo.StateOK {
			return s.Time(), true
		}
	}
	return time.Time{}, false
}
