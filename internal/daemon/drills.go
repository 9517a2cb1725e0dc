package daemon

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/verify"
)

// Drills says when snapshots are restored for practice.
type Drills struct {
	// Schedule are the ticks, by config.ParseSchedule; nil: only fresh snapshots are tried.
	Schedule cron.Schedule
	// Fresh is how far a snapshot is tried that has just arrived in a target; "": it waits for a tick.
	Fresh proof.Level
	// CoverWithin is the time within which each snapshot should be drilled.
	CoverWithin time.Duration
	// Run makes a run; verify.Runner.Run is one.
	Run func(ctx context.Context, req verify.Request) ([]*proof.Record, error)
}

// DefaultCover is the period of coverage where no drills are configured here: others may make them.
const DefaultCover = 30 * 24 * time.Hour

// drillRetries are the waits after a scheduled run that could not find out everything, for the targets concerned: a store that
// restarts is back after ten minutes, and a drill costs too much to go on trying until the next tick.
func drillRetries() []time.Duration {
	return []time.Duration{10 * time.Minute, time.Hour, 3 * time.Hour}
}

// drilling makes one run after the other: those of the schedule, and those of fresh snapshots between them.
type drilling struct {
	plan
	Drills
	now     func() time.Time // the wall clock
	state   stateFile
	done    func() // after every run
	metrics *metrics.Metrics
	log     *slog.Logger
	tell    *notifier

	last     answered
	slot     time.Time // the tick that was answered last
	again    bool      // not everything could be found out, and it is to be tried again
	left     []string  // these targets are; nil: all
	attempts int       // of that tick
	retry    time.Time // with monotonic reading

	wake  chan struct{}
	mu    sync.Mutex
	fresh map[string]bool // targets in which something has arrived
}

// newDrilling returns nil where none are configured.
func newDrilling(cfg Config, state stateFile, tell *notifier, done func()) *drilling {
	if cfg.Drills == nil {
		return nil
	}
	d := &drilling{
		Drills: *cfg.Drills, plan: plan{jitter: cfg.Jitter, node: cfg.Node + " drills"}, now: cfg.Now, state: state, done: done,
		metrics: cfg.Metrics, log: cfg.Log, tell: tell, wake: make(chan struct{}, 1), fresh: make(map[string]bool),
	}
	if d.Schedule == nil {
		return d
	}
	d.ticks = onWallClock(d.Schedule)
	var err error
	if d.last, err = state.load(); err != nil {
		d.metrics.Error(metrics.StageState)
		d.log.Warn("the last drill is not known: one is made now", "error", err)
	}
	return d
}

// arrived says that a target has a snapshot more. It does not wait. A nil drilling ignores it.
func (d *drilling) arrived(target string) {
	if d == nil || d.Fresh == "" {
		return
	}
	d.mu.Lock()
	d.fresh[target] = true
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (d *drilling) arrivals() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	targets := slices.Sorted(maps.Keys(d.fresh))
	clear(d.fresh)
	return targets
}

// run makes runs until ctx ends, and returns when no drill works any more.
func (d *drilling) run(ctx context.Context) {
	for ctx.Err() == nil {
		left := longestSleep
		if d.Schedule != nil {
			var slot time.Time
			if slot, left = d.next(d.now().UTC()); left <= 0 {
				d.answer(ctx, slot)
				continue
			}
		}
		if targets := d.arrivals(); len(targets) > 0 {
			d.try(ctx, verify.Request{Trigger: proof.TriggerFresh, Level: d.Fresh, Targets: targets})
			continue
		}
		d.tellWaiting(left)
		wait(ctx, d.wake, min(left, longestSleep))
	}
}

// next is the tick to answer and how long to wait before. The newest tick that is due comes before another attempt at an
// older one.
func (d *drilling) next(now time.Time) (slot time.Time, wait time.Duration) {
	slot, at := d.due(now, d.last.Slot)
	wait = at.Sub(now)
	if retry := time.Until(d.retry); d.again && retry < wait {
		return d.slot, retry
	}
	return slot, wait
}

// answer makes one attempt at a tick. A tick counts as answered after the first attempt: a daemon that is started again
// does not drill everything once more.
func (d *drilling) answer(ctx context.Context, slot time.Time) {
	if !slot.Equal(d.slot) {
		d.slot, d.left, d.attempts = slot, nil, 0
	}
	d.left, d.again = d.try(ctx, verify.Request{Trigger: proof.TriggerSchedule, Targets: d.left})
	if ctx.Err() != nil {
		return // the next start makes up for it
	}
	if waits := drillRetries(); d.attempts < len(waits) {
		d.retry = time.Now().Add(waits[d.attempts])
	} else {
		d.again = false
	}
	d.attempts++
	if d.last.Slot.Equal(slot) {
		return
	}
	d.last = answered{Slot: slot, Taken: d.now().UTC()}
	if err := d.state.save(d.last); err != nil { // the next start makes a run too many
		d.metrics.Error(metrics.StageState)
		d.log.Warn("a restart will make this tick's drills again", "error", err)
	}
}

// try makes a run and says whether to make it again, and for which targets: those where not everything could be found out,
// or the same where the run did not begin.
func (d *drilling) try(ctx context.Context, req verify.Request) (left []string, again bool) {
	d.tell.drilling("drilling")
	begun := false
	req.Done = func(r verify.Result) {
		begun = true
		d.report(r)
		outcome := r.Outcome()
		if outcome == proof.Passed || errors.Is(r.Err, repo.ErrNothing) {
			return
		}
		d.metrics.Error(metrics.StageVerify)
		if outcome == proof.Inconclusive {
			left = append(left, r.Target)
		}
	}
	_, err := d.Run(ctx, req)
	d.done()
	if err == nil || begun || ctx.Err() != nil {
		return left, len(left) > 0
	}
	d.metrics.Error(metrics.StageVerify)
	d.log.Error("no drill could be made", problem(err)...)
	return req.Targets, true
}

// report writes a line for each drill, and one for what keeps a record from being stored.
func (d *drilling) report(r verify.Result) {
	if errors.Is(r.Err, repo.ErrNothing) {
		d.log.Info("there is nothing to drill", "target", r.Target)
		return
	} else if r.Err != nil {
		d.log.Warn("nothing could be drilled", problem(r.Err, "target", r.Target)...)
		return
	}
	for _, one := range r.Record.Drills {
		attrs := []any{"target", r.Target, "snapshot", one.Snapshot, "level", string(one.Level), "seconds", one.Seconds}
		switch one.Outcome {
		case proof.Passed:
			d.log.Info("drill passed", append(attrs, "recovery_seconds", one.RecoverySeconds)...)
		case proof.Failed:
			d.log.Error("drill FAILED: this snapshot cannot be restored as it is", append(attrs, "cause", one.Cause, "hint", "run `drd verify "+one.Snapshot+"`")...)
		default:
			d.log.Warn("drill inconclusive: nothing was found out about the snapshot", append(attrs, "cause", one.Cause)...)
		}
		for _, w := range one.Warnings {
			d.log.Warn("drill: "+w, "target", r.Target, "snapshot", one.Snapshot)
		}
	}
	if r.Unrecorded != nil {
		d.log.Warn("the drill record is not stored yet", problem(r.Unrecorded, "target", r.Target, "record", r.Record.ID)...)
	}
}

func (d *drilling) tellWaiting(wait time.Duration) {
	if d.Schedule == nil {
		d.tell.drilling("")
		return
	}
	d.tell.drilling("next drill %s", clock(d.now().Add(wait)))
}
