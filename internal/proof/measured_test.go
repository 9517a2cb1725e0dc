package proof

import (
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// TestMeasured: the newest timed drill of the kind that is asked for, else of the other; what failed or was not timed is no measure.
func TestMeasured(t *testing.T) {
	to := newTarget(t)
	timed := func(level Level, outcome Outcome, seconds float64) Drill {
		d := drilled(-time.Hour, level, outcome)
		d.RecoverySeconds = seconds
		if level.Archive() {
			d.Archived = &Archived{Kind: "newest", Revision: 7}
		}
		return d
	}
	for name, c := range map[string]struct {
		drills            []Drill
		snapshot, archive float64 // the seconds that are found for either kind; 0: none
	}{
		"none":                {nil, 0, 0},
		"failed":              {[]Drill{timed(LevelDrill, Failed, 5)}, 0, 0},
		"not timed":           {[]Drill{timed(LevelData, Passed, 0)}, 0, 0},
		"newest":              {[]Drill{timed(LevelDrill, Passed, 5), timed(LevelDrill, Passed, 7), timed(LevelDrill, Inconclusive, 9)}, 7, 7},
		"of its kind":         {[]Drill{timed(LevelArchive, Passed, 5), timed(LevelDrill, Passed, 7)}, 7, 5},
		"of the other":        {[]Drill{timed(LevelArchive, Passed, 5)}, 5, 5},
		"not a data one's":    {[]Drill{timed(LevelDrill, Passed, 5), timed(LevelData, Passed, 0)}, 5, 5},
		"nobody trusted says": {[]Drill{timed(LevelDrill, Passed, -1)}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var records []*SignedRecord
			for i, d := range c.drills {
				rec := to.record(time.Duration(i)*time.Hour, d)
				state := repo.StateOK
				if rec.Drills[0].RecoverySeconds < 0 {
					rec.Drills[0].RecoverySeconds, state = 9, repo.StateUnknownSigner
				}
				records = append(records, &SignedRecord{ID: rec.ID, State: state, Record: rec})
			}
			h := newHistory(records, false)
			for archived, want := range map[bool]float64{false: c.snapshot, true: c.archive} {
				var got float64
				if rec, d := h.Measured(archived); d != nil {
					got = d.RecoverySeconds
					if rec == nil || rec.Drills[0].RecoverySeconds != got {
						t.Errorf("archived %t: the record is of another drill: %+v", archived, rec)
					}
				}
				if got != want {
					t.Errorf("archived %t: %v s, want %v", archived, got, want)
				}
			}
		})
	}
}
