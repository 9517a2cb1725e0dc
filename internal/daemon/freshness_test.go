package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// looked is the metrics after one look at every target.
func (n *node) looked() *metrics.Metrics {
	n.t.Helper()
	n.cfg.Metrics = metrics.New(metrics.Build{})
	n.cfg.Now = time.Now
	f := newFreshness(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	for _, r := range n.cfg.Readers {
		if err := f.look(n.t.Context(), r); err != nil {
			n.t.Log(err)
		}
	}
	return n.cfg.Metrics
}

// series are all values with one of these names, by name and label values.
func series(t *testing.T, m *metrics.Metrics, names ...string) map[string]float64 {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, name := range names {
			for _, s := range f.GetMetric() {
				key := name
				for _, l := range s.GetLabel() {
					key += " " + l.GetValue()
				}
				if f.GetName() == "drd_"+name {
					out[key] = s.GetGauge().GetValue()
				}
			}
		}
	}
	return out
}

// TestMetricsFromTargets: two targets, of which one lacks the newest snapshot.
func TestMetricsFromTargets(t *testing.T) {
	n := newNode(t, 2)
	differs := func(m *repo.Manifest) {
		m.Compared = []repo.Comparison{
			{Member: "a1", Result: repo.ResultDiffers}, {Member: "b1", Result: repo.ResultDiffers},
			{Member: "c1", Result: repo.ResultNotCompared, Reason: "no answer"},
		}
	}
	notAsked := func(m *repo.Manifest) {
		m.Timeline, m.TimelineParent = "00000000000000b2", m.Timeline
		m.Compared = []repo.Comparison{{Member: "a1", Result: repo.ResultNotCompared, Reason: "no answer"}}
	}
	older := n.put(n.keys.Signer, 7*time.Hour, 900, differs, 0, 1)
	newest := n.put(n.keys.Signer, time.Hour, 500, notAsked, 0) // a rebuilt cluster begins with low revisions
	stranger := sealtest.New(t).Signer
	n.put(stranger, time.Minute, 2000, nil, 0)     // newer, and nobody's
	n.put(n.keys.Signer, -time.Hour, 3000, nil, 0) // of a clock that is wrong
	litter := filepath.Join(n.dirs[1], "prod-east/snapshots/20261122T100000Z-r7-a1/snapshot.db.zst.age")
	foreign := filepath.Join(n.dirs[1], "prod-east/snapshots/notes.txt")
	for _, path := range []string{litter, foreign} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("1234567890"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := n.looked()
	want := map[string]float64{
		"snapshot_last_success_timestamp_seconds": float64(newest.CaptureEnd.Unix()),
		"snapshot_revision":                       500, "snapshot_size_bytes db": 1000, "snapshot_size_bytes object": 6,
		"recovery_point_timestamp_seconds t0": float64(newest.CaptureStart.Unix()),
		"recovery_point_timestamp_seconds t1": float64(older.CaptureStart.Unix()),
		"members_diverged":                    2,
		"repo_objects snapshot t0":            3, "repo_objects unusable t0": 1, "repo_objects incomplete t0": 0, "repo_objects foreign t0": 0,
		"repo_objects snapshot t1": 1, "repo_objects unusable t1": 0, "repo_objects incomplete t1": 1, "repo_objects foreign t1": 1,
		"repo_bytes snapshot t0": 18, "repo_bytes unusable t0": 6, "repo_bytes incomplete t0": 0,
		"repo_bytes snapshot t1": 6, "repo_bytes unusable t1": 0, "repo_bytes incomplete t1": 10,
	}
	got := series(t, m, "snapshot_last_success_timestamp_seconds", "snapshot_revision", "snapshot_size_bytes",
		"recovery_point_timestamp_seconds", "members_diverged", "repo_objects", "repo_bytes")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for target, at := range series(t, m, "replication_last_success_timestamp_seconds") {
		if age := time.Since(time.Unix(int64(at), 0)); age < 0 || age > time.Minute {
			t.Errorf("%s was stored %s ago", target, age)
		}
	}
}

func TestNoSnapshotIsKnown(t *testing.T) {
	n := newNode(t, 1)
	got := series(t, n.looked(), "snapshot_last_success_timestamp_seconds", "snapshot_revision", "snapshot_size_bytes",
		"recovery_point_timestamp_seconds", "replication_last_success_timestamp_seconds", "members_diverged")
	want := map[string]float64{
		"snapshot_last_success_timestamp_seconds": 0, "recovery_point_timestamp_seconds t0": 0, "replication_last_success_timestamp_seconds t0": 0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestTargetOutOfReach: the values stand still, errors are counted, one line says so, and one says that it is over.
// Another target goes on being read.
func TestTargetOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		n.put(n.keys.Signer, time.Hour, 500, nil, 0, 1)
		n.cfg.Now = time.Now
		var down atomic.Bool
		read := n.cfg.Readers[0].Read
		n.cfg.Readers[0].Read = func(ctx context.Context) (*repo.Catalogue, error) {
			if down.Load() {
				return nil, errors.New("no route to host")
			}
			return read(ctx)
		}
		f := newFreshness(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.run(ctx)
		}()
		defer func() { cancel(); <-ended }()
		time.Sleep(time.Second)
		synctest.Wait()
		before := series(t, n.cfg.Metrics, "recovery_point_timestamp_seconds")
		if before["recovery_point_timestamp_seconds t0"] == 0 || len(before) != 2 {
			t.Fatalf("%v", before)
		}

		down.Store(true)
		newer := n.put(n.keys.Signer, time.Minute, 600, nil, 0, 1)
		f.again()
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		after := series(t, n.cfg.Metrics, "recovery_point_timestamp_seconds", "snapshot_revision")
		if after["recovery_point_timestamp_seconds t0"] != before["recovery_point_timestamp_seconds t0"] {
			t.Error("the target out of reach has another value")
		}
		if after["recovery_point_timestamp_seconds t1"] != float64(newer.CaptureStart.Unix()) || after["snapshot_revision"] != 600 {
			t.Errorf("the other target is not read: %v", after)
		}
		if got := value(t, n.cfg.Metrics, "drd_errors_total", string(metrics.StageCatalogue)); got != 3 {
			t.Errorf("%v errors, want 3", got)
		}
		if got := strings.Count(n.log.String(), "metrics cannot be refreshed"); got != 1 {
			t.Errorf("%d lines", got)
		}

		down.Store(false)
		time.Sleep(lookEvery + time.Second)
		synctest.Wait()
		if got := value(t, n.cfg.Metrics, "drd_recovery_point_timestamp_seconds", "t0"); got != float64(newer.CaptureStart.Unix()) {
			t.Errorf("recovery point %v after the target is back", got)
		}
		if got := strings.Count(n.log.String(), "metrics are refreshed again"); got != 1 {
			t.Errorf("%d lines", got)
		}
	})
}

// TestTargetThatHangs: the reading is given up, and its series stay absent.
func TestTargetThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		n.cfg.Now = time.Now
		n.cfg.Readers[0].Read = func(ctx context.Context) (*repo.Catalogue, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		newFreshness(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log)).run(ctx)
		if got := value(t, n.cfg.Metrics, "drd_errors_total", string(metrics.StageCatalogue)); got < 6 || got > 7 {
			t.Errorf("%v errors in an hour of %s and %s", got, readTimeout, lookEvery)
		}
		if got := series(t, n.cfg.Metrics, "recovery_point_timestamp_seconds", "snapshot_last_success_timestamp_seconds"); len(got) != 0 {
			t.Errorf("known: %v", got)
		}
	})
}

// TestUnreadableManifest: what can be read counts, and that something cannot is an error.
func TestUnreadableManifest(t *testing.T) {
	n := newNode(t, 1)
	n.cfg.Now = time.Now
	old := n.put(n.keys.Signer, 7*time.Hour, 400, nil, 0)
	n.put(n.keys.Signer, time.Hour, 500, nil, 0)
	read := n.cfg.Readers[0].Read
	n.cfg.Readers[0].Read = func(ctx context.Context) (*repo.Catalogue, error) {
		c, err := read(ctx)
		if err == nil {
			last := &c.Entries[len(c.Entries)-1]
			last.State, last.Problem, last.Manifest = repo.StateUnreadable, errors.New("manifest: 503"), nil
		}
		return c, err
	}
	err := newFreshness(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log)).look(t.Context(), n.cfg.Readers[0])
	if err == nil || err.Error() != "1 of 2 snapshots could not be read: manifest: 503" {
		t.Errorf("error %v", err)
	}
	if got := value(t, n.cfg.Metrics, "drd_recovery_point_timestamp_seconds", "t0"); got != float64(old.CaptureStart.Unix()) {
		t.Errorf("recovery point %v", got)
	}
}

// TestRunEndsDuringLook: the records of drills that end while others are read are read by the next look, not half an hour later.
func TestRunEndsDuringLook(t *testing.T) {
	n := newNode(t, 1)
	m := n.put(n.keys.Signer, time.Hour, 10, nil, 0)
	n.cfg.Now = time.Now
	reader := n.cfg.Readers[0]
	f := newFreshness(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	read, looks := reader.Proofs, 0
	reader.Proofs = func(ctx context.Context, c *repo.Catalogue) (*proof.History, error) {
		h, err := read(ctx, c)
		if looks++; looks == 1 {
			n.drilled(0, time.Now().UTC().Add(-time.Minute), m, proof.LevelDrill, proof.Passed)
			f.drilled()
		}
		return h, err
	}
	for range 3 {
		if err := f.look(t.Context(), reader); err != nil {
			t.Fatal(err)
		}
	}
	if got := series(t, n.cfg.Metrics, "restore_estimated_seconds"); len(got) == 0 || looks != 2 {
		t.Errorf("%d looks at the records found %v, want 2 and the drill", looks, got)
	}
}
