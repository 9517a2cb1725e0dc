package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/lock"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// DefaultSpoolMax is the bound of the spool in bytes where nothing else is configured. One snapshot of the largest
// database that etcd recommends (8 GiB) fits in if nothing of it compresses; of a usual one (200 MiB sealed), twelve
// days at four a day.
const DefaultSpoolMax = 10 << 30

// pollEvery is how often the spool is looked at for what another process enqueued, or left.
const pollEvery = 30 * time.Second

// Config is what a Queue needs to know.
type Config struct {
	Cluster  string // name in the repository
	StateDir string // the spool and the queue's memory are below it
	Targets  []Target
	Keys     *seal.KeyRing
	// SpoolMax bounds the spool in bytes, snapshots and segments; DefaultSpoolMax if 0.
	SpoolMax int64
	// Keep is how many snapshots stay in the spool after every target has them, the newest, so that a restore needs no
	// network; none if 0. They count toward SpoolMax, and are the first to go.
	Keep int
	// StallTimeout is how long a transfer may move no byte; storage.DefaultStall if 0.
	StallTimeout time.Duration
	Log          *slog.Logger
}

// Queue brings what is in the spool to every target. It is safe for concurrent use, also by several processes.
type Queue struct {
	cfg       Config
	spool     *spool
	marks     *marks
	losses    *losses
	gaps      *gaps
	backlog   *backlog
	workers   []*worker   // one for each target
	followers []*follower // in the same order
	changed   chan struct{}
	free      func() (int64, error) // bytes on the disk of the spool

	reading sync.Mutex // readLosses has one turn at a time: what was read earlier must not replace what was read later

	mu            sync.Mutex
	lostSnapshots map[string]int // by target, as last read
	lostRanges    map[string]int
	kept          int // copies in the spool that no target waits for, as last counted
}

// New makes the directories of a Queue. It asks nothing of the targets.
func New(cfg Config) (*Queue, error) {
	return open(cfg, func(b storage.Bucket) storage.Bucket { return b })
}

// open puts wrap around the buckets in which the queue keeps its own state.
func open(cfg Config, wrap func(storage.Bucket) storage.Bucket) (*Queue, error) {
	if cfg.SpoolMax == 0 {
		cfg.SpoolMax = DefaultSpoolMax
	}
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = storage.DefaultStall
	}
	q := &Queue{
		cfg: cfg, losses: openLosses(cfg.StateDir), gaps: openGaps(cfg.StateDir), backlog: newBacklog(), changed: make(chan struct{}, 1),
	}
	q.free = func() (int64, error) { return disk.Free(q.SpoolDir()) }
	var err error
	if q.spool, err = openSpool(q.SpoolDir(), cfg.Cluster, wrap); err != nil {
		return nil, err
	}
	if q.marks, err = openMarks(marksDir(cfg.StateDir), q.spool.repo, wrap); err != nil {
		return nil, err
	}
	for _, t := range cfg.Targets {
		if err := q.addTarget(t); err != nil {
			return nil, err
		}
	}
	q.readLosses()
	return q, nil
}

func (q *Queue) addTarget(t Target) error {
	home := filepath.Join(marksDir(q.cfg.StateDir), t.Name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("open the replication's state: %w", err)
	}
	guarded, err := repo.Open(storage.WithStallTimeout(t.Repo.Bucket(), q.cfg.StallTimeout), t.Repo.Cluster())
	if err != nil {
		return err
	}
	t.Repo = guarded
	w, f := &worker{}, &follower{}
	w.other, f.other = &f.lane, &w.lane
	f.kind = segmentRef(repo.SegmentName{Timeline: "any"})
	for _, l := range []*lane{&w.lane, &f.lane} {
		l.q, l.target, l.home, l.wake = q, t, home, make(chan struct{}, 1)
		l.standing = Standing{State: StateIdle, Since: time.Now()}
	}
	f.todo = newTodo(q.backlog, f.judgeMark)
	q.workers, q.followers = append(q.workers, w), append(q.followers, f)
	return nil
}

// lanes are those that bring such a thing, in the order of the targets.
func (q *Queue) lanes(r ref) []*lane {
	all := make([]*lane, len(q.workers))
	for i := range q.workers {
		all[i] = &q.workers[i].lane
		if r.isSegment() {
			all[i] = &q.followers[i].lane
		}
	}
	return all
}

func (q *Queue) followerOf(target string) *follower {
	return q.followers[slices.IndexFunc(q.followers, func(f *follower) bool { return f.target.Name == target })]
}

// SpoolDir is the directory of the spool, a repository of its own. Sealed objects are written there under temporary
// names before Begin.
func (q *Queue) SpoolDir() string { return filepath.Join(q.cfg.StateDir, "spool") }

// SegmentsDir is where segments grow before EnqueueSegment.
func (q *Queue) SegmentsDir() string { return filepath.Join(q.SpoolDir(), draftsDir) }

// Spool is the spool as a repository: an archiver finds there what it has enqueued and no target may have yet.
func (q *Queue) Spool() *repo.Repository { return q.spool.repo }

// SpoolLocation names the spool as a bucket: file:///path.
func (q *Queue) SpoolLocation() string { return q.spool.repo.Bucket().Location() }

// Run works until ctx ends, and returns when nothing is under way any more. It takes up what other processes and
// earlier runs left in the spool.
func (q *Queue) Run(ctx context.Context) {
	q.tidy(ctx)
	q.relist(ctx)
	q.settleSegments(ctx)
	q.sweepMarks()
	var wg sync.WaitGroup
	for i, w := range q.workers {
		wg.Go(func() { w.run(ctx) })
		wg.Go(func() { q.followers[i].run(ctx) })
	}
	wg.Go(func() { q.poll(ctx) })
	wg.Wait()
}

// sweepMarks removes what a killed process left of a mark. Where another process works on a lane, that one has done it.
func (q *Queue) sweepMarks() {
	for i, w := range q.workers {
		for _, l := range []*lane{&w.lane, &q.followers[i].lane} {
			release, err := lock.Try(l.lockPath())
			if err == nil && release != nil {
				err = errors.Join(q.marks.sweep(l.target.Name, l.kind.isSegment()), release())
			}
			if err != nil {
				q.cfg.Log.Warn("what a killed process left is not removed", problem(err, "target", l.target.Name)...)
			}
		}
	}
}

// RunOnce makes one attempt for each snapshot that is begun in this process, until ctx ends. What else is in
// the spool is left to the process that runs Run.
func (q *Queue) RunOnce(ctx context.Context) {
	var wg sync.WaitGroup
	for _, w := range q.workers {
		wg.Go(func() { w.runOnce(ctx) })
	}
	wg.Wait()
}

// Retry makes every target that waits after a failure try again at once.
func (q *Queue) Retry() {
	for i, w := range q.workers {
		w.attemptNow()
		q.followers[i].attemptNow()
	}
}

// Changed receives a value after a Status changed. It has room for one: several changes may be one value.
func (q *Queue) Changed() <-chan struct{} { return q.changed }

func (q *Queue) tell() {
	select {
	case q.changed <- struct{}{}:
	default: // it is told already
	}
}

func (q *Queue) wake(r ref) {
	for _, l := range q.lanes(r) {
		l.signal()
	}
}

func (q *Queue) poll(ctx context.Context) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		q.tidy(ctx)
		q.relist(ctx)
		q.readLosses()
		q.recount()
	}
}

// recount has every target tell how much waits for it, also one that is busy for hours or has stalled, and wakes its worker.
func (q *Queue) recount() {
	for _, w := range q.workers {
		if _, err := w.pending(); err != nil {
			q.cfg.Log.Error("what waits is not known", problem(err, "target", w.target.Name)...)
		}
		w.signal() // what was counted may be old by now
	}
}

// relist looks through the spool for segments that another process enqueued, or removed.
func (q *Queue) relist(ctx context.Context) {
	if err := q.backlog.list(context.WithoutCancel(ctx), q.spool); err != nil {
		q.cfg.Log.Error("what waits of the archive is not known", problem(err)...)
	}
	for _, f := range q.followers {
		f.recount()
		f.signal()
	}
}

// tidy finishes what a killed process began: it removes what is left of what is enqueued no more, and the
// copies that are kept no longer. Only what is enqueued is ever marked, so marks without a manifest are such a rest.
func (q *Queue) tidy(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // it takes no time, and half of it is what it is there to finish
	marked, err := q.marks.all(ctx)
	if err != nil {
		q.cfg.Log.Error("the spool is not tidied", problem(err)...)
		return
	}
	for r, keys := range marked {
		has, err := q.spool.has(r)
		if err == nil && !has {
			err = errors.Join(q.spool.remove(r), q.marks.delete(ctx, keys...))
		}
		if err != nil {
			q.cfg.Log.Error("the spool is not tidied", problem(err, r.noun(), r.String())...)
		}
	}
	if err := q.trim(ctx); err != nil {
		q.cfg.Log.Error("the spool is not tidied", problem(err)...)
	}
}

// settleSegments removes segments that a killed process did not come to remove after their last mark.
func (q *Queue) settleSegments(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	for n := range q.backlog.segments() {
		if err := q.settle(ctx, segmentRef(n)); err != nil {
			q.cfg.Log.Error("the spool is not tidied", problem(err, "segment", n.String())...)
			return
		}
	}
}

// settle releases something once no configured target has anything left to do for it: a segment goes, a snapshot becomes a
// kept copy, and what is kept no longer because of that goes.
func (q *Queue) settle(ctx context.Context, r ref) error {
	if !q.finished(r) {
		return nil
	}
	if r.isSegment() {
		return q.remove(ctx, r)
	}
	return q.trim(ctx)
}

// remove deletes first the manifest, then the rest of the spooled copy, then the marks. Any part of that may be done
// already, or be done by another process now.
func (q *Queue) remove(ctx context.Context, r ref) error {
	if err := q.spool.remove(r); err != nil {
		return err
	}
	if r.isSegment() {
		q.backlog.remove(r.segment)
	}
	return q.marks.forget(ctx, r)
}

func (q *Queue) readLosses() {
	q.reading.Lock()
	defer q.reading.Unlock()
	snapshots, err := q.losses.totals()
	ranges, err2 := q.gaps.totals()
	if err := errors.Join(err, err2); err != nil {
		q.cfg.Log.Error("what was lost is not known", problem(err)...)
		return
	}
	q.mu.Lock()
	same := maps.Equal(q.lostSnapshots, snapshots) && maps.Equal(q.lostRanges, ranges)
	q.lostSnapshots, q.lostRanges = snapshots, ranges
	q.mu.Unlock()
	if !same {
		q.tell()
	}
}
