package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/status"
)

// drillPoint stores the record of a drill of an archived point that began with the snapshot captured at a time.
func (s *site) drillPoint(target int, at, captured time.Time, level proof.Level, outcome proof.Outcome, point proof.Archived) {
	s.t.Helper()
	r := s.cfg.Targets[target].Repo
	id := repo.ID{Time: captured.UTC().Truncate(time.Second), Revision: 7, Member: 0xa1}
	e, err := r.Look(s.t.Context(), id, s.cfg.Trust)
	if err != nil {
		s.t.Fatal(err)
	}
	point.Timeline, point.Base = e.Manifest.Timeline, proof.Passed
	d := proof.Drill{Snapshot: id.String(), ManifestSHA256: e.Digest, CapturedAt: id.Time, Revision: 7, Level: level, Outcome: outcome, Archived: &point, Started: at.UTC()}
	if outcome != proof.Passed {
		d.Cause = "segments: SHA-256 differs"
	}
	rec := &proof.Record{
		Kind: proof.RecordKind, Format: proof.RecordFormat, ID: proof.NewID(at, "node1"), Cluster: cluster, Host: "node1", Trigger: proof.TriggerSchedule,
		Target:  proof.Target{Name: s.cfg.Targets[target].Name, Location: r.Bucket().Location()},
		Started: at.UTC(), Ended: at.UTC(), Drills: []proof.Drill{d}, Drd: repo.Build{Version: "test"},
	}
	if _, _, err := proof.Store(s.t.Context(), r, rec, s.keys.Signer); err != nil {
		s.t.Fatal(err)
	}
}

// TestLookAtArchiveProof: an archived point that failed is a problem until one of its kind passes, and the newest that passed is told, of
// each target and of all.
func TestLookAtArchiveProof(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	fresh := now.Add(-time.Hour)
	ago := func(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }
	asked := time.Date(2026, 11, 22, 10, 15, 30, 0, time.UTC)
	newest := func(revision int64) proof.Archived {
		return proof.Archived{Kind: proof.PointNewest, Revision: revision}
	}
	older := func(revision int64) proof.Archived { return proof.Archived{Kind: proof.PointOlder, Revision: revision} }
	for name, c := range map[string]struct {
		prepare func(s *site)
		problem string   // "": healthy
		hint    string   // of the problem
		proved  [3]int64 // revision: of all, of target a, of target b; 0: none
	}{
		"never tried": {func(*site) {}, "", "", [3]int64{}},
		"passed": {func(s *site) {
			s.drillPoint(0, ago(30), fresh, proof.LevelArchive, proof.Passed, newest(90))
			s.drillPoint(0, ago(29), fresh, proof.LevelArchive, proof.Passed, older(40))
			s.drillPoint(1, ago(20), fresh, proof.LevelArchive, proof.Passed, newest(80))
		}, "", "", [3]int64{80, 40, 80}},
		"the data alone, and what could not be found out": {func(s *site) {
			s.drillPoint(0, ago(30), fresh, proof.LevelArchiveData, proof.Passed, newest(90))
			s.drillPoint(1, ago(30), fresh, proof.LevelArchive, proof.Inconclusive, newest(90))
		}, "", "", [3]int64{}},
		"failed, and another kind passed since": {func(s *site) {
			s.drillPoint(0, ago(30), fresh, proof.LevelArchive, proof.Failed, older(40))
			s.drillPoint(0, ago(20), fresh, proof.LevelArchive, proof.Passed, newest(90))
		}, "target a: the drill of the archive at revision 40 FAILED on " + ago(30).UTC().Format(time.RFC3339) + ": segments: SHA-256 differs",
			"drd verify --revision 40 tries again and shows every check", [3]int64{90, 90, 0}},
		"failed, and the same kind passed in another target": {func(s *site) {
			s.drillPoint(0, ago(30), fresh, proof.LevelArchive, proof.Failed, newest(90))
			s.drillPoint(1, ago(20), fresh, proof.LevelArchive, proof.Passed, newest(90))
		}, "target a: the drill of the archive at revision 90 FAILED on ", "drd verify --revision 90 ", [3]int64{90, 0, 90}},
		"failed before the revision was known": {func(s *site) {
			s.drillPoint(1, ago(30), fresh, proof.LevelArchive, proof.Failed, proof.Archived{Kind: proof.PointOlder, At: &asked})
		}, "target b: the drill of the archive at 2026-11-22T10:15:30Z FAILED on ", "drd verify --at 2026-11-22T10:15:30Z ", [3]int64{}},
		"mended": {func(s *site) {
			s.drillPoint(0, ago(30), fresh, proof.LevelArchive, proof.Failed, older(40))
			s.drillPoint(0, ago(20), fresh, proof.LevelArchive, proof.Passed, older(40))
		}, "", "", [3]int64{40, 40, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 2)
			s.put(fresh, 0, 1)
			c.prepare(s)
			r := status.Look(t.Context(), s.cfg, now)
			if r.Healthy != (c.problem == "") || !strings.Contains(texts(r), c.problem) {
				t.Errorf("healthy: %v, want the problem %q\n%s", r.Healthy, c.problem, texts(r))
			}
			if c.problem != "" && (len(r.Problems) != 1 || len(r.Problems[0].Hints) != 1 || !strings.HasPrefix(r.Problems[0].Hints[0], c.hint)) {
				t.Errorf("want the hint %q: %+v", c.hint, r.Problems)
			}
			got := [3]int64{}
			for i, p := range []*status.ArchiveProof{r.ArchiveProved, r.Targets[0].ArchiveProved, r.Targets[1].ArchiveProved} {
				if p != nil {
					got[i] = p.Revision
				}
			}
			if got != c.proved {
				t.Errorf("proved: revisions %v, want %v", got, c.proved)
			}
			if r.Proved != nil || r.Targets[0].Failed != 0 {
				t.Errorf("a drill of the archive counts as one of a snapshot: %v, %d failed", r.Proved, r.Targets[0].Failed)
			}
		})
	}
}
