package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/prune"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// TestLongestGap: what a schedule's late is measured by.
func TestLongestGap(t *testing.T) {
	const day = 24 * time.Hour
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec string
		loc  *time.Location
		want time.Duration
	}{
		{"0 */6 * * *", time.UTC, 6 * time.Hour},
		{"@every 90m", time.UTC, 90 * time.Minute},
		{"* * * * *", time.UTC, time.Minute},
		{"0 8,20 * * 1-5", time.UTC, 2*day + 12*time.Hour}, // Friday evening to Monday morning
		{"30 2 * * *", time.UTC, day},
		{"30 2 * * *", berlin, day + time.Hour}, // the night in which clocks go back; none is skipped
		{"0 0 1 * *", time.UTC, 31 * day},
		{"0 0 1 1 *", time.UTC, 365 * day},
		{"0 0 29 2 *", time.UTC, 1461 * day},
	} {
		if got := LongestGap(ticks(t, c.spec, c.loc), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)); got != c.want {
			t.Errorf("%s in %s: %s, want %s", c.spec, c.loc, got, c.want)
		}
	}
}

// pruned is a pruning of one target whose prunes end as told, and a record of when they were.
type pruned struct {
	*pruning
	log   bytes.Buffer
	began time.Time
	times []string
	end   func(ctx context.Context) (prune.Results, error)
}

func newPruned(t *testing.T) *pruned {
	t.Helper()
	p := &pruned{began: time.Now()}
	p.pruning = newPruning(Config{
		Now: time.Now, Metrics: metrics.New(metrics.Build{}), Log: slog.New(slog.NewTextHandler(io.MultiWriter(&p.log, t.Output()), nil)),
		Pruners: []Pruner{{Target: "nas", Prune: func(ctx context.Context, now time.Time) (prune.Results, error) {
			p.times = append(p.times, time.Since(p.began).String())
			if !now.Equal(time.Now()) {
				t.Errorf("it is %s, told %s", time.Now(), now)
			}
			return p.end(ctx)
		}}},
	})
	p.end = func(context.Context) (prune.Results, error) { return nil, nil }
	return p
}

// start runs it until stop is called.
func (p *pruned) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// TestPruneAfterBackups: never by itself, after each backup that succeeded, and once an hour at most.
func TestPruneAfterBackups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPruned(t)
		stop := p.start(t)
		outcome := backup.Outcome{}
		var fails error
		take := p.after(func(context.Context, *time.Time) (*backup.Result, error) {
			if fails != nil {
				return nil, fails
			}
			return &backup.Result{Manifest: &repo.Manifest{}, Outcomes: []backup.Outcome{outcome}}, nil
		})
		back := func() {
			_, _ = take(t.Context(), nil)
			synctest.Wait()
		}
		time.Sleep(24 * time.Hour)
		fails = errors.New("etcd is down")
		back()
		fails = nil
		time.Sleep(time.Hour)
		back() // 25h
		for range 30 {
			time.Sleep(time.Minute)
			back()
		}
		time.Sleep(10 * time.Hour)
		back()
		stop()
		if diff := cmp.Diff([]string{"25h0m0s", "26h0m0s", "35h30m0s"}, p.times); diff != "" {
			t.Error(diff)
		}
	})
}

// TestPruneErrors: a failure counts each time and is said once, and the last success stays what it was.
func TestPruneErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPruned(t)
		stop := p.start(t)
		next := func(results prune.Results, err error) {
			p.end = func(context.Context) (prune.Results, error) { return results, err }
			p.again()
			synctest.Wait()
			time.Sleep(2 * time.Hour)
		}
		last := func() float64 {
			v, known := sample(t, p.metrics, "drd_prune_last_success_timestamp_seconds", "nas")
			if !known {
				return -1
			}
			return v
		}
		denied := errors.New("access denied")
		next(nil, denied)
		if last() != -1 {
			t.Error("a success that never was")
		}
		success := time.Now().Unix()
		next(prune.Results{{Item: &prune.Item{}, Outcome: prune.Deleted}, {Item: &prune.Item{}, Outcome: prune.Locked, Err: denied}}, nil)
		next(nil, denied)
		next(nil, denied)
		if last() != float64(success) {
			t.Errorf("last success %v, want %v", last(), success)
		}
		if got := value(t, p.metrics, "drd_errors_total", string(metrics.StagePrune)); got != 3 {
			t.Errorf("%v errors", got)
		}
		next(nil, nil)
		stop()
		var said []string
		for line := range strings.Lines(p.log.String()) {
			_, text, _ := strings.Cut(strings.TrimSpace(line), "level=")
			said = append(said, text)
		}
		want := []string{
			`ERROR msg="retention is not applied" target=nas error="access denied"`,
			`INFO msg=pruned target=nas outcome="1 deleted, 1 locked until retention ends" bytes=0`,
			`INFO msg="retention is applied again" target=nas`,
			`ERROR msg="retention is not applied" target=nas error="access denied"`,
			`INFO msg="retention is applied again" target=nas`,
		}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Error(diff)
		}
	})
}

// TestPruneStops: the end of the daemon is no failure, and a target that hangs is given up in time.
func TestPruneStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPruned(t)
		p.end = func(ctx context.Context) (prune.Results, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("prune nas: %w", ctx.Err())
		}
		stop := p.start(t)
		p.again()
		time.Sleep(pruneTimeout + time.Second)
		if got := value(t, p.metrics, "drd_errors_total", string(metrics.StagePrune)); got != 1 {
			t.Errorf("%v errors of a target that hangs", got)
		}
		p.again()
		time.Sleep(pruneEvery + time.Second)
		stop()
		if got := value(t, p.metrics, "drd_errors_total", string(metrics.StagePrune)); got != 1 || len(p.times) != 2 {
			t.Errorf("%v errors after %d prunes", got, len(p.times))
		}
	})
}

// TestPrunersOf prunes real directories, each by itself.
func TestPrunersOf(t *testing.T) {
	n := newNode(t, 2)
	n.put(n.keys.Signer, 30*time.Hour, 100, nil, 0)
	newest := n.put(n.keys.Signer, time.Hour, 200, nil, 0)
	pruners := PrunersOf(n.targets, n.keys.Trust, func(time.Time) retention.Policy {
		return retention.Policy{Last: 1, MinCopies: 1, Period: time.Hour}
	})
	results, err := pruners[0].Prune(t.Context(), time.Now())
	if err != nil || results.String() != "1 deleted" {
		t.Errorf("%s, %v", results, err)
	}
	if left := files(t, n.dirs[0]); len(left) != 3 || !strings.Contains(left[0], newest.ID) {
		t.Errorf("left are %q", left)
	}
	results, err = pruners[1].Prune(t.Context(), time.Now())
	if err != nil || len(results) != 0 || !slices.Equal([]string{pruners[0].Target, pruners[1].Target}, []string{"t0", "t1"}) {
		t.Errorf("%s, %v", results, err)
	}
}

// TestPrunersKeepProved: what a drill restored last is not deleted, and nothing is where that cannot be found out.
func TestPrunersKeepProved(t *testing.T) {
	n := newNode(t, 1)
	old := n.put(n.keys.Signer, 30*time.Hour, 100, nil, 0)
	n.put(n.keys.Signer, 20*time.Hour, 150, nil, 0)
	n.put(n.keys.Signer, time.Hour, 200, nil, 0)
	now := time.Now().UTC()
	rec := &proof.Record{
		Kind: proof.RecordKind, Format: proof.RecordFormat, ID: proof.NewID(now.Add(-25*time.Hour), "node1"), Cluster: "prod-east", Host: "node1",
		Trigger: proof.TriggerSchedule, Target: proof.Target{Name: "t0", Location: n.targets[0].Repo.Bucket().Location()},
		Started: now.Add(-25 * time.Hour), Ended: now.Add(-25 * time.Hour), Drd: repo.Build{Version: "test"},
		Drills: []proof.Drill{{
			Snapshot: old.ID, ManifestSHA256: strings.Repeat("ab", 32), CapturedAt: old.CaptureStart, Level: proof.LevelDrill, Outcome: proof.Passed,
			Started: now.Add(-25 * time.Hour),
		}},
	}
	if _, _, err := proof.Store(t.Context(), n.targets[0].Repo, rec, n.keys.Signer); err != nil {
		t.Fatal(err)
	}
	policy := func(time.Time) retention.Policy { return retention.Policy{Last: 1, MinCopies: 1, Period: time.Hour} }

	whole, broken := n.targets[0].Repo, storagetest.NewFaulty(n.targets[0].Repo.Bucket())
	broken.CutReads("/drills/", 5, false)
	r, err := repo.Open(broken, "prod-east")
	if err != nil {
		t.Fatal(err)
	}
	n.targets[0].Repo = r
	results, err := PrunersOf(n.targets, n.keys.Trust, policy)[0].Prune(t.Context(), now)
	if err == nil || !strings.Contains(err.Error(), "prune t0: nothing is deleted, because it is not known which snapshot was proved last: ") || len(results) != 0 {
		t.Errorf("records that cannot be read: %v, %v", results, err)
	}
	n.targets[0].Repo = whole
	results, err = PrunersOf(n.targets, n.keys.Trust, policy)[0].Prune(t.Context(), now)
	if err != nil || results.String() != "1 deleted" {
		t.Errorf("%s, %v", results, err)
	}
	if left := strings.Join(files(t, n.dirs[0]), "\n"); !strings.Contains(left, old.ID) || !strings.Contains(left, rec.ID) || strings.Contains(left, "-r150-") {
		t.Errorf("left are %s", left)
	}
}
