package proof

import (
	"context"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// firstLook is how many records LastProved reads at first; what was proved last is mostly among them.
const firstLook = 250

// MostRecords is the most that anybody reads of one target's records: those of ten years of five a day.
const MostRecords = 20_000

// LastProved is for retention.Policy.Proved: snapshots that a drill restored and that did not fail since, by ID, and when.
// The newest of them that is still there is among them for certain. It reads no more records than that takes, or fails: who
// deletes must not mistake a record that could not be read for one that is not there.
func LastProved(ctx context.Context, r *repo.Repository, trust *seal.Trust, opt ReadOptions) (map[string]time.Time, error) {
	c, err := r.Recent(ctx, nil, 0) // which snapshots there are, and nothing else of them
	if err != nil || len(c.Entries) == 0 {
		return nil, err
	}
	opt.Since = Oldest(c.Entries)
	for opt.Limit = firstLook; ; opt.Limit = min(4*opt.Limit, MostRecords) {
		h, err := Read(ctx, r, trust, opt)
		if err != nil {
			return nil, err
		}
		if err := h.Unreadable(); err != nil {
			return nil, fmt.Errorf("a drill record could not be read: %w", err)
		}
		proved := h.Proved()
		switch {
		case !h.truncated || h.reaches(newestProved(c.Entries, proved)):
			return proved, nil
		case opt.Limit == MostRecords:
			return nil, hint.New(fmt.Errorf("the newest %d drill records prove no snapshot that is still there, and there are more", MostRecords),
				"run `drd verify`")
		}
	}
}

// Oldest is the time before which no record can be about any of the entries. Without entries it is zero.
func Oldest(entries []repo.Entry) time.Time {
	var oldest time.Time
	for i := range entries {
		if at := entries[i].ID.Time; oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	if oldest.IsZero() {
		return oldest
	}
	return oldest.Add(-repo.FutureSkew) // the clocks of two hosts may differ so much
}

// newestProved is when the newest of the entries that was proved was captured; zero: none was.
func newestProved(entries []repo.Entry, proved map[string]time.Time) time.Time {
	var newest time.Time
	for i := range entries {
		if id := entries[i].ID; !proved[id.String()].IsZero() && id.Time.After(newest) {
			newest = id.Time
		}
	}
	return newest
}

// reaches reports whether every record was read that may be about something captured at that time or later.
func (h *History) reaches(at time.Time) bool {
	return !at.IsZero() && len(h.records) > 0 && !h.records[0].at.After(at.Add(-repo.FutureSkew))
}
