package proof

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
)

func TestStanding(t *testing.T) {
	type word struct {
		level   Level
		outcome Outcome
	}
	for name, c := range map[string]struct {
		words []word
		want  string
		by    int // which of the words, from 1; 0: none
	}{
		"nobody tried":                   {nil, StateUnproven, 0},
		"could not find out":             {[]word{{LevelDrill, Inconclusive}}, StateUnproven, 0},
		"data":                           {[]word{{LevelData, Passed}}, StateDataProved, 1},
		"drill":                          {[]word{{LevelDrill, Passed}}, StateProved, 1},
		"drill after data":               {[]word{{LevelData, Passed}, {LevelDrill, Passed}}, StateProved, 2},
		"data after drill":               {[]word{{LevelDrill, Passed}, {LevelData, Passed}}, StateProved, 1},
		"drill again":                    {[]word{{LevelDrill, Passed}, {LevelDrill, Passed}}, StateProved, 2},
		"failed later":                   {[]word{{LevelDrill, Passed}, {LevelDrill, Failed}}, StateFailed, 2},
		"data failed later":              {[]word{{LevelDrill, Passed}, {LevelData, Failed}}, StateFailed, 2},
		"inconclusive later":             {[]word{{LevelDrill, Passed}, {LevelDrill, Inconclusive}}, StateProved, 1},
		"inconclusive after failed":      {[]word{{LevelDrill, Failed}, {LevelDrill, Inconclusive}}, StateFailed, 1},
		"passed after failed":            {[]word{{LevelDrill, Failed}, {LevelDrill, Passed}}, StateProved, 2},
		"data heals no drill":            {[]word{{LevelDrill, Failed}, {LevelData, Passed}}, StateFailed, 1},
		"nor after a data failure":       {[]word{{LevelDrill, Failed}, {LevelData, Failed}, {LevelData, Passed}}, StateFailed, 1},
		"data heals data":                {[]word{{LevelData, Failed}, {LevelData, Passed}}, StateDataProved, 2},
		"data failed, data good, proved": {[]word{{LevelDrill, Passed}, {LevelData, Failed}, {LevelData, Passed}}, StateDataProved, 3},
	} {
		t.Run(name, func(t *testing.T) {
			to := newTarget(t)
			var records []*SignedRecord
			for i, w := range c.words {
				rec := to.record(time.Duration(i)*time.Hour, drilled(-time.Hour, w.level, w.outcome))
				at, _, _ := repo.ParseDrillID(rec.ID)
				records = append([]*SignedRecord{{ID: rec.ID, State: repo.StateOK, Record: rec, at: at}}, records...) // in any order
			}
			h := newHistory(records, false)
			id := snapshotID(-time.Hour).String()
			got := h.Of(id, digestA)
			want := Standing{State: c.want}
			if c.by > 0 {
				w := c.words[c.by-1]
				want.At, want.Level = testTime.Add(time.Duration(c.by-1)*time.Hour+50*time.Second), w.level
				want.Record = NewID(testTime.Add(time.Duration(c.by-1)*time.Hour), "node1")
				if w.outcome == Failed {
					want.Cause = "signature: failed"
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if s := h.Of(id, digestB); s.State != StateUnproven {
				t.Errorf("another manifest under the same ID is %s", s.State)
			}
			_, proved := h.Proved()[id]
			if proved != (c.want == StateProved) {
				t.Errorf("proved for retention: %v", proved)
			}
		})
	}
}

// TestStandingWithoutManifest: a manifest that could not be believed is not the one that is there now.
func TestStandingWithoutManifest(t *testing.T) {
	to := newTarget(t)
	forged := drilled(-time.Hour, LevelDrill, Failed)
	forged.ManifestSHA256 = ""
	to.put(0, drilled(-time.Hour, LevelDrill, Passed))
	to.put(time.Hour, forged)
	h := to.read(ReadOptions{})
	good, bad := entry(snapshotID(-time.Hour), repo.StateOK), entry(snapshotID(-time.Hour), repo.StateUnknownSigner)
	if got := h.OfEntry(&good).State; got != StateProved {
		t.Errorf("the genuine one is %s", got)
	}
	if got := h.OfEntry(&bad).State; got != StateFailed {
		t.Errorf("the forged one is %s", got)
	}
}

func TestHistory(t *testing.T) {
	to := newTarget(t)
	if h := to.read(ReadOptions{}); h.LastRun((*Record).Telling) != nil {
		t.Error("an empty history has something to say")
	}
	to.put(0, drilled(-3*time.Hour, LevelDrill, Passed), drilled(-4*time.Hour, LevelData, Passed))
	to.put(time.Hour, drilled(-2*time.Hour, LevelDrill, Failed))
	to.put(2*time.Hour, drilled(-time.Hour, LevelDrill, Inconclusive))
	h := to.read(ReadOptions{})
	if at, ok := h.LastPassed(); !ok || at != testTime.Add(50*time.Second) {
		t.Errorf("last passed %s", at)
	}
	if got := h.LastRun((*Record).Telling)[0].ID; got != NewID(testTime.Add(2*time.Hour), "node1") {
		t.Errorf("the newest that says something is %s", got)
	}
}

// TestLastRun: the records of a run belong together, and those of another host, reason or time do not.
func TestLastRun(t *testing.T) {
	to := newTarget(t)
	store := func(after time.Duration, host, trigger string, d Drill) {
		rec := to.record(after, d)
		rec.Host, rec.Trigger, rec.ID = host, trigger, NewID(testTime.Add(after), host)
		to.store(rec)
	}
	first, second, old := drilled(-time.Hour, LevelDrill, Failed), drilled(-2*time.Hour, LevelDrill, Passed), drilled(-3*time.Hour, LevelDrill, Failed)
	store(-time.Hour, "node1", TriggerSchedule, old) // the run before
	store(0, "node1", TriggerSchedule, first)
	store(time.Minute, "node2", TriggerSchedule, old)                                    // at the same time, elsewhere
	store(90*time.Second, "node1", TriggerFresh, drilled(-time.Hour, LevelData, Passed)) // between them, and no whole drill
	store(2*time.Minute, "node1", TriggerSchedule, second)
	store(time.Hour, "node1", TriggerFresh, drilled(0, LevelData, Passed))
	var got []string
	for _, rec := range to.read(ReadOptions{}).LastRun((*Record).Telling) {
		got = append(got, rec.Drills[0].Snapshot)
	}
	if d := cmp.Diff([]string{second.Snapshot, first.Snapshot}, got); d != "" {
		t.Error(d)
	}
	if run := new(History).LastRun((*Record).Telling); run != nil {
		t.Errorf("of nothing: %v", run)
	}
}
