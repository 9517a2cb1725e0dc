package proof

import (
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// TestSound: the newest snapshot that does not stand failed is the one that counts.
func TestSound(t *testing.T) {
	c := &repo.Catalogue{Cluster: "prod-east"}
	for i := range 3 {
		c.Entries = append(c.Entries, entry(snapshotID(time.Duration(i)*time.Hour), repo.StateOK))
	}
	c.Entries = append(c.Entries, entry(snapshotID(3*time.Hour), repo.StateUnsigned), entry(snapshotID(1000*time.Hour), repo.StateOK))
	failed := func(after ...time.Duration) *History {
		var drills []Drill
		for _, a := range after {
			drills = append(drills, drilled(a, LevelDrill, Failed))
		}
		return history("node1", map[time.Duration][]Drill{4 * time.Hour: drills})
	}
	for _, tc := range []struct {
		what string
		h    *History
		want time.Duration
	}{
		{"no records", &History{}, 2 * time.Hour},
		{"none failed", history("node1", map[time.Duration][]Drill{4 * time.Hour: {drilled(2*time.Hour, LevelDrill, Passed)}}), 2 * time.Hour},
		{"the newest failed", failed(2 * time.Hour), time.Hour},
		{"an older one failed", failed(time.Hour), 2 * time.Hour},
		{"the two newest failed", failed(time.Hour, 2*time.Hour), 0},
		{"all failed", failed(0, time.Hour, 2*time.Hour), 2 * time.Hour},
	} {
		now := testTime.Add(5 * time.Hour)
		if got := tc.h.Sound(c, now); got == nil || got.ID != snapshotID(tc.want) {
			t.Errorf("%s: %+v, want %s", tc.what, got, snapshotID(tc.want))
		}
		if got, err := tc.h.Counting(c, now).Latest(now, false); err != nil || got.ID != snapshotID(tc.want) {
			t.Errorf("%s: of those that count %+v, %v, want %s", tc.what, got, err, snapshotID(tc.want))
		}
	}
	if got := failed(0).Sound(&repo.Catalogue{}, testTime); got != nil {
		t.Errorf("an empty target: %+v", got)
	}
}

// TestSince: records are read for some time also where retention keeps nothing for so long.
func TestSince(t *testing.T) {
	now := testTime.Add(1000 * 24 * time.Hour)
	for after, want := range map[time.Duration]time.Time{
		0:                    testTime.Add(-repo.FutureSkew),
		999 * 24 * time.Hour: now.Add(-furthest),
	} {
		if got := Since([]repo.Entry{entry(snapshotID(after), repo.StateOK)}, now); !got.Equal(want) {
			t.Errorf("with a snapshot after %s: %s, want %s", after, got, want)
		}
	}
	if got := Since(nil, now); !got.Equal(now.Add(-furthest)) {
		t.Errorf("without: %s", got)
	}
}

// TestFirst: records that do not count tell nothing.
func TestFirst(t *testing.T) {
	h := history("node1", map[time.Duration][]Drill{time.Hour: {drilled(0, LevelDrill, Inconclusive)}, 2 * time.Hour: {drilled(0, LevelDrill, Passed)}})
	if at, ok := h.First(); !ok || !at.Equal(testTime.Add(time.Hour)) {
		t.Errorf("%s, %t", at, ok)
	}
	h.records[0].State = StateBadRecord
	if at, ok := h.First(); !ok || !at.Equal(testTime.Add(2*time.Hour)) {
		t.Errorf("without the first: %s, %t", at, ok)
	}
	if at, ok := new(History).First(); ok {
		t.Errorf("of nothing: %s", at)
	}
}
