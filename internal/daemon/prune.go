package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/prune"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
)

const (
	// pruneEvery is the shortest time between two prunes of a target: snapshots every minute need no more.
	pruneEvery = time.Hour
	// pruneTimeout bounds one prune: a few hundred snapshots, up to 50,000 segments, and up to 4 GiB of merged ones that are read. A
	// target that takes longer is as good as dead.
	pruneTimeout = 60 * time.Minute
	// gapTicks bounds how many ticks LongestGap looks at: a year of a tick every hour. A longer gap behind them is
	// missed, which makes the producer late too early, and so deletes less.
	gapTicks = 10_000
)

// Pruner applies retention to one target.
type Pruner struct {
	Target string // name in metrics and logs
	Prune  func(ctx context.Context, now time.Time) (prune.Results, error)
}

// PrunersOf applies to each target what policy says at that time, and what drills proved there. Signatures are judged by
// trust.
func PrunersOf(targets []replicate.Target, trust *seal.Trust, policy func(now time.Time) retention.Policy) []Pruner {
	pruners := make([]Pruner, len(targets))
	for i, t := range targets {
		pruners[i] = Pruner{Target: t.Name, Prune: func(ctx context.Context, now time.Time) (prune.Results, error) {
			target := prune.Target{Name: t.Name, Repo: t.Repo}
			today, err := WithProof(ctx, target, trust, policy(now), now)
			if err != nil {
				return nil, err
			}
			plan, err := prune.Make(ctx, target, trust, today, now)
			if err != nil {
				return nil, err
			}
			results := plan.Run(ctx)
			return results, results.Err()
		}}
	}
	return pruners
}

// WithProof is the policy with what drills proved in the target. When that cannot be found out nothing may be deleted there:
// the one snapshot that is known to restore could be among it.
func WithProof(ctx context.Context, t prune.Target, trust *seal.Trust, policy retention.Policy, now time.Time) (retention.Policy, error) {
	proved, err := proof.LastProved(ctx, t.Repo, trust, proof.ReadOptions{Target: proof.Target{Name: t.Name}, Now: now})
	if err != nil {
		return policy, fmt.Errorf("prune %s: nothing is deleted, because it is not known which snapshot was proved last: %w", t.Name, err)
	}
	policy.Proved = proved
	return policy, nil
}

// LongestGap is the longest time between two ticks of the schedule after from, as the daemon answers them.
func LongestGap(s cron.Schedule, from time.Time) time.Duration {
	p := plan{ticks: onWallClock(s)}
	end := from.AddDate(1, 0, 0)
	var longest time.Duration
	tick := p.next(from)
	for i := 0; i < gapTicks && (i == 0 || tick.Before(end)); i++ {
		longest = max(longest, p.period(tick))
		tick = p.next(tick)
	}
	return longest
}

// pruning prunes after backups that succeeded. After one that failed there is nothing to make room for.
type pruning struct {
	pruners []Pruner
	now     func() time.Time
	metrics *metrics.Metrics
	log     *slog.Logger
	wake    []chan struct{} // one for each pruner; holds a wish until it can be granted
}

func newPruning(cfg Config) *pruning {
	p := &pruning{pruners: cfg.Pruners, now: cfg.Now, metrics: cfg.Metrics, log: cfg.Log}
	for range p.pruners {
		p.wake = append(p.wake, make(chan struct{}, 1))
	}
	return p
}

// after is take with a prune behind it. It does not wait for the prune.
func (p *pruning) after(take func(context.Context, *time.Time) (*backup.Result, error)) func(context.Context, *time.Time) (*backup.Result, error) {
	return func(ctx context.Context, slot *time.Time) (*backup.Result, error) {
		result, err := take(ctx, slot)
		if taken(result) {
			p.again()
		}
		return result, err
	}
}

func (p *pruning) again() {
	for _, c := range p.wake {
		select {
		case c <- struct{}{}:
		default: // it is asked for already
		}
	}
}

// run prunes until ctx ends. A target that is dead does not keep another from being pruned.
func (p *pruning) run(ctx context.Context) {
	var wg sync.WaitGroup
	for i, one := range p.pruners {
		wg.Go(func() {
			failing := false
			for {
				select {
				case <-p.wake[i]:
				case <-ctx.Done():
					return
				}
				failing = p.prune(ctx, one, failing)
				sleep(ctx, pruneEvery)
			}
		})
	}
	wg.Wait()
}

// prune makes one attempt and reports whether it failed. A prune that should delete and cannot counts as an error and
// leaves the time of the last success alone; the log has the first of them, and the end.
func (p *pruning) prune(ctx context.Context, one Pruner, failing bool) bool {
	limited, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	results, err := one.Prune(limited, p.now().UTC())
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return failing // given up, because the daemon stops
	}
	if results.Count(prune.Deleted) > 0 {
		p.log.Info("pruned", "target", one.Target, "outcome", results.String(), "bytes", results.Freed())
	}
	if err != nil {
		p.metrics.Error(metrics.StagePrune)
		if !failing {
			p.log.Error("retention is not applied", problem(err, "target", one.Target)...)
		}
		return true
	}
	p.metrics.Pruned(one.Target, p.now())
	if failing {
		p.log.Info("retention is applied again", "target", one.Target)
	}
	return false
}
