package daemon

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/metrics"
)

const (
	// longestSleep is how late a host that was suspended, or whose clock jumped, notices: timers stand still in a
	// suspended host, so the wall clock is asked again.
	longestSleep = 30 * time.Second
	// shortestRetry and longestRetry bound the wait after a failure. All nodes fail together when a target does:
	// the wait is drawn from the whole range (full jitter), whose end doubles with each failure.
	shortestRetry = 30 * time.Second
	longestRetry  = 15 * time.Minute
	// extraEvery bounds the snapshots that are taken because a target damaged one: a target that damages all of them must
	// not make the node take one after the other.
	extraEvery = time.Hour
	// lateBy is how late a tick is answered before that is worth a line in the log.
	lateBy = time.Minute
)

// scheduler answers the ticks, one after the other.
type scheduler struct {
	plan
	now     func() time.Time // the wall clock
	state   stateFile
	backup  func(ctx context.Context, slot *time.Time) (*backup.Result, error)
	done    func() // after every attempt
	metrics *metrics.Metrics
	log     *slog.Logger
	tell    *notifier

	last     answered
	began    time.Time // of the backup that answered last, with monotonic reading; zero: not in this process
	failing  time.Time // the tick whose attempts fail
	failures int       // in a row, for that tick
	retry    time.Time // with monotonic reading

	wanted atomic.Bool // a fresh snapshot, though no tick is due
	extra  time.Time   // the last one that was taken for that, with monotonic reading
}

func newScheduler(cfg Config, state stateFile, tell *notifier, done func()) *scheduler {
	s := &scheduler{
		plan: plan{ticks: onWallClock(cfg.Schedule), jitter: cfg.Jitter, node: cfg.Node},
		now:  cfg.Now, state: state, backup: cfg.Backup, done: done, metrics: cfg.Metrics, log: cfg.Log, tell: tell,
	}
	var err error
	if s.last, err = state.load(); err != nil {
		s.metrics.Error(metrics.StageState)
		s.log.Warn("the last tick answered is not known: a snapshot is taken now", "error", err)
	}
	return s
}

// run answers ticks until ctx ends, and returns when no backup runs any more.
func (s *scheduler) run(ctx context.Context) {
	const loop = "snapshots"
	defer s.tell.pulse.away(loop)
	ctx = withProgress(ctx, func() { s.tell.pulse.within(longestStep, loop) })
	for ctx.Err() == nil {
		now := s.now().UTC()
		slot, wait := s.next(now)
		if wait <= 0 {
			s.tell.pulse.within(longestStep, loop)
			s.answer(ctx, slot)
			continue
		}
		s.tellWaiting(now.Add(wait))
		s.tell.pulse.within(longestSleep, loop)
		sleep(ctx, min(wait, longestSleep))
	}
}

// next is the tick to answer and how long to wait before.
func (s *scheduler) next(now time.Time) (slot time.Time, wait time.Duration) {
	slot, at := s.due(now, s.last.Slot)
	wait = at.Sub(now)
	if slot.After(now) && (s.silent() || s.owed()) {
		slot, wait = s.latest(now), 0
	}
	switch {
	case s.failures == 0:
	case slot.Equal(s.failing):
		wait = time.Until(s.retry)
	default: // the retries go on until the next tick is due
		wait = min(wait, time.Until(s.retry))
	}
	return slot, wait
}

// silent says that more time has passed since the last backup than ticks are apart: the wall clock was set
// back, by less than would make the answered tick one of the future.
func (s *scheduler) silent() bool {
	return !s.began.IsZero() && time.Since(s.began) > s.period(s.last.Slot)+s.jitter+clockSlack
}

// want asks for a snapshot between ticks: one that was taken turned out to be of no use in a target.
func (s *scheduler) want() { s.wanted.Store(true) }

// owed says that such a snapshot is to be taken now.
func (s *scheduler) owed() bool {
	return s.wanted.Load() && (s.extra.IsZero() || time.Since(s.extra) >= extraEvery)
}

// answer makes one attempt at a tick.
func (s *scheduler) answer(ctx context.Context, slot time.Time) {
	if !slot.Equal(s.failing) {
		s.failing, s.failures = slot, 0
	}
	if s.failures == 0 {
		s.logLate(slot)
	}
	if s.wanted.Swap(false) { // whatever it is taken for, it is fresh
		s.extra = time.Now()
	}
	s.tell.status("taking the snapshot of %s", clock(slot))
	began := time.Now()
	result, err := s.backup(ctx, &slot)
	switch {
	case taken(result):
		s.succeed(slot, began, result, err)
	case ctx.Err() != nil:
		s.log.Info("the snapshot under way was given up: the daemon stops", "slot", slot)
		return
	default:
		s.fail(slot, err)
	}
	s.done()
}

// taken says whether a backup answers its tick: it does when its snapshot is in the spool, from where it gets to the
// targets without another one.
func taken(r *backup.Result) bool { return r != nil }

func (s *scheduler) succeed(slot, began time.Time, r *backup.Result, err error) {
	took := time.Since(began)
	s.began, s.failing, s.failures = began, time.Time{}, 0
	s.last = answered{Slot: slot, Taken: s.now().UTC(), Snapshot: r.Manifest.ID}
	s.metrics.SnapshotTook(took)
	s.logTaken(r, took, err)
	if err := s.state.save(s.last); err != nil { // the next start takes a snapshot too many
		s.metrics.Error(metrics.StageState)
		s.log.Warn("a restart will take this tick's snapshot again", "error", err)
	}
}

func (s *scheduler) fail(slot time.Time, err error) {
	s.metrics.Error(metrics.StageSnapshot)
	s.failures++
	wait := backoff(s.failures)
	s.retry = time.Now().Add(wait)
	s.log.Error("snapshot failed", problem(err, "slot", slot, "attempt", s.failures, "retry_in", wait.Round(time.Second).String())...)
	s.tell.status("%s; the snapshot of %s failed (attempt %d): %s", s.lastTaken(), clock(slot), s.failures, firstLine(err))
}

// backoff is the wait after the given number of failures in a row, from 1.
func backoff(failures int) time.Duration {
	ceiling := longestRetry
	if failures < 6 { // 1, 2, 4, 8 minutes; a shift by more could overflow
		ceiling = min(longestRetry, shortestRetry<<failures)
	}
	return shortestRetry + rand.N(ceiling-shortestRetry+1)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
