package status

import (
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// TestPaceOfBursts: snapshots in quick succession, as the archive asks for after gaps, are no schedule.
func TestPaceOfBursts(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	of := func(regular int, every time.Duration, burst int) time.Duration {
		var all []*repo.Entry
		next := at
		for range regular {
			all = append(all, &repo.Entry{ID: repo.ID{Time: next}})
			next = next.Add(every)
		}
		for range burst {
			all = append(all, &repo.Entry{ID: repo.ID{Time: next}})
			next = next.Add(time.Minute)
		}
		return pace(all)
	}
	for _, c := range []struct {
		regular int
		every   time.Duration
		burst   int
		want    time.Duration
	}{
		{10, 6 * time.Hour, 0, 6 * time.Hour},
		{10, 6 * time.Hour, 6, 6 * time.Hour},
		{10, 6 * time.Hour, 20, 6 * time.Hour},
		{10, 48 * time.Hour, 0, maxPace},
		{10, time.Minute, 0, minPace},
		{2, time.Minute, 0, maxPace},
	} {
		if got := of(c.regular, c.every, c.burst); got != c.want {
			t.Errorf("%d, one every %s, and a burst of %d: %s, want %s", c.regular, c.every, c.burst, got, c.want)
		}
	}
}
