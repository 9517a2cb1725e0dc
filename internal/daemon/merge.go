package daemon

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/merge"
	"github.com/drd-project/drd/internal/metrics"
)

const (
	// mergeFirst is when the first pass begins: what a restart finds to be done before is more urgent.
	mergeFirst = 5 * time.Minute
	// mergeEvery is how long the pause between two passes of a target is, and mergeJitter how much longer at most, so that nodes fall out
	// of step. Segments that were merged must be 10 minutes old before what they replace is deleted.
	mergeEvery  = 10 * time.Minute
	mergeJitter = 2 * time.Minute
	// mergeDoublings bounds the pause after passes that fail: 160 minutes. Each may leave an object that is no segment.
	mergeDoublings = 4
	// mergeTimeout bounds a pass: it comes to an end with 64 MiB at 60 KB/s, three times on the way.
	mergeTimeout = time.Hour
)

// Merging makes large segments of small ones in each target.
type Merging struct {
	Dir     string // of segments that grow; this process's alone
	Mergers []Merger
}

// Merger merges in one target. *merge.Merger does.
type Merger struct {
	Target string // name in logs
	Pass   func(ctx context.Context) (merge.Result, error)
}

// merging runs the passes.
type merging struct {
	Merging
	pruned  func() // makes room soon: there is something to delete
	metrics *metrics.Metrics
	log     *slog.Logger
}

// newMerging is nil where nothing is merged.
func newMerging(cfg Config, pruned func()) *merging {
	if cfg.Merging == nil {
		return nil
	}
	return &merging{Merging: *cfg.Merging, pruned: pruned, metrics: cfg.Metrics, log: cfg.Log}
}

// run merges until ctx ends. A target that is dead does not keep another from being merged in.
func (m *merging) run(ctx context.Context) {
	sleep(ctx, mergeFirst)
	for failed := false; ctx.Err() == nil; failed = true {
		err := merge.Sweep(m.Dir)
		if err == nil {
			break
		}
		m.metrics.Error(metrics.StageMerge)
		if !failed {
			m.log.Error("the archive is not merged", problem(err)...)
		}
		sleep(ctx, mergeEvery)
	}
	var wg sync.WaitGroup
	for _, one := range m.Mergers {
		wg.Go(func() {
			failures := 0
			for ctx.Err() == nil {
				var again bool
				failures, again = m.pass(ctx, one, failures)
				sleep(ctx, mergeEvery<<min(failures, mergeDoublings)+rand.N(mergeJitter))
				if again && ctx.Err() == nil {
					m.pruned()
				}
			}
		})
	}
	wg.Wait()
}

// pass makes one attempt. It returns how many in a row have failed, and whether something was replaced. Of failures the log has the first, and
// the end.
func (m *merging) pass(ctx context.Context, one Merger, failures int) (int, bool) {
	limited, cancel := context.WithTimeout(ctx, mergeTimeout)
	defer cancel()
	done, err := one.Pass(limited)
	for _, bad := range done.Bad {
		m.metrics.Error(metrics.StageMerge)
		m.log.Error("a part of the archive cannot be merged", problem(bad, "target", one.Target)...)
	}
	if done.Merged > 0 {
		m.log.Info("merged the archive", "target", one.Target, "segments", done.Sources, "into", done.Merged, "bytes", done.Bytes)
	}
	switch {
	case ctx.Err() != nil: // given up, because the daemon stops
	case err != nil:
		m.metrics.Error(metrics.StageMerge)
		if failures == 0 {
			m.log.Error("the archive is not merged; it is tried again", problem(err, "target", one.Target)...)
		}
		failures++
	default:
		if failures > 0 {
			m.log.Info("the archive is merged again", "target", one.Target)
		}
		failures = 0
	}
	return failures, done.Merged > 0
}
