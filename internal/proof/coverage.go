package proof

import (
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// Cover counts how much of what can be restored was proved by a drill within the period before now. canOpen says for which
// snapshots this host has a key; nil: for all. h must have been read back to a period ago.
func Cover(entries []repo.Entry, h *History, period time.Duration, now time.Time, canOpen func(*repo.Entry) bool) Coverage {
	c := Coverage{Period: period.String()}
	for i := range entries {
		e := &entries[i]
		if !e.Restorable(false) {
			continue
		}
		c.Restorable++
		if s := h.OfEntry(e); s.State == StateProved && !s.At.Before(now.Add(-period)) {
			c.Drilled++
		}
		if canOpen != nil && !canOpen(e) {
			c.NoKey++
		}
	}
	return c
}

// Uncovered is how many snapshots can be restored and were not proved by a drill within the period.
func (c Coverage) Uncovered() int { return c.Restorable - c.Drilled }
