package status_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/status"
)

const day = 24 * time.Hour

// every stores snapshots, the newest of which is so old, each so long before the next.
func (s *site) every(gap, newest time.Duration, n int, now time.Time, targets ...int) {
	for i := range n {
		s.put(now.Add(-newest-time.Duration(i)*gap), targets...)
	}
}

// holds makes the archive of target a be this.
func (s *site) holds(a status.Archive) {
	s.cfg.Archive = func(context.Context, *repo.Repository, *repo.Entry) (status.Archive, error) { return a, nil }
}

// verifier makes the site what a host without a schedule sees.
func (s *site) verifier() {
	s.cfg.Queue, s.cfg.Period, s.cfg.ArchiveLate = nil, 0, 10*time.Minute
}

// outcome is a state of a target that looks well at first sight and is not, or the counterpart of one.
type outcome struct {
	prepare func(s *site)
	point   time.Duration // age of the recovery point
	want    []string      // the problems, each with this in it; none: healthy
}

func (c *outcome) check(t *testing.T, now time.Time) {
	s := newSite(t, 1)
	c.prepare(s)
	r := status.Look(t.Context(), s.cfg, now)
	if r.RecoveryPoint == nil || now.Sub(*r.RecoveryPoint) != c.point {
		t.Errorf("recovery point %v, want one of %s ago", r.RecoveryPoint, c.point)
	}
	if len(r.Problems) != len(c.want) || r.Healthy != (len(c.want) == 0) {
		t.Errorf("problems, want %q:\n%s", c.want, texts(r))
		return
	}
	for i, p := range r.Problems {
		if !strings.Contains(p.Text, c.want[i]) || len(p.Hints) == 0 {
			t.Errorf("want %q: %+v", c.want[i], p)
		}
	}
}

// TestLateSnapshots: a schedule has one limit, and where none is known the snapshots tell it.
func TestLateSnapshots(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]outcome{

		"within a tenth and half an hour": {func(s *site) { s.put(ago(7*time.Hour), 0) }, 7 * time.Hour, nil},
		"later":                           {func(s *site) { s.put(ago(7*time.Hour+10*time.Minute), 0) }, 7*time.Hour + 10*time.Minute, []string{"the newest snapshot is from " + ago(7*time.Hour+10*time.Minute).UTC().Format(time.RFC3339) + ", and one is due every 6h0m0s"}},

		"no schedule, and they come": {func(s *site) {
			s.verifier()
			s.every(time.Hour, 30*time.Minute, 5, now, 0)
		}, 30 * time.Minute, nil},
		"no schedule, and they came": {func(s *site) {
			s.verifier()
			s.every(time.Hour, 100*time.Minute, 5, now, 0)
		}, 100 * time.Minute, []string{"and one is due every 1h0m0s"}},
		"no schedule, and some by hand": {func(s *site) {
			s.verifier()
			s.every(6*time.Hour, 5*time.Hour, 8, now, 0)
			s.every(time.Minute, 5*time.Hour+time.Minute, 2, now, 0)
		}, 5 * time.Hour, nil},
		"no schedule, and few": {func(s *site) {
			s.verifier()
			s.every(time.Hour, 26*time.Hour, 2, now, 0)
		}, 26 * time.Hour, nil},
		"no schedule, and few for long": {func(s *site) {
			s.verifier()
			s.every(time.Hour, 27*time.Hour, 2, now, 0)
		}, 27 * time.Hour, []string{"and one is due every 24h0m0s"}},
		"no schedule, and for a month": {func(s *site) {
			s.verifier()
			s.every(7*day, 30*day, 4, now, 0)
		}, 30 * day, []string{"and one is due every 24h0m0s"}},
	} {
		t.Run(name, func(t *testing.T) { c.check(t, now) })
	}
}

// TestArchives: where they end, and whether anybody writes them.
func TestArchives(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]outcome{
		"no schedule, an archive that goes on": {func(s *site) {
			s.verifier()
			s.every(6*time.Hour, 5*time.Hour, 5, now, 0)
			s.archived(ago(time.Minute))
		}, time.Minute, nil},
		"no schedule, an archive that has stopped": {func(s *site) {
			s.verifier()
			s.every(6*time.Hour, 5*time.Hour, 5, now, 0)
			s.archived(ago(20 * time.Minute))
		}, 20 * time.Minute, []string{"the archive ends at "}},
		"no schedule, an archive that stopped before the newest snapshot": {func(s *site) {
			s.verifier()
			s.every(6*time.Hour, 5*time.Hour, 5, now, 0)
			s.holds(status.Archive{Reached: ago(5 * time.Hour), End: ago(16 * time.Hour)})
		}, 5 * time.Hour, []string{"the archive ends at "}},
		"no schedule, an archive that was given up": {func(s *site) {
			s.verifier()
			s.every(6*time.Hour, 5*time.Hour, 5, now, 0)
			s.holds(status.Archive{Reached: ago(5 * time.Hour), End: ago(18 * time.Hour)})
		}, 5 * time.Hour, nil},
		"no schedule, and never an archive": {func(s *site) {
			s.verifier()
			s.every(6*time.Hour, 5*time.Hour, 5, now, 0)
			s.holds(status.Archive{Reached: ago(5 * time.Hour)})
		}, 5 * time.Hour, nil},

		"a hole that may close": {func(s *site) {
			s.cfg.ArchiveLate = 10 * time.Minute
			s.put(ago(time.Hour), 0)
			s.holds(status.Archive{Reached: ago(9 * time.Minute), End: ago(time.Second), Missing: 4711})
		}, 9 * time.Minute, nil},
		"a hole": {func(s *site) {
			s.cfg.ArchiveLate = 10 * time.Minute
			s.put(ago(time.Hour), 0)
			s.holds(status.Archive{Reached: ago(11 * time.Minute), End: ago(time.Second), Missing: 4711})
		}, 11 * time.Minute, []string{"target a: its archive has a hole at revision 4711: what came after " + ago(11*time.Minute).UTC().Format(time.RFC3339) + " cannot be restored from it"}},
		"an archive of the future": {func(s *site) {
			s.cfg.ArchiveLate = 10 * time.Hour
			s.put(ago(5*time.Hour), 0)
			s.archived(now.AddDate(1, 0, 0))
		}, 5 * time.Hour, []string{"target a: its archive ends in the future, at " + now.AddDate(1, 0, 0).UTC().Format(time.RFC3339)}},
		"an archive that is a little ahead": {func(s *site) {
			s.cfg.ArchiveLate = 10 * time.Minute
			s.put(ago(5*time.Hour), 0)
			s.archived(now.Add(4 * time.Minute))
		}, -4 * time.Minute, nil},
	} {
		t.Run(name, func(t *testing.T) { c.check(t, now) })
	}
}

// TestOddSnapshots: payloads that are gone, other clusters, members that differ.
func TestOddSnapshots(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]outcome{
		"payloads are gone": {func(s *site) {
			s.every(6*time.Hour, time.Hour, 8, now, 0)
			all, err := filepath.Glob(filepath.Join(s.dirs[0], cluster, "snapshots", "*", "snapshot.db.zst.age"))
			if err != nil || len(all) != 8 {
				s.t.Fatal(all, err)
			}
			for _, p := range all[:6] {
				if err := os.Remove(p); err != nil {
					s.t.Fatal(err)
				}
			}
			if err := os.WriteFile(all[6], []byte("seal"), 0o600); err != nil {
				s.t.Fatal(err)
			}
		}, time.Hour, []string{"target a: the payload of 7 signed snapshots is missing or has another size, the newest is " + repo.ID{Time: ago(7 * time.Hour).UTC(), Revision: 7, Member: 0xa1}.String()}},
		"an upload that goes on": {func(s *site) {
			s.put(ago(time.Hour), 0)
			id := repo.ID{Time: now.UTC(), Revision: 8, Member: 0xa1}
			key := s.cfg.Targets[0].Repo.PayloadKey(id, "snapshot.db.zst.age")
			if _, err := s.cfg.Targets[0].Repo.Bucket().Create(s.t.Context(), key, strings.NewReader("x")); err != nil {
				s.t.Fatal(err)
			}
		}, time.Hour, nil},

		"of another cluster": {func(s *site) {
			s.every(6*time.Hour, 5*day, 4, now, 0)
			s.manifest.EtcdClusterID = "c2"
			s.every(6*time.Hour, time.Hour, 10, now, 0)
		}, time.Hour, []string{"target a: its snapshots since " + ago(55*time.Hour).UTC().Format(time.RFC3339) + " are of etcd cluster c2, those before of c1"}},
		"of a cluster that was rebuilt": {func(s *site) {
			s.every(6*time.Hour, 5*day, 4, now, 0)
			s.manifest.EtcdClusterID = "c2"
			s.every(6*time.Hour, time.Hour, 13, now, 0)
		}, time.Hour, nil},
		"of two clusters in turn": {func(s *site) {
			s.every(6*time.Hour, time.Hour, 16, now, 0)
			s.manifest.EtcdClusterID = "c2"
			s.every(6*time.Hour, 2*time.Hour, 16, now, 0)
		}, time.Hour, []string{" are of etcd cluster c1, those before of c2"}},
		"members differ": {func(s *site) {
			s.put(ago(3*time.Hour), 0)
			s.manifest.Compared = []repo.Comparison{{Member: "a1", Result: repo.ResultEqual, Revision: 7, CompactRevision: -1}, {Member: "a2", Result: repo.ResultDiffers, Revision: 7, CompactRevision: -1}}
			s.put(ago(2*time.Hour), 0)
			s.manifest.Compared = []repo.Comparison{{Member: "a1", Result: repo.ResultNotCompared, Reason: "it is away"}}
			s.put(ago(time.Hour), 0)
		}, time.Hour, []string{"members of etcd hold other data than snapshot " + repo.ID{Time: ago(2 * time.Hour).UTC(), Revision: 7, Member: 0xa1}.String() + " of member a1: a2"}},
		"members agree again": {func(s *site) {
			s.manifest.Compared = []repo.Comparison{{Member: "a2", Result: repo.ResultDiffers, Revision: 7, CompactRevision: -1}}
			s.put(ago(2*time.Hour), 0)
			s.manifest.Compared[0].Result = repo.ResultEqual
			s.put(ago(time.Hour), 0)
		}, time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) { c.check(t, now) })
	}
}

// TestProofs: what was never proved, and what stands failed.
func TestProofs(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]outcome{
		"never proved, and nothing is kept for long": {func(s *site) {
			s.cfg.VerifyPeriod = 7 * day
			s.every(6*time.Hour, time.Hour, 8, now, 0)
			for i := range 5 {
				s.drill(0, ago(time.Duration(i)*7*day+2*time.Hour), ago(7*time.Hour), proof.LevelDrill, proof.Inconclusive)
			}
		}, time.Hour, []string{"target a: no drill of it passed yet, although verify.schedule asks for one every 168h"}},
		"proved, and what was is gone": {func(s *site) {
			s.cfg.VerifyPeriod = 7 * day
			s.every(6*time.Hour, time.Hour, 8, now, 0)
			s.put(ago(5*day+time.Hour), 0)
			s.drill(0, ago(5*day), ago(5*day+time.Hour), proof.LevelDrill, proof.Passed)
			gone := repo.ID{Time: ago(5*day + time.Hour).UTC(), Revision: 7, Member: 0xa1}
			if err := os.RemoveAll(filepath.Join(s.dirs[0], cluster, "snapshots", gone.String())); err != nil {
				s.t.Fatal(err)
			}
		}, time.Hour, nil},
		"the newest failed": {func(s *site) {
			s.put(ago(20*time.Hour), 0)
			s.put(ago(time.Hour), 0)
			s.drill(0, ago(10*time.Hour), ago(20*time.Hour), proof.LevelDrill, proof.Passed)
			s.drill(0, ago(30*time.Minute), ago(time.Hour), proof.LevelDrill, proof.Failed)
		}, 20 * time.Hour, []string{"target a: the drill of "}},
		"all failed": {func(s *site) {
			s.put(ago(time.Hour), 0)
			s.drill(0, ago(30*time.Minute), ago(time.Hour), proof.LevelDrill, proof.Failed)
		}, time.Hour, []string{"target a: the drill of "}},
	} {
		t.Run(name, func(t *testing.T) { c.check(t, now) })
	}
}

// TestFailedNewer: the verdict names the newest snapshot that did not fail, and says that a newer one did.
func TestFailedNewer(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	s := newSite(t, 2)
	s.put(now.Add(-3*time.Hour), 0, 1)
	s.put(now.Add(-time.Hour), 0)
	s.drill(0, now.Add(-30*time.Minute), now.Add(-time.Hour), proof.LevelDrill, proof.Failed)
	id := func(d time.Duration) string {
		return repo.ID{Time: now.Add(-d).UTC(), Revision: 7, Member: 0xa1}.String()
	}
	r := status.Look(t.Context(), s.cfg, now)
	if r.Snapshot != id(3*time.Hour) || r.FailedNewer != id(time.Hour) || !strings.HasSuffix(r.Verdict(), ", newer FAILED") || !strings.HasPrefix(r.Standing(), "newest sound snapshot ") {
		t.Errorf("%s; %s; %+v", r.Verdict(), r.Standing(), r)
	}
	s.put(now.Add(-time.Hour), 1) // whose copy is not known to be bad
	if r := status.Look(t.Context(), s.cfg, now); r.Snapshot != id(time.Hour) || r.FailedNewer != "" {
		t.Errorf("%s; %s", r.Verdict(), r.Standing())
	}
}

// TestNotProved: without a schedule of drills the verdict says in words that there is no proof.
func TestNotProved(t *testing.T) {
	s := newSite(t, 1)
	s.put(time.Now().Add(-time.Hour), 0)
	if r := status.Look(t.Context(), s.cfg, time.Now()); !r.Healthy || !strings.HasSuffix(r.Verdict(), ", NOT PROVED") {
		t.Errorf("%s\n%s", r.Verdict(), texts(r))
	}
}

// TestSegmentsThatWait: they are told, and are a problem when they wait for too long.
func TestSegmentsThatWait(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	s := newSite(t, 1)
	s.cfg.ArchiveLate = 10 * time.Minute
	s.put(now.Add(-time.Hour), 0)
	s.archived(now.Add(-time.Second))
	s.follow(3)
	r := status.Look(t.Context(), s.cfg, now.Add(time.Minute))
	if a := r.Targets[0]; !r.Healthy || a.SegmentsWaiting != 3 || a.SegmentsSince == nil {
		t.Errorf("%+v\n%s", a, texts(r))
	}
	if got := fmt.Sprint(r.Targets[0].Facts(now.Add(time.Minute))); !strings.Contains(got, "{queue no snapshots false} {archive queue 3 segments waiting, the oldest for ") {
		t.Errorf("facts: %s", got)
	}
	s.archived(now.Add(11 * time.Minute))
	r = status.Look(t.Context(), s.cfg, now.Add(12*time.Minute))
	if len(r.Problems) != 1 || !strings.HasPrefix(r.Problems[0].Text, "target a: 3 segments of the archive waiting on this host, the oldest since ") {
		t.Errorf("%s", texts(r))
	}
}

// TestOneLimit: the alerts have the limits that the verdict has.
func TestOneLimit(t *testing.T) {
	rules, err := os.ReadFile("../../monitoring/drd.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct { // a part of a period is for other things
		metric string
		limit  func(time.Duration) time.Duration
		uses   int // in alerts and records
	}{
		{"cluster:drd_snapshot_interval_seconds:max", status.SnapshotLate, 2},
		{"cluster:drd_verify_interval_seconds:max", status.ProofLate, 2},
	} {
		found := regexp.MustCompile(`\(([1-9][0-9.]*) \* `+c.metric+` \+ ([0-9]+)\)`).FindAllSubmatch(rules, -1)
		if len(found) < c.uses {
			t.Errorf("%s is in %d limits", c.metric, len(found))
		}
		for _, m := range found {
			factor, err1 := strconv.ParseFloat(string(m[1]), 64)
			more, err2 := strconv.ParseFloat(string(m[2]), 64)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			for _, period := range []time.Duration{time.Hour, 6 * time.Hour, 7 * day} {
				if got := time.Duration((factor*period.Seconds() + more) * float64(time.Second)); got != c.limit(period) {
					t.Errorf("%s: %s is late after %s, by the verdict after %s", m[0], period, got, c.limit(period))
				}
			}
		}
	}
}

// follow puts segments of the archive into the spool.
func (s *site) follow(n int) {
	s.t.Helper()
	if err := os.MkdirAll(s.cfg.Queue.SegmentsDir(), 0o700); err != nil {
		s.t.Fatal(err)
	}
	for i := range int64(n) {
		content := fmt.Appendf(nil, "sealed %d", i)
		sum := repo.Digest(content)
		seg := &repo.Segment{
			Kind: repo.SegmentKind, Format: repo.SegmentFormat, Cluster: cluster, EtcdClusterID: "c1", Timeline: "00000000000000a1",
			Member: repo.Member{ID: "a1"}, First: 8 + i, Last: 8 + i, Events: 1, From: at, To: at.Add(time.Second), CompactRevision: -1, LastRevisionSHA256: sum,
			Plain:  repo.SegmentPlain{SHA256: sum, Size: 100},
			Object: repo.Object{SHA256: sum, Size: int64(len(content)), Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
			Drd:    repo.Build{Version: "test"},
		}
		seg.Object.Name = seg.Name().String() + ".zst.age"
		signed, err := repo.SignSegment(seg, s.keys.Signer)
		if err != nil {
			s.t.Fatal(err)
		}
		path := filepath.Join(s.cfg.Queue.SegmentsDir(), "draft")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			s.t.Fatal(err)
		}
		if err := s.cfg.Queue.EnqueueSegment(s.t.Context(), path, signed, seal.FileKey{}); err != nil {
			s.t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			s.t.Fatal(err)
		}
	}
}
