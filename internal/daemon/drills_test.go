package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/internal/verify"
)

// gym is a host that drills: its timers are those of the bubble, its wall clock is off by what the test says.
type gym struct {
	t   *testing.T
	cfg Config
	log strings.Builder
	d   *drilling

	mu     sync.Mutex
	off    time.Duration
	answer func(target string) verify.Result // what a run against a target comes to
	fail   error                             // what keeps a run from beginning
	runs   []string                          // "time trigger level targets"
	told   []string
	looks  int
	stop   func()
}

func newGym(t *testing.T, spec, local string) *gym {
	t.Helper()
	loc := zone(t, "Europe/Berlin")
	start, err := time.ParseInLocation("2006-01-02 15:04", local, loc)
	if err != nil {
		t.Fatal(err)
	}
	g := &gym{t: t, off: time.Until(start), answer: passes}
	g.cfg = Config{
		StateDir: t.TempDir(), Node: "node-1", Metrics: metrics.New(metrics.Build{}), Log: slog.New(slog.NewTextHandler(&g.log, nil)),
		Now: func() time.Time {
			g.mu.Lock()
			defer g.mu.Unlock()
			return time.Now().Round(0).Add(g.off).In(loc)
		},
		Notify: func(state string) error { g.told = append(g.told, state); return nil },
		Drills: &Drills{Fresh: proof.LevelData, CoverWithin: DefaultCover, Run: g.run},
	}
	if spec != "" {
		g.cfg.Drills.Schedule = ticks(t, spec, loc)
	}
	g.start()
	return g
}

// start drills as a new process would.
func (g *gym) start() {
	g.t.Helper()
	state, err := openStateFile(g.cfg.StateDir)
	if err != nil {
		g.t.Fatal(err)
	}
	g.d = newDrilling(g.cfg, state.drills(), newNotifier(g.cfg.Notify, g.cfg.Log), func() { g.looks++ })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.d.run(ctx)
	}()
	g.stop = func() {
		cancel()
		<-ended
	}
}

// run takes two minutes for each of two targets.
func (g *gym) run(ctx context.Context, req verify.Request) ([]*proof.Record, error) {
	now := g.cfg.Now()
	g.mu.Lock()
	g.runs = append(g.runs, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", now.Format("Jan 2 15:04"), req.Trigger, req.Level, strings.Join(req.Targets, ","))))
	fail := g.fail
	g.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	targets := req.Targets
	if len(targets) == 0 {
		targets = []string{"nas", "primary"}
	}
	var failed []error
	for _, t := range targets {
		sleep(ctx, 2*time.Minute)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		g.mu.Lock() // what a try comes to is known at its end: the first run begins with the gym, before a test can say it
		r := g.answer(t)
		g.mu.Unlock()
		r.Target = t
		failed = append(failed, r.Err)
		req.Done(r)
	}
	return nil, errors.Join(failed...)
}

func record(o proof.Outcome) verify.Result {
	return verify.Result{Recorded: true, Record: &proof.Record{ID: "r", Drills: []proof.Drill{{Snapshot: "s", Level: proof.LevelDrill, Outcome: o, Cause: "because"}}}}
}

func passes(string) verify.Result { return record(proof.Passed) }

func (g *gym) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *gym) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want compares the runs since it was last called.
func (g *gym) want(what string, want ...string) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := cmp.Diff(want, g.runs); d != "" {
		g.t.Errorf("%s: %s\nthe log:\n%s", what, d, &g.log)
	}
	g.runs = nil
}

func (g *gym) errors() float64 {
	return value(g.t, g.cfg.Metrics, "drd_errors_total", string(metrics.StageVerify))
}

// TestDrillSchedule: a tick each night, also in the one whose hour the clock skips; what was missed is made up for once.
func TestDrillSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGym(t, "30 2 * * *", "2026-03-27 12:00")
		defer func() { g.stop() }()
		g.pass(time.Hour)
		g.want("the first start", "Mar 27 12:00 schedule")
		g.pass(3 * 24 * time.Hour)
		g.want("three nights", "Mar 28 02:30 schedule", "Mar 29 03:00 schedule", "Mar 30 02:30 schedule")
		g.stop()
		g.start()
		g.pass(time.Hour)
		g.want("a restart")
		g.stop()
		time.Sleep(5 * 24 * time.Hour)
		g.start()
		g.pass(time.Hour)
		g.want("five nights off", "Apr 4 15:00 schedule")
		g.set(func() { g.off += 50 * time.Hour }) // asleep
		g.pass(time.Hour)
		g.want("two nights asleep", "Apr 6 18:00 schedule")
		if g.errors() != 0 || g.looks != 6 {
			t.Errorf("%v errors, %d looks at the targets", g.errors(), g.looks)
		}
		if got, want := last(g.told), "STATUS=next drill 2026-04-07 00:30:00 UTC"; got != want {
			t.Errorf("status %q, want %q", got, want)
		}
	})
}

// TestDrillStopped: a run that is given up has not answered its tick.
func TestDrillStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGym(t, "30 2 * * *", "2026-11-22 12:00")
		g.pass(time.Minute)
		g.stop()
		g.start()
		defer func() { g.stop() }()
		g.pass(time.Hour)
		g.want("again", "Nov 22 12:00 schedule", "Nov 22 12:01 schedule")
		if g.errors() != 0 {
			t.Errorf("%v errors", g.errors())
		}
	})
}

// TestDrillRetries: what could not be found out is tried again a few times, and nothing else is.
func TestDrillRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGym(t, "30 2 * * *", "2026-11-22 12:00")
		defer func() { g.stop() }()
		dead := func(target string) verify.Result {
			if target == "nas" {
				return verify.Result{Err: errors.New("no route to host")}
			}
			return record(proof.Failed)
		}
		g.set(func() { g.answer = dead })
		g.pass(14 * time.Hour)
		g.want("a dead target", "Nov 22 12:00 schedule", "Nov 22 12:14 schedule  nas", "Nov 22 13:16 schedule  nas", "Nov 22 16:18 schedule  nas")
		if g.errors() != 5 {
			t.Errorf("%v errors, want 1 of the damaged one and 4 of the dead one", g.errors())
		}
		for _, part := range []string{`level=ERROR msg="drill FAILED`, `level=WARN msg="nothing could be drilled"`} {
			if !strings.Contains(g.log.String(), part) {
				t.Errorf("no %s in the log:\n%s", part, &g.log)
			}
		}
		g.set(func() {
			g.answer = func(target string) verify.Result {
				if target == "nas" {
					return record(proof.Inconclusive)
				}
				return passes(target)
			}
		})
		g.pass(35 * time.Minute)
		g.want("the next tick", "Nov 23 02:30 schedule")
		g.set(func() { g.answer = passes })
		g.pass(5 * time.Hour)
		g.want("and it is back", "Nov 23 02:44 schedule  nas")
	})
}

// TestDrillNothing: an empty target is no failure, and is tried again a few times: on a new node the first snapshot is under way when the
// first drills are.
func TestDrillNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGym(t, "30 2 * * *", "2026-11-22 12:00")
		defer func() { g.stop() }()
		g.set(func() {
			g.answer = func(string) verify.Result { return verify.Result{Err: fmt.Errorf("look: %w", repo.ErrNothing)} }
		})
		g.pass(5 * time.Hour)
		g.want("nothing there", "Nov 22 12:00 schedule", "Nov 22 12:14 schedule  nas,primary", "Nov 22 13:18 schedule  nas,primary", "Nov 22 16:22 schedule  nas,primary")
		if g.errors() != 0 {
			t.Errorf("%v errors", g.errors())
		}
		g.set(func() { g.fail = errors.New("the scratch disk is not mounted") })
		g.pass(24 * time.Hour)
		g.want("no run at all", "Nov 23 02:30 schedule", "Nov 23 02:40 schedule", "Nov 23 03:40 schedule", "Nov 23 06:40 schedule")
		if g.errors() != 4 || !strings.Contains(g.log.String(), "no drill could be made") {
			t.Errorf("%v errors; the log:\n%s", g.errors(), &g.log)
		}
	})
}

// TestDrillFresh: what arrived is tried between the ticks, however often it is told meanwhile.
func TestDrillFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGym(t, "", "2026-11-22 12:00")
		defer func() { g.stop() }()
		g.pass(24 * time.Hour)
		g.want("nothing arrived, and no schedule")
		g.d.arrived("primary")
		g.pass(time.Minute) // under way
		for range 3 {
			g.d.arrived("nas")
			g.d.arrived("primary")
		}
		g.pass(time.Hour)
		g.want("arrivals", "Nov 23 12:00 fresh data primary", "Nov 23 12:02 fresh data nas,primary")
		g.cfg.Drills.Fresh = ""
		g.stop()
		g.start()
		g.d.arrived("primary")
		g.pass(time.Hour)
		g.want("none wanted")
		var none *drilling
		none.arrived("primary") // where no drills are configured
	})
}

// TestFreshRetries: what arrived and could not be tried is tried again a few times; what arrives meanwhile begins anew.
func TestFreshRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGym(t, "", "2026-11-22 12:00")
		defer func() { g.stop() }()
		g.set(func() {
			g.answer = func(target string) verify.Result {
				if target == "nas" {
					return record(proof.Inconclusive)
				}
				return passes(target)
			}
		})
		synctest.Wait()
		g.d.mu.Lock() // it waits for the other: both are in one run
		g.d.fresh["primary"] = arrival{}
		g.d.mu.Unlock()
		g.d.arrived("nas")
		g.pass(24 * time.Hour)
		g.want("a target that does not answer", "Nov 22 12:00 fresh data nas,primary", "Nov 22 12:14 fresh data nas", "Nov 22 13:16 fresh data nas", "Nov 22 16:18 fresh data nas")
		g.d.arrived("nas")
		g.pass(5 * time.Minute)
		g.set(func() { g.answer = passes })
		g.pass(24 * time.Hour)
		g.want("it is back", "Nov 23 12:00 fresh data nas", "Nov 23 12:12 fresh data nas")
	})
}

// TestDrillSpread: nodes with the same schedule do not drill all at once, from the first run on.
func TestDrillSpread(t *testing.T) {
	starts := make([]map[string]bool, 3) // of each tick
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		synctest.Test(t, func(t *testing.T) {
			g := newGym(t, "", "2026-11-22 12:00")
			g.stop()
			g.cfg.Node, g.cfg.Drills.Spread, g.cfg.Drills.Schedule = node, DefaultSpread, ticks(t, "30 2 * * *", time.UTC)
			g.start()
			defer func() { g.stop() }()
			g.pass(48 * time.Hour)
			g.mu.Lock()
			defer g.mu.Unlock()
			if len(g.runs) != 3 {
				t.Fatalf("%s: %v", node, g.runs)
			}
			for i, from := range []string{"Nov 22 12:00", "Nov 23 03:30", "Nov 24 03:30"} { // Berlin is an hour ahead of UTC
				const layout = "Jan 2 15:04"
				tick, err := time.Parse(layout, from)
				if err != nil {
					t.Fatal(err)
				}
				at, err := time.Parse(layout, strings.TrimSuffix(g.runs[i], " schedule"))
				if late := at.Sub(tick); err != nil || late < 0 || late > DefaultSpread {
					t.Errorf("%s: the run is at %s, %s after its tick: %v", node, g.runs[i], late, err)
				}
				if starts[i] == nil {
					starts[i] = make(map[string]bool)
				}
				starts[i][g.runs[i]] = true
			}
		})
	}
	for _, at := range starts {
		if len(at) < 2 {
			t.Errorf("all nodes run at %v", at)
		}
	}
}

// TestDrillState: a state that cannot be read costs a run, and says so.
func TestDrillState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGym(t, "30 2 * * *", "2026-11-22 12:00")
		defer func() { g.stop() }()
		g.pass(time.Hour)
		g.stop()
		if err := os.WriteFile(filepath.Join(g.cfg.StateDir, "drills.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		g.start()
		g.pass(time.Hour)
		g.want("again", "Nov 22 12:00 schedule", "Nov 22 13:00 schedule")
		if n := value(t, g.cfg.Metrics, "drd_errors_total", string(metrics.StageState)); n != 1 {
			t.Errorf("%v errors", n)
		}
	})
}

// TestProofMetrics: what the records in the targets say, whoever wrote them.
func TestProofMetrics(t *testing.T) {
	n := newNode(t, 2)
	old, newest := n.put(n.keys.Signer, 7*time.Hour, 10, nil, 0, 1), n.put(n.keys.Signer, time.Hour, 20, nil, 0)
	names := []string{
		"verify_last_success_timestamp_seconds", "verify_last_result", "verify_uncovered_snapshots", "verify_duration_seconds", "restore_estimated_seconds",
	}
	want := map[string]float64{
		"verify_last_success_timestamp_seconds t0": 0, "verify_last_success_timestamp_seconds t1": 0,
		"verify_uncovered_snapshots t0": 2, "verify_uncovered_snapshots t1": 1,
	}
	if d := cmp.Diff(want, series(t, n.looked(), names...)); d != "" {
		t.Errorf("nothing proved: %s", d)
	}
	at := time.Now().UTC().Truncate(time.Second)
	n.drilled(0, at.Add(-50*time.Minute), old, proof.LevelDrill, proof.Passed)
	n.drilled(0, at.Add(-40*time.Minute), newest, proof.LevelDrill, proof.Inconclusive)
	n.drilled(0, at.Add(-30*time.Minute), newest, proof.LevelData, proof.Passed) // hides nothing
	n.drilled(1, at.Add(-20*time.Minute), old, proof.LevelData, proof.Failed)
	want = map[string]float64{
		"verify_last_success_timestamp_seconds t0": float64(at.Add(-50 * time.Minute).Unix()), "verify_last_success_timestamp_seconds t1": 0,
		"verify_last_result passed t0": 0, "verify_last_result failed t0": 0, "verify_last_result inconclusive t0": 1,
		"verify_last_result passed t1": 0, "verify_last_result failed t1": 1, "verify_last_result inconclusive t1": 0,
		"verify_uncovered_snapshots t0": 1, "verify_uncovered_snapshots t1": 1,
		"verify_duration_seconds": 30, "restore_estimated_seconds": 20,
	}
	got := series(t, n.looked(), names...)
	for k := range got { // label values come in the order of their labels' names
		if p := strings.Fields(k); len(p) == 3 && !slices.Contains([]string{"t0", "t1"}, p[2]) {
			t.Errorf("series %s", k)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestFailedStays: a broken snapshot is told until it is drilled with success or gone, whatever else passes.
func TestFailedStays(t *testing.T) {
	n := newNode(t, 1)
	old, newest := n.put(n.keys.Signer, 7*time.Hour, 10, nil, 0), n.put(n.keys.Signer, time.Hour, 20, nil, 0)
	at := time.Now().UTC().Truncate(time.Second)
	want := func(what string, failed, result float64) {
		t.Helper()
		got := series(t, n.looked(), "verify_failed_snapshots", "verify_last_result")
		if got["verify_failed_snapshots t0"] != failed || got["verify_last_result failed t0"] != result {
			t.Errorf("%s: %v", what, got)
		}
	}
	n.drilled(0, at.Add(-50*time.Minute), old, proof.LevelDrill, proof.Failed)
	want("a failure", 1, 1)
	n.drilled(0, at.Add(-40*time.Minute), newest, proof.LevelDrill, proof.Passed)
	want("a pass of another", 1, 1)
	n.drilled(0, at.Add(-30*time.Minute), old, proof.LevelDrill, proof.Passed)
	want("a pass of the same", 0, 0)
}

// TestProofsOnce: a second look fetches no record again, and all of them gone takes the recovery time back.
func TestProofsOnce(t *testing.T) {
	n := newNode(t, 1)
	bucket, err := dir.Open(n.dirs[0], dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	counted := storagetest.NewFaulty(bucket)
	r, err := repo.Open(counted, "prod-east")
	if err != nil {
		t.Fatal(err)
	}
	reader := ReadersOf([]replicate.Target{{Name: "t0", Repo: r}}, n.keys.Trust, "", false)[0]
	m := n.put(n.keys.Signer, time.Hour, 10, nil, 0)
	for i := range 3 {
		n.drilled(0, time.Now().UTC().Add(time.Duration(i-5)*time.Minute), m, proof.LevelDrill, proof.Passed)
	}
	n.cfg.Now = time.Now
	f := newFreshness(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	look := func() int {
		before := counted.Calls(storagetest.OpOpen)
		if err := f.look(t.Context(), reader); err != nil {
			t.Fatal(err)
		}
		f.drilled() // the records are looked at again the next time
		return counted.Calls(storagetest.OpOpen) - before
	}
	first, second := look(), look()
	if first-second != 6 { // record and signature of each
		t.Errorf("%d objects are read at first, %d again", first, second)
	}
	if got := series(t, n.cfg.Metrics, "restore_estimated_seconds"); got["restore_estimated_seconds"] != 20 {
		t.Errorf("%v", got)
	}
	if err := os.RemoveAll(filepath.Join(n.dirs[0], "prod-east/drills")); err != nil {
		t.Fatal(err)
	}
	look()
	if got := series(t, n.cfg.Metrics, "restore_estimated_seconds", "verify_duration_seconds"); len(got) != 0 {
		t.Errorf("without a proof: %v", got)
	}
}

// TestProofsTruncated: that not all records are read is told, once.
func TestProofsTruncated(t *testing.T) {
	n := newNode(t, 1)
	m := n.put(n.keys.Signer, time.Hour, 10, nil, 0)
	for i := range 3 {
		n.drilled(0, time.Now().UTC().Add(time.Duration(i-5)*time.Minute), m, proof.LevelDrill, proof.Passed)
	}
	n.cfg.Now = time.Now
	reader := n.cfg.Readers[0]
	reader.Proofs = func(ctx context.Context, _ *repo.Catalogue) (*proof.History, error) {
		return proof.Read(ctx, n.targets[0].Repo, n.keys.Trust, proof.ReadOptions{Limit: 2})
	}
	f := newFreshness(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	for range 2 {
		if err := f.look(t.Context(), reader); err != nil {
			t.Fatal(err)
		}
		f.drilled()
	}
	if got := strings.Count(n.log.String(), "more drill records than are read"); got != 1 {
		t.Errorf("%d lines:\n%s", got, n.log)
	}
}

// drilled stores the record of a drill of a snapshot that ended at that time.
func (n *node) drilled(target int, at time.Time, m *repo.Manifest, level proof.Level, o proof.Outcome) {
	n.t.Helper()
	n.tried(target, at, m, level, o, nil)
}

// tried stores the record of a drill of a snapshot, or of an archived revision that began with it.
func (n *node) tried(target int, at time.Time, m *repo.Manifest, level proof.Level, o proof.Outcome, archived *proof.Archived) {
	n.t.Helper()
	t := n.targets[target]
	id, err := repo.ParseID(m.ID)
	if err != nil {
		n.t.Fatal(err)
	}
	e, err := t.Repo.Look(n.t.Context(), id, n.keys.Trust)
	if err != nil {
		n.t.Fatal(err)
	}
	d := proof.Drill{
		Snapshot: m.ID, ManifestSHA256: e.Digest, CapturedAt: id.Time, Revision: m.Revision, Level: level, Outcome: o, Archived: archived,
		Started: at.Add(-30 * time.Second), Seconds: 30, ObjectBytes: 1, DBSize: 1,
	}
	if o != proof.Passed {
		d.Cause = "because"
	} else if level.Boots() {
		d.RecoverySeconds, d.Etcd = 20, "3.7.0 (embedded)"
	}
	rec := &proof.Record{
		Kind: proof.RecordKind, Format: proof.RecordFormat, ID: proof.NewID(at, "other-host"), Cluster: "prod-east", Host: "other-host",
		Trigger: proof.TriggerSchedule, Target: proof.Target{Name: t.Name, Location: t.Repo.Bucket().Location()},
		Started: d.Started, Ended: at, Drills: []proof.Drill{d}, Drd: repo.Build{Version: "test"},
	}
	if _, _, err := proof.Store(n.t.Context(), t.Repo, rec, n.keys.Signer); err != nil {
		n.t.Fatal(err)
	}
}

// TestVerifierHost: without backups it looks, and tries what others have stored, once for each arrival.
func TestVerifierHost(t *testing.T) {
	n := newNode(t, 1)
	var mu sync.Mutex
	var runs []string
	n.cfg.Backup, n.cfg.Schedule = nil, nil
	n.cfg.Drills = &Drills{Fresh: proof.LevelDrill, CoverWithin: DefaultCover, Run: func(_ context.Context, req verify.Request) ([]*proof.Record, error) {
		mu.Lock()
		defer mu.Unlock()
		runs = append(runs, req.Trigger+" "+strings.Join(req.Targets, ","))
		return nil, nil
	}}
	n.put(n.keys.Signer, time.Hour, 10, nil, 0)
	n.start()
	n.until("the run", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(runs) > 0
	})
	n.until("the metrics", func() bool {
		_, ok := sample(t, n.cfg.Metrics, "drd_verify_uncovered_snapshots", "t0")
		return ok
	})
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if d := cmp.Diff([]string{"fresh t0"}, runs); d != "" {
		t.Error(d)
	}
}
