package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

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
	// SpoolMax bounds the spool in bytes; DefaultSpoolMax if 0.
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
	cfg     Config
	spool   *spool
	marks   *marks
	losses  *losses
	workers []*worker
	changed chan struct{}

	mu   sync.Mutex
	lost map[string]int // by target, as last read
	kept int            // copies in the spool that no target waits for, as last counted
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
	q := &Queue{cfg: cfg, losses: openLosses(cfg.StateDir), changed: make(chan struct{}, 1), lost: make(map[string]int)}
	var err error
	if q.spool, err = openSpool(q.SpoolDir(), cfg.Cluster, wrap); err != nil {
		return nil, err
	}
	if q.marks, err = openMarks(marksDir(cfg.StateDir), wrap); err != nil {
		return nil, err
	}
	for _, t := range cfg.Targets {
		w, err := q.newWorker(t, filepath.Join(marksDir(cfg.StateDir), t.Name))
		if err != nil {
			return nil, err
		}
		q.workers = append(q.workers, w)
	}
	q.readLosses()
	return q, nil
}

func (q *Queue) newWorker(t Target, home string) (*worker, error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, fmt.Errorf("open the replication's state: %w", err)
	}
	guarded, err := repo.Open(storage.WithStallTimeout(t.Repo.Bucket(), q.cfg.StallTimeout), t.Repo.Cluster())
	if err != nil {
		return nil, err
	}
	t.Repo = guarded
	w := &worker{q: q, target: t, home: home, wake: make(chan struct{}, 1)}
	w.status = Status{Target: t.Name, State: StateIdle, Since: time.Now()}
	return w, nil
}

// SpoolDir is the directory of the spool, a repository of its own. Sealed objects are written there under temporary
// names before Begin.
func (q *Queue) SpoolDir() string { return filepath.Join(q.cfg.StateDir, "spool") }

// SpoolLocation names the spool as a bucket: file:///path.
func (q *Queue) SpoolLocation() string { return q.spool.repo.Bucket().Location() }

// Run works until ctx ends, and returns when nothing is under way any more. It takes up what other processes and
// earlier runs left in the spool.
func (q *Queue) Run(ctx context.Context) {
	q.tidy(ctx)
	var wg sync.WaitGroup
	for _, w := range q.workers {
		wg.Go(func() { w.run(ctx) })
	}
	wg.Go(func() { q.poll(ctx) })
	wg.Wait()
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
	for _, w := range q.workers {
		w.hurry.Store(true)
		w.signal()
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

func (q *Queue) wakeAll() {
	for _, w := range q.workers {
		w.signal()
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

// tidy finishes what a killed process began: it removes what is left of snapshots that are no entries any more, and the
// copies that are kept no longer. Only an entry is ever marked, so marks without a manifest are such a rest.
func (q *Queue) tidy(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // it takes no time, and half of it is what it is there to finish
	marked, err := q.marks.ids(ctx)
	if err != nil {
		q.cfg.Log.Error("the spool is not tidied", problem(err)...)
		return
	}
	for id, keys := range marked {
		has, err := q.spool.has(id)
		if err == nil && !has {
			err = errors.Join(q.spool.remove(id), q.marks.delete(ctx, keys...))
		}
		if err != nil {
			q.cfg.Log.Error("the spool is not tidied", problem(err, "snapshot", id.String())...)
		}
	}
	if err := q.trim(ctx); err != nil {
		q.cfg.Log.Error("the spool is not tidied", problem(err)...)
	}
}

// settle makes a snapshot a kept copy once no configured target has anything left to do for it, and removes what is kept
// no longer because of that.
func (q *Queue) settle(ctx context.Context, id repo.ID) error {
	if !q.finished(id) {
		return nil
	}
	return q.trim(ctx)
}

// remove deletes first the manifest, then the rest of the spooled copy, then the marks. Any part of that may be done
// already, or be done by another process now.
func (q *Queue) remove(ctx context.Context, id repo.ID) error {
	if err := q.spool.remove(id); err != nil {
		return err
	}
	return q.marks.forget(ctx, id)
}

func (q *Queue) readLosses() {
	totals, err := q.losses.totals()
	if err != nil {
		q.cfg.Log.Error("what was lost is not known", problem(err)...)
		return
	}
	q.mu.Lock()
	same := maps.Equal(q.lost, totals)
	q.lost = totals
	q.mu.Unlock()
	if !same {
		q.tell()
	}
}

// lose records that a target will never have a snapshot.
func (q *Queue) lose(ctx context.Context, target string, id repo.ID, reason string) error {
	fresh, err := q.losses.add(ctx, target, id, reason)
	if err != nil {
		return fmt.Errorf("lose %s for %s: %w", id, target, err)
	}
	if fresh {
		q.cfg.Log.Error("a snapshot is lost for a target", "snapshot", id.String(), "target", target, "reason", reason)
	}
	q.readLosses()
	return nil
}

// drop removes a snapshot from the spool that some targets do not have. The losses are recorded first.
func (q *Queue) drop(ctx context.Context, id repo.ID, reason string) error {
	for _, w := range q.workers {
		if w.judged(id) == done {
			continue
		}
		if err := q.lose(ctx, w.target.Name, id, reason); err != nil {
			return err
		}
	}
	err := q.remove(ctx, id)
	q.wakeAll()
	return err
}

// bound drops the oldest snapshots while the spool is too large: first those that every target has, which costs nothing,
// then those that wait. It never drops fresh, which has just been taken, nor
// the one with the newest date, which is another one after the clock was set back: they are the best that
// this node has, and may be the only copies.
func (q *Queue) bound(ctx context.Context, fresh repo.ID) error {
	if err := q.trim(ctx); err != nil {
		return err
	}
	entries, err := q.spool.entries()
	if err != nil {
		return err
	}
	total := sizeOf(entries)
	for _, e := range entries[:max(0, len(entries)-1)] {
		if total <= q.cfg.SpoolMax {
			return nil
		}
		if e.id == fresh {
			continue
		}
		if err := q.drop(ctx, e.id, "the spool was full"); err != nil {
			return err
		}
		total -= e.size
	}
	return nil
}
