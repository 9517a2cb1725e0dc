package proof

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

func TestCover(t *testing.T) {
	const day = 24 * time.Hour
	passed := func(d int) []Drill { return []Drill{drilled(time.Duration(d)*day, LevelDrill, Passed)} }
	h := history("node1", map[time.Duration][]Drill{
		30 * day: passed(1),
		80 * day: passed(2),
		81 * day: passed(3),
		82 * day: {drilled(3*day, LevelDrill, Failed)},
		83 * day: {drilled(4*day, LevelData, Passed)},
		84 * day: {drilled(5*day, LevelDrill, Inconclusive)},
		85 * day: passed(7),
	})
	var entries []repo.Entry
	for i := 1; i <= 6; i++ {
		entries = append(entries, entry(snapshotID(time.Duration(i)*day), repo.StateOK))
	}
	entries = append(entries, entry(snapshotID(7*day), repo.StatePayloadMissing))
	got := Cover(entries, h, 30*day, testTime.Add(100*day), func(e *repo.Entry) bool { return !e.ID.Time.Equal(testTime.Add(6 * day)) })
	want := Coverage{Period: "720h0m0s", Restorable: 6, Drilled: 1, NoKey: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Uncovered() != 5 {
		t.Errorf("uncovered %d", got.Uncovered())
	}
	if got := Cover(entries, h, 100*day, testTime.Add(100*day), nil); got.Drilled != 2 || got.NoKey != 0 {
		t.Errorf("%+v", got)
	}
}

// snapshot makes a snapshot be listed, and nothing more of it.
func (t *target) snapshot(after time.Duration) {
	t.plant(t.repo.PayloadKey(snapshotID(after), "snapshot.db.zst.age"), []byte("x"))
}

func TestLastProved(t *testing.T) {
	to := newTarget(t)
	opt := ReadOptions{Now: testTime.Add(1000 * time.Hour)}
	if proved, err := LastProved(t.Context(), to.repo, to.trust, opt); err != nil || len(proved) != 0 {
		t.Errorf("an empty target: %v, %v", proved, err)
	}
	for i := range 4 {
		to.snapshot(time.Duration(i) * time.Hour)
	}
	to.put(30*time.Minute, drilled(0, LevelDrill, Passed))
	to.put(90*time.Minute, drilled(time.Hour, LevelDrill, Passed))
	to.put(150*time.Minute, drilled(2*time.Hour, LevelData, Passed))
	to.put(210*time.Minute, drilled(3*time.Hour, LevelDrill, Passed))
	to.put(220*time.Minute, drilled(3*time.Hour, LevelDrill, Failed))
	want := []string{snapshotID(0).String(), snapshotID(time.Hour).String()}
	proved, err := LastProved(t.Context(), to.repo, to.trust, opt)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(proved))); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	// A thousand newer records that say nothing of it do not hide it.
	for i := range firstLook + 20 {
		to.put(4*time.Hour+time.Duration(i)*time.Second, drilled(3*time.Hour, LevelDrill, Inconclusive))
	}
	proved, err = LastProved(t.Context(), to.repo, to.trust, opt)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(proved))); diff != "" || err != nil {
		t.Errorf("behind many records: %v\n%s", err, diff)
	}
	// What was proved is read no further than it takes: to the newest snapshot that is still there and proved.
	to.put(6*time.Hour, drilled(2*time.Hour, LevelDrill, Passed))
	to.put(7*time.Hour, drilled(99*time.Hour, LevelDrill, Passed)) // of a snapshot that somebody took away
	before := to.faulty.Calls(storagetest.OpOpen)
	proved, err = LastProved(t.Context(), to.repo, to.trust, opt)
	if _, ok := proved[snapshotID(2*time.Hour).String()]; !ok || err != nil {
		t.Errorf("%v, %v", proved, err)
	}
	if n := to.faulty.Calls(storagetest.OpOpen) - before; n > 2*(firstLook+firstLook+30) {
		t.Errorf("%d objects were read", n)
	}
}

// TestLastProvedFails: who deletes must know.
func TestLastProvedFails(t *testing.T) {
	opt := ReadOptions{Now: testTime.Add(1000 * time.Hour)}
	to := newTarget(t)
	to.snapshot(0)
	signed := to.put(time.Hour, drilled(0, LevelDrill, Passed))
	to.faulty.FailCall(storagetest.OpList, 2, storage.ErrDenied)
	if _, err := LastProved(t.Context(), to.repo, to.trust, opt); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("the records cannot be listed: %v", err)
	}
	to.faulty.CutReads(signed.Record.ID, 3, false)
	_, err := LastProved(t.Context(), to.repo, to.trust, opt)
	wantError(t, err, "a drill record could not be read")
}
