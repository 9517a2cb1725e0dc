package proof

import (
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

const baseID = "20261122T100000Z-r10-a1"

var baseDigest = strings.Repeat("ab", 32)

// drillOf is a drill of an archived revision, or of its snapshot where archived is nil.
func drillOf(level Level, outcome Outcome, archived *Archived) Drill {
	d := Drill{Snapshot: baseID, ManifestSHA256: baseDigest, Level: level, Outcome: outcome, Archived: archived, Checks: []Check{}}
	if outcome != Passed {
		d.Cause = "because"
	}
	return d
}

func at(kind string, revision int64, base Outcome) *Archived {
	return &Archived{Kind: kind, Timeline: "00000000000000a1", Revision: revision, Base: base}
}

// historyOf is a history of drills, a minute apart.
func historyOf(drills ...Drill) *History {
	var records []*SignedRecord
	for i, d := range drills {
		when := time.Date(2026, 11, 22, 12, i, 0, 0, time.UTC)
		d.Started = when
		rec := &Record{ID: NewID(when, "n"), Started: when, Ended: when.Add(time.Second), Drills: []Drill{d}}
		records = append(records, &SignedRecord{ID: rec.ID, State: repo.StateOK, Record: rec, at: when})
	}
	return newHistory(records, false)
}

// TestArchivedStandings: what a drill of an archived revision says of the archive, and of the snapshot that it began with.
func TestArchivedStandings(t *testing.T) {
	for name, test := range map[string]struct {
		drills   []Drill
		snapshot string
		failed   int
	}{
		"passed: a data proof of the snapshot": {[]Drill{drillOf(LevelArchive, Passed, at(PointOlder, 20, Passed))}, StateDataProved, 0},
		"passed after a drill of the snapshot": {[]Drill{drillOf(LevelDrill, Passed, nil), drillOf(LevelArchive, Passed, at(PointOlder, 20, Passed))}, StateProved, 0},
		"heals no drill of the snapshot":       {[]Drill{drillOf(LevelDrill, Failed, nil), drillOf(LevelArchive, Passed, at(PointOlder, 20, Passed))}, StateFailed, 0},
		"failed beyond the snapshot":           {[]Drill{drillOf(LevelArchive, Failed, at(PointOlder, 20, Passed))}, StateDataProved, 1},
		"failed before the snapshot was read":  {[]Drill{drillOf(LevelArchive, Failed, at(PointOlder, 20, ""))}, StateUnproven, 1},
		"failed in the snapshot":               {[]Drill{drillOf(LevelDrill, Passed, nil), drillOf(LevelArchive, Failed, at(PointOlder, 20, Failed))}, StateFailed, 1},
		"inconclusive":                         {[]Drill{drillOf(LevelArchive, Inconclusive, at(PointOlder, 20, Passed))}, StateUnproven, 0},
		"another kind passed since": {[]Drill{drillOf(LevelArchive, Failed, at(PointOlder, 20, "")), drillOf(LevelArchive, Passed, at(PointNewest, 30, Passed))},
			StateDataProved, 1},
		"the same kind passed since": {[]Drill{drillOf(LevelArchive, Failed, at(PointNewest, 20, "")), drillOf(LevelArchive, Passed, at(PointNewest, 30, Passed))},
			StateDataProved, 0},
		"data does not heal what an etcd found": {[]Drill{drillOf(LevelArchive, Failed, at(PointOlder, 20, "")), drillOf(LevelArchiveData, Passed, at(PointOlder, 20, Passed))},
			StateDataProved, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := historyOf(test.drills...)
			if got := h.Of(baseID, baseDigest).State; got != test.snapshot {
				t.Errorf("the snapshot stands as %s, want %s", got, test.snapshot)
			}
			if got := h.ArchiveFailed(); len(got) != test.failed {
				t.Errorf("failed %+v, want %d", got, test.failed)
			}
		})
	}
	h := historyOf(drillOf(LevelArchive, Passed, at(PointOlder, 20, Passed)), drillOf(LevelArchiveData, Passed, at(PointNewest, 30, Passed)))
	if when, what, ok := h.LastArchivePassed(); !ok || what.Revision != 20 || when.Minute() != 0 {
		t.Errorf("last passed %v, %+v, %t", when, what, ok)
	}
	if _, ok := h.LastPassed(); ok {
		t.Error("an archived revision counts as a drill of a snapshot")
	}
}

// TestArchivedValidate: a record tells of an archived revision at the levels that are of one, and contradicts itself nowhere.
func TestArchivedValidate(t *testing.T) {
	for name, test := range map[string]struct {
		change func(d *Drill)
		want   string
	}{
		"as it is":           {func(*Drill) {}, ""},
		"no revision":        {func(d *Drill) { d.Archived = nil }, "do not belong together"},
		"level of a drill":   {func(d *Drill) { d.Level = LevelDrill }, "do not belong together"},
		"unknown kind":       {func(d *Drill) { d.Archived.Kind = "x" }, "kind"},
		"timeline":           {func(d *Drill) { d.Archived.Timeline = "" }, "timeline"},
		"revision 0":         {func(d *Drill) { d.Archived.Revision = 0 }, "revision"},
		"negative":           {func(d *Drill) { d.Archived.Compared = -1 }, "negative"},
		"segments, no hash":  {func(d *Drill) { d.Archived.Segments = 1 }, "segments_sha256"},
		"base not finished":  {func(d *Drill) { d.Archived.Base = "" }, "base"},
		"base unknown":       {func(d *Drill) { d.Archived.Base = "x" }, "base"},
		"two lines":          {func(d *Drill) { d.Archived.First = "a\nb" }, "printable"},
		"failed without any": {func(d *Drill) { d.Outcome, d.Cause, d.Archived = Failed, "x", &Archived{Kind: PointNewest} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := drillOf(LevelArchive, Passed, at(PointOlder, 20, Passed))
			test.change(&d)
			var w wrong
			w.drill("drills[0]", &d)
			if got := strings.Join(w, "; "); (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("wrong: %q, want %q", got, test.want)
			}
		})
	}
}
