package replicate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/lock"
	"github.com/drd-project/drd/internal/repo"
)

const (
	// atOnce is how many segments are on the way to one target. An upload with its proof takes about six requests; four at a
	// time bring an hour of segments through a target 50 ms away in a minute, and hold 32 MiB of them at most.
	atOnce = 4
	// inRow is how many are taken before the spool and the target are judged again.
	inRow = 64
)

// follower brings segments to one target: the oldest first, for what can be restored ends at the first hole.
type follower struct {
	lane
	todo *todo
}

// run works until ctx ends.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		f.sleep(ctx, f.step(ctx))
	}
}

// step brings what is due, and returns how long there is nothing to do.
func (f *follower) step(ctx context.Context) time.Duration {
	waiting, due := f.recount()
	if waiting == 0 {
		f.enter(StateIdle)
		return untilWoken
	}
	if f.hurry.Swap(false) {
		f.retry, due = time.Time{}, 0
	}
	if wait := max(due, time.Until(f.retry)); wait > 0 {
		f.wait(wait)
		return wait
	}
	tasks := f.todo.take(inRow, f.skip(waiting))
	if len(tasks) == 0 { // nothing after those that are skipped is due
		tasks = f.todo.take(inRow, 0)
	}
	f.work(ctx, tasks)
	f.recount()
	return 0
}

// wait says that only what was set aside is left. After a failure of the target itself that is said already.
func (f *follower) wait(d time.Duration) {
	if f.attempts() > 0 {
		return
	}
	f.enter(StateWaiting)
	next := time.Now().Add(d)
	f.mu.Lock()
	f.standing.Next = next
	f.mu.Unlock()
}

func (f *follower) recount() (waiting int, due time.Duration) {
	waiting, failed, oldest, due := f.todo.count()
	f.count(waiting+failed, failed, oldest)
	return waiting, due
}

// skip is 0, and now and then another number while nothing succeeds: some that the target will not take must not hold up the
// others.
func (f *follower) skip(waiting int) int {
	failures := f.attempts()
	if waiting <= atOnce || failures%probeEvery != probeEvery-1 {
		return 0
	}
	return atOnce + failures/probeEvery*atOnce%(waiting-atOnce)
}

// row is the work on some segments.
type row struct {
	f        *follower
	stop     atomic.Bool // after the first failure, what has not begun is left
	mu       sync.Mutex
	brought  int
	failures []failedTask
}

type failedTask struct {
	*task
	err error
}

// work tries to bring segments to the target, several at a time. When none of them succeeds, the target is left alone for a
// while; when some do, only those that did not.
func (f *follower) work(ctx context.Context, tasks []*task) {
	r := &row{f: f}
	unlock, err := f.lock(ctx)
	if err != nil {
		r.fail(nil, err)
	} else {
		f.enter(StateUploading)
		r.do(ctx, tasks)
		if err := unlock(); err != nil {
			r.fail(nil, err)
		}
	}
	if ctx.Err() == nil {
		r.conclude()
	}
	for _, t := range tasks {
		if t.busy { // it was not begun, or the end came
			f.todo.giveBack(t, "", time.Time{}, t.failures, 0)
		}
	}
}

// lock keeps two processes from bringing segments to one target at once, and removes what a killed one left.
func (f *follower) lock(ctx context.Context) (release func() error, err error) {
	release, err = lock.File(ctx, f.lockPath(), func() {})
	if err != nil {
		return nil, err
	}
	if err := f.q.marks.sweep(f.target.Name, true); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

func (r *row) do(ctx context.Context, tasks []*task) {
	var group errgroup.Group
	group.SetLimit(min(atOnce, max(1, r.f.target.Repo.Bucket().Properties().Parallel)))
	for _, t := range tasks {
		if r.stop.Load() || ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if !r.stop.Load() {
				r.one(ctx, t)
			}
			return nil
		})
	}
	_ = group.Wait() // no error: each failure is noted
}

// one brings one segment.
func (r *row) one(ctx context.Context, t *task) {
	it, err := r.f.deliver(ctx, segmentRef(t.name), &attempt{began: time.Now()})
	final, isFinal := errors.AsType[*finalError](err)
	switch {
	case err == nil:
		r.mu.Lock()
		r.brought++
		r.mu.Unlock()
		r.f.todo.giveBack(t, done, it.until, 0, 0)
	case errors.Is(err, errVanished):
		r.f.todo.giveBack(t, superseded, time.Time{}, 0, 0)
	case isFinal:
		r.f.todo.giveBack(t, final.verdict, time.Time{}, 0, 0)
		r.fail(t, err)
	case ctx.Err() == nil:
		r.fail(t, err)
	}
}

func (r *row) fail(t *task, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop.Store(true)
	r.failures = append(r.failures, failedTask{t, err})
}

// conclude judges the target by what became of the row. A segment that failed before while the target took others does so by its
// own fault, until the target fails as a whole.
func (r *row) conclude() {
	if r.brought > 0 {
		r.f.succeed()
		r.f.todo.blame()
	}
	takes := r.f.attempts() == 0
	var whole *failedTask // what says that the target takes nothing
	for i, failed := range r.failures {
		_, isFinal := errors.AsType[*finalError](failed.err)
		switch {
		case isFinal:
			r.f.fail(failed.ref(), failed.err)
		case failed.task != nil && takes && (r.brought > 0 || failed.failures > 0):
			r.f.setAside(failed.task, failed.err)
		default:
			whole = &r.failures[i]
			r.f.todo.suspect(failed.task)
		}
	}
	if whole != nil {
		r.f.fail(whole.ref(), whole.err)
	}
}

func (t failedTask) ref() ref {
	if t.task == nil {
		return ref{}
	}
	return segmentRef(t.name)
}

// setAside leaves one segment alone for a while, because the target takes others.
func (f *follower) setAside(t *task, err error) {
	failures := t.failures + 1
	wait := backoff(failures)
	f.todo.giveBack(t, "", time.Time{}, failures, wait)
	attrs := segmentRef(t.name).attrs(problem(err, "target", f.target.Name)...)
	if failures == 1 {
		f.q.cfg.Log.Error("a target has no proved copy of a segment, and takes others", append(attrs, "retry_in", wait.Round(time.Second).String())...)
	}
	f.update(func(s *Standing) {
		s.LastError = err
		s.Failures++
	})
}

// judgeMark reads the mark of a segment.
func (f *follower) judgeMark(n repo.SegmentName) verdict { return f.judged(segmentRef(n)) }
