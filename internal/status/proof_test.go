package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/status"
)

// drill stores the record of a drill at a time of the snapshot that was captured at another.
func (s *site) drill(target int, at, captured time.Time, level proof.Level, outcome proof.Outcome) {
	s.t.Helper()
	r := s.cfg.Targets[target].Repo
	id := repo.ID{Time: captured.UTC().Truncate(time.Second), Revision: 7, Member: 0xa1}
	d := proof.Drill{Snapshot: id.String(), CapturedAt: id.Time, Level: level, Outcome: outcome, Started: at.UTC()}
	if e, err := r.Look(s.t.Context(), id, s.cfg.Trust); err == nil && e.Manifest != nil {
		d.ManifestSHA256 = e.Digest
	}
	if outcome != proof.Passed {
		d.Cause = "hashkv: 1 instead of 2"
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

func TestLookAtProof(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now().Truncate(time.Second)
	fresh, older := now.Add(-time.Hour), now.Add(-5*day)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		prepare func(s *site)
		proof   string
		proved  time.Duration // ago; 0: never
		failed  int           // in target a
		want    []string      // the problems; nil: healthy
	}{
		"no schedule, no drills": {func(s *site) { s.cfg.VerifyPeriod = 0 }, proof.StateUnproven, 0, 0, nil},
		"none passed yet":        {func(*site) {}, proof.StateUnproven, 0, 0, []string{"target a: no drill of it passed yet, although verify.schedule asks for one every 24h", "target b: no drill"}},
		"all is well": {func(s *site) {
			s.drill(0, ago(30*time.Minute), fresh, proof.LevelDrill, proof.Passed)
			s.drill(1, ago(20*time.Minute), older, proof.LevelDrill, proof.Passed)
		}, proof.StateProved, 20 * time.Minute, 0, nil},
		"the copy that is proved counts": {func(s *site) {
			s.drill(0, ago(30*time.Minute), fresh, proof.LevelData, proof.Passed)
			s.drill(0, ago(40*time.Minute), older, proof.LevelDrill, proof.Passed)
			s.drill(1, ago(35*time.Minute), fresh, proof.LevelDrill, proof.Passed)
		}, proof.StateProved, 35 * time.Minute, 0, nil},
		"overdue": {func(s *site) {
			s.drill(0, ago(50*time.Hour), older, proof.LevelDrill, proof.Passed)
			s.drill(0, ago(time.Hour), older, proof.LevelDrill, proof.Inconclusive)
			s.drill(1, ago(48*time.Hour), older, proof.LevelDrill, proof.Passed)
		}, proof.StateUnproven, 48 * time.Hour, 0, []string{"target a: the last drill that passed was on "}},
		"the newest failed": {func(s *site) {
			s.drill(0, ago(3*time.Hour), older, proof.LevelDrill, proof.Passed)
			s.drill(1, ago(3*time.Hour), older, proof.LevelDrill, proof.Passed)
			s.drill(0, ago(20*time.Minute), fresh, proof.LevelDrill, proof.Failed)
			s.drill(1, ago(20*time.Minute), fresh, proof.LevelDrill, proof.Failed)
		}, proof.StateProved, 3 * time.Hour, 1, []string{"target a: the drill of ", "FAILED, the last on ", "hashkv: 1 instead of 2", "target b: the drill of "}},
		"an older failed, and a newer passed": {func(s *site) {
			s.drill(0, ago(3*time.Hour), older, proof.LevelDrill, proof.Failed)
			s.drill(0, ago(20*time.Minute), fresh, proof.LevelDrill, proof.Passed)
			s.drill(1, ago(20*time.Minute), fresh, proof.LevelDrill, proof.Passed)
		}, proof.StateProved, 20 * time.Minute, 1, []string{"target a: the drill of "}},
		"what cannot be restored at all": {func(s *site) {
			s.drill(0, ago(3*time.Hour), older, proof.LevelDrill, proof.Passed)
			s.drill(1, ago(3*time.Hour), older, proof.LevelDrill, proof.Passed)
			s.drill(0, ago(10*time.Minute), ago(30*time.Minute), proof.LevelDrill, proof.Failed)
		}, proof.StateUnproven, 3 * time.Hour, 0, []string{"target a: the drill of "}},
		"what cannot be restored at all, and the rest of the run": {func(s *site) {
			s.drill(1, ago(3*time.Hour), older, proof.LevelDrill, proof.Passed)
			s.drill(0, ago(10*time.Minute), ago(30*time.Minute), proof.LevelDrill, proof.Failed)
			s.drill(0, ago(9*time.Minute), older, proof.LevelDrill, proof.Passed)
		}, proof.StateUnproven, 9 * time.Minute, 0, []string{"target a: the drill of "}},
		"alarms": {func(s *site) {
			s.cfg.VerifyPeriod = 0
			s.manifest.Alarms = []string{"NOSPACE on member a1"}
			s.put(ago(30*time.Minute), 0, 1)
		}, proof.StateUnproven, 0, 0, []string{"the cluster has an alarm, by its newest snapshot: NOSPACE on member a1"}},
		"a known bug": {func(s *site) {
			s.cfg.VerifyPeriod = 0
			s.manifest.EtcdVersion = "3.5.1"
			s.put(ago(30*time.Minute), 0, 1)
		}, proof.StateUnproven, 0, 0, []string{"etcd 3.5.1 is known to have etcd-io/etcd#"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 2)
			s.cfg.VerifyPeriod = day
			s.put(older, 0, 1)
			s.put(fresh, 0, 1)
			c.prepare(s)
			r := status.Look(t.Context(), s.cfg, now)
			if r.Healthy != (c.want == nil) || (c.want == nil && len(r.Problems) > 0) {
				t.Errorf("healthy: %v\n%s", r.Healthy, texts(r))
			}
			for _, w := range c.want {
				if !strings.Contains(texts(r), w) {
					t.Errorf("the problems do not say %q:\n%s", w, texts(r))
				}
			}
			if r.Proof != c.proof || (r.ProofAt == nil) != (c.proof == proof.StateUnproven) || r.Targets[0].Failed != c.failed {
				t.Errorf("%s at %v, %d failed", r.Proof, r.ProofAt, r.Targets[0].Failed)
			}
			switch {
			case (r.Proved == nil) != (c.proved == 0):
				t.Errorf("proved: %v", r.Proved)
			case r.Proved != nil && now.Sub(*r.Proved) != c.proved:
				t.Errorf("proved %s ago, want %s", now.Sub(*r.Proved), c.proved)
			}
		})
	}
}
