package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/merge"
	"github.com/drd-project/drd/internal/metrics"
)

// mergePasses are passes of one target that end as told, and when they were.
type mergePasses struct {
	at  []time.Duration
	end func(ctx context.Context) (merge.Result, error)
}

func (p *mergePasses) merger(target string) Merger {
	began := time.Now()
	return Merger{Target: target, Pass: func(ctx context.Context) (merge.Result, error) {
		p.at = append(p.at, time.Since(began))
		return p.end(ctx)
	}}
}

func nothing(context.Context) (merge.Result, error) { return merge.Result{}, nil }

// mergeFor runs passes for some time, and returns what was logged.
func mergeFor(t *testing.T, d time.Duration, dir string, pruned func(), of ...Merger) (m *metrics.Metrics, log string) {
	t.Helper()
	var logged bytes.Buffer
	merges := newMerging(Config{
		Merging: &Merging{Dir: dir, Mergers: of}, Metrics: metrics.New(metrics.Build{}),
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(&logged, t.Output()), nil)),
	}, pruned)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	merges.run(ctx)
	return merges.metrics, logged.String()
}

func TestNothingIsMerged(t *testing.T) {
	if newMerging(Config{}, func() {}) != nil {
		t.Error("without an archive something is merged")
	}
}

// TestMerges: a pass every ten minutes and a little; retention follows a pause after something was merged.
func TestMerges(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "merge")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := &mergePasses{}
		p.end = func(context.Context) (merge.Result, error) {
			if len(p.at) == 3 {
				return merge.Result{Merged: 2, Sources: 12, Bytes: 4711}, nil
			}
			return merge.Result{}, nil
		}
		var pruned []time.Duration
		m, log := mergeFor(t, 2*time.Hour, dir, func() { pruned = append(pruned, time.Since(began)) }, p.merger("nas"))
		if p.at[0] != mergeFirst || len(p.at) < 9 {
			t.Errorf("passes at %s", p.at)
		}
		for i := 1; i < len(p.at); i++ {
			if pause := p.at[i] - p.at[i-1]; pause < mergeEvery || pause > mergeEvery+mergeJitter {
				t.Errorf("a pause of %s", pause)
			}
		}
		if len(pruned) != 1 || pruned[0] != p.at[3] {
			t.Errorf("pruned at %s, passes at %s", pruned, p.at)
		}
		if strings.Count(log, "\n") != 1 || !strings.Contains(log, `msg="merged the archive" target=nas segments=12 into=2 bytes=4711`) {
			t.Errorf("logged:\n%s", log)
		}
		if n := value(t, m, "drd_errors_total", "merge"); n != 0 {
			t.Errorf("%v errors", n)
		}
	})
}

// TestMergeFails: failures are logged once, come less and less often, and another target does not notice. A pass that hangs ends.
func TestMergeFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "merge")
	synctest.Test(t, func(t *testing.T) {
		fails, hangs, fine := &mergePasses{}, &mergePasses{}, &mergePasses{end: nothing}
		fails.end = func(context.Context) (merge.Result, error) {
			if len(fails.at) >= 7 {
				return merge.Result{}, nil
			}
			return merge.Result{}, errors.New("no route to host")
		}
		hangs.end = func(ctx context.Context) (merge.Result, error) {
			<-ctx.Done()
			return merge.Result{}, ctx.Err()
		}
		m, log := mergeFor(t, 11*time.Hour, dir, func() { t.Error("pruned") }, fails.merger("nas"), hangs.merger("s3"), fine.merger("disk"))
		for i, shortest := range []time.Duration{20, 40, 80, 160, 160} {
			if pause := fails.at[i+1] - fails.at[i]; pause < shortest*time.Minute || pause > shortest*time.Minute+mergeJitter {
				t.Errorf("pause %d is %s", i, pause)
			}
		}
		if len(fine.at) < 45 || len(hangs.at) < 4 || hangs.at[1]-hangs.at[0] < mergeTimeout {
			t.Errorf("%d passes, and %s of the one that hangs", len(fine.at), hangs.at)
		}
		if strings.Count(log, "target=nas") != 2 || strings.Count(log, `merged again" target=nas`) != 1 || strings.Count(log, "target=s3") != 1 || strings.Contains(log, "target=disk") {
			t.Errorf("logged:\n%s", log)
		}
		if n := value(t, m, "drd_errors_total", "merge"); n < 6 {
			t.Errorf("%v errors", n)
		}
	})
}

// TestMergeTells: what is damaged is named in the log, and counts; that the daemon stops is no failure.
func TestMergeTells(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "merge")
	synctest.Test(t, func(t *testing.T) {
		p := &mergePasses{}
		p.end = func(ctx context.Context) (merge.Result, error) {
			if len(p.at) == 1 {
				return merge.Result{Bad: []error{errors.New("segment 2-3 is damaged")}}, nil
			}
			<-ctx.Done()
			return merge.Result{}, ctx.Err()
		}
		m, log := mergeFor(t, 30*time.Minute, dir, func() {}, p.merger("nas"))
		if strings.Count(log, "\n") != 1 || !strings.Contains(log, "segment 2-3 is damaged") {
			t.Errorf("logged:\n%s", log)
		}
		if n := value(t, m, "drd_errors_total", "merge"); n != 1 {
			t.Errorf("%v errors", n)
		}
	})
}

// TestMergeWithoutRoom: where the directory cannot be made, that is said once and tried again.
func TestMergeWithoutRoom(t *testing.T) {
	in := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(in, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := &mergePasses{end: nothing}
		go func() {
			time.Sleep(time.Hour)
			if err := os.Remove(in); err != nil {
				t.Error(err)
			}
		}()
		_, log := mergeFor(t, 2*time.Hour, filepath.Join(in, "merge"), func() {}, p.merger("nas"))
		if strings.Count(log, "\n") != 1 || len(p.at) == 0 || p.at[0] < time.Hour {
			t.Errorf("passes at %s, logged:\n%s", p.at, log)
		}
	})
}
