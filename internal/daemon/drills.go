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
	// Spread bounds the delay of this node's ticks, as Config.Jitter does for snapshots; the larger of the two counts.
	// 0: none. All nodes read the same targets and load the same etcd cluster.
	Spread time.Duration
	// Fresh is how far a snapshot is tried that has just arrived in a target; "": it waits for a tick.
	Fresh proof.Level
	// CoverWithin is the time within which each snapshot should be drilled.
	CoverWithin time.Duration
	// Run makes a run; verify.Runner.Run is one.
	Run func(ctx context.Context, req verify.Request) ([]*proof.Record, error)
}

// DefaultCover is the period of coverage where no drills are configured here: others may make them.
const DefaultCover = 30 * 24 * time.Hour

// DefaultSpread is the delay that keeps the drills of several nodes apart: a drill of a few GiB is over by then.
const DefaultSpread = 15 * time.Minute

// drillRetries are the waits after a run that could not find out everything, for the targets concerned: a store that
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
	first    time.Time // when the first run of all is made, with monotonic reading
	slot     time.Time // the tick that was answered last
	again    bool      // not everything could be found out, and it is to be tried again
	left     []string  // these targets are; nil: all
	attempts int       // of that tick
	retry    time.Time // with monotonic reading

	wake  chan struct{}
	mu    sync.Mutex
	fresh map[string]arrival // by target
}

// arrival is something new in a target, to be tried.
type arrival struct {
	at       time.Time // not before, with monotonic reading
	attempts int       // that could not find it out
}

// newDrilling returns nil where none are configured.
func newDrilling(cfg Config, state stateFile, tell *notifier, done func()) *drilling {
	if cfg.Drills == nil {
		return nil
	}
	d := &drilling{
		Drills: *cfg.Drills, plan: plan{jitter: max(cfg.Jitter, cfg.Drills.Spread), node: cfg.Node + " drills"}, now: cfg.Now, state: state, done: done,
		metrics: cfg.Metrics, log: cfg.Log, tell: tell, wake: make(chan struct{}, 1), fresh: make(map[string]arrival),
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
	// A new version is installed on all nodes at once.
	d.first = time.Now().Add(d.delay(d.latest(d.now().UTC())))
	return d
}

// arrived says that a target has a snapshot more. It does not wait. A nil drilling ignores it.
func (d *drilling) arrived(target string) {
	if d == nil || d.Fresh == "" {
		return
	}
	d.mu.Lock()
	d.fresh[target] = arrival{}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // it is awake already
	}
}

// arrivals takes out those that are due.
func (d *drilling) arrivals() map[string]arrival {
	d.mu.Lock()
	defer d.mu.Unlock()
	due := make(map[string]arrival)
	for target, a := range d.fresh {
		if time.Until(a.at) <= 0 {
			due[target] = a
			delete(d.fresh, target)
		}
	}
	return due
}

// tryFresh makes a run for what has arrived. What could not be found out is tried again, as after a tick.
func (d *drilling) tryFresh(ctx context.Context, due map[string]arrival) {
	left, _ := d.try(ctx, verify.Request{Trigger: proof.TriggerFresh, Level: d.Fresh, Targets: slices.Sorted(maps.Keys(due))})
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, target := range left {
		a := due[target]
		_, newer := d.fresh[target]
		if waits := drillRetries(); !newer && a.attempts < len(waits) {
			d.fresh[target] = arrival{at: time.Now().Add(waits[a.attempts]), attempts: a.attempts + 1}
		}
	}
}

// run makes runs until ctx ends, and returns when no drill works any more.
func (d *drilling) run(ctx context.Context) {
	const loop = "drills"
	defer d.tell.pulse.away(loop)
	for ctx.Err() == nil {
		d.tell.pulse.away(loop) // a drill reads targets, and takes as long as that takes
		left := longestSleep
		if d.Schedule != nil {
			var slot time.Time
			if slot, left = d.next(d.now().UTC()); left <= 0 {
				d.answer(ctx, slot)
				continue
			}
		}
		if due := d.arrivals(); len(due) > 0 {
			d.tryFresh(ctx, due)
			continue
		}
		d.tellWaiting(left)
		d.tell.pulse.within(longestSleep, loop)
		wait(ctx, d.wake, min(left, longestSleep))
	}
}

// next is the tick to answer and how long to wait before. The newest tick that is due comes before another attempt at an
// older one.
func (d *drilling) next(now time.Time) (slot time.Time, wait time.Duration) {
	slot, at := d.due(now, d.last.Slot)
	if wait = at.Sub(now); d.last.Slot.IsZero() {
		wait = time.Until(d.first)
	}
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
		nothing := errors.Is(r.Err, repo.ErrNothing)
		if nothing && req.Trigger == proof.TriggerSchedule { // the first snapshot of a new target may be under way
			left = append(left, r.Target)
		}
		if outcome == proof.Passed || nothing {
			return
		}
		d.metrics.Error(metrics.StageVerify)
		if outcome == proof.Inconclusive && !slices.Contains(left, r.Target) {
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
		again := "run `drd verify " + one.Snapshot + "`"
		if a := one.Archived; a != nil {
			attrs = append(attrs, "kind", a.Kind, "revision", a.Revision, "segments", a.Segments, "compared", a.Compared)
			again = "run `drd verify " + a.Flag() + "`"
		}
		switch one.Outcome {
		case proof.Passed:
			d.log.Info("drill passed", append(attrs, "recovery_seconds", one.RecoverySeconds)...)
		case proof.Failed:
			d.log.Error("drill FAILED: this cannot be restored as it is", append(attrs, "cause", one.Cause, "hint", again)...)
		default:
			d.log.Warn("drill inconclusive: nothing was found out", append(attrs, "cause", one.Cause)...)
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
