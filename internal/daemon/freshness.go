package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
)

const (
	// lookEvery is how often targets and etcd are asked when no backup of this node gives a reason to.
	lookEvery = 5 * time.Minute
	// readTimeout bounds the reading of one catalogue: a target that is slower than this is as good as dead.
	readTimeout = 4 * time.Minute
	// proofsEvery is how often the drill records are listed when no drill of this node gives a reason to: other hosts add a
	// few a day.
	proofsEvery = 30 * time.Minute
	// askTimeout bounds the question for the revision, connecting included.
	askTimeout = 30 * time.Second
)

// Reader reads the catalogue of one target.
type Reader struct {
	Target   string // name in metrics and logs
	Location string // of it, for people
	Read     func(ctx context.Context) (*repo.Catalogue, error)
	// Proofs reads the drill records that may be about something in the catalogue; nil: they are not asked for.
	Proofs func(ctx context.Context, c *repo.Catalogue) (*proof.History, error)
	// Window reads what the catalogue and the archive can restore together; nil: there is no archive.
	Window func(ctx context.Context, c *repo.Catalogue) (*restore.Window, error)
}

// freshness keeps the metrics that say how old the backups are. It reads them from the targets, so that
// they tell the cluster's state whichever node took a snapshot, and nothing that was only believed to be stored.
type freshness struct {
	readers  []Reader
	revision func(ctx context.Context) (int64, error)
	now      func() time.Time
	metrics  *metrics.Metrics
	log      *slog.Logger
	tell     *notifier
	diverged *divergence
	cover    time.Duration       // within which each snapshot should be drilled
	arrived  func(target string) // a look found another newest snapshot; nil: nobody wants to know
	wake     []chan struct{}     // one for each reader

	mu    sync.Mutex
	known map[string]found // by target: what the last look that succeeded found
	runs  int              // of drills that ended
}

// found is what matters of one target's catalogue.
type found struct {
	newest   *repo.Entry // that can be restored; nil: none
	compared *repo.Entry // the newest that says whether members differ; nil: none
	proofs   proofs
	proofsAt time.Time // when they were read, with monotonic reading; zero: they are to be read
}

func newFreshness(cfg Config, tell *notifier) *freshness {
	f := &freshness{
		readers: cfg.Readers, revision: cfg.Revision, now: cfg.Now, metrics: cfg.Metrics, log: cfg.Log, tell: tell,
		diverged: &divergence{metrics: cfg.Metrics}, cover: DefaultCover, known: make(map[string]found),
	}
	if cfg.Drills != nil {
		f.cover = cfg.Drills.CoverWithin
	}
	for range f.readers {
		f.wake = append(f.wake, make(chan struct{}, 1))
	}
	return f
}

// again asks for another look at every target soon. It does not wait.
func (f *freshness) again() {
	for _, c := range f.wake {
		select {
		case c <- struct{}{}:
		default: // it is asked for already
		}
	}
}

// drilled asks for another look soon, at the drill records too. It does not wait.
func (f *freshness) drilled() {
	f.mu.Lock()
	f.runs++
	for target, one := range f.known {
		one.proofsAt = time.Time{}
		f.known[target] = one
	}
	f.mu.Unlock()
	f.again()
}

// proofsDue says whether the records are to be read, and how many runs have ended before.
func (f *freshness) proofsDue(target string) (runs int, due bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.known[target].proofsAt
	return f.runs, at.IsZero() || time.Since(at) >= proofsEvery
}

// run looks until ctx ends. Targets are looked at independently: a dead one does not delay another.
func (f *freshness) run(ctx context.Context) {
	var wg sync.WaitGroup
	for i, r := range f.readers {
		wg.Go(func() {
			f.repeat(ctx, f.wake[i], readTimeout, "target "+r.Target, metrics.StageCatalogue,
				func(ctx context.Context) error { return f.look(ctx, r) })
		})
	}
	if f.revision != nil {
		wg.Go(func() {
			f.repeat(ctx, nil, askTimeout, "etcd", metrics.StageEtcd, f.askRevision)
		})
	}
	wg.Wait()
}

// repeat calls ask now, at every wake and every lookEvery. It counts each failure, and logs the first and the end of them.
func (f *freshness) repeat(ctx context.Context, wake <-chan struct{}, timeout time.Duration, what string, stage metrics.Stage, ask func(context.Context) error) {
	failing := false
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, timeout)
		err := ask(limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f.metrics.Error(stage)
			if !failing {
				f.log.Error("metrics cannot be refreshed", problem(err, "from", what)...)
			}
		case failing:
			f.log.Info("metrics are refreshed again", "from", what)
		}
		failing = err != nil
		wait(ctx, wake, lookEvery)
	}
}

func wait(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

func (f *freshness) askRevision(ctx context.Context) error {
	revision, err := f.revision(ctx)
	if err != nil {
		return err
	}
	f.metrics.SetEtcdRevision(revision)
	return nil
}

// look reads one target and publishes what it and the cluster have now.
func (f *freshness) look(ctx context.Context, r Reader) error {
	c, err := r.Read(ctx)
	if err == nil && unreadable(c) != nil { // pruned between the listing and the reading, mostly: what is there now is listed again
		c, err = r.Read(ctx)
	}
	if err != nil {
		return err
	}
	f.note(r.Target, c)
	return errors.Join(unreadable(c), f.lookForProofs(ctx, r, c))
}

// note publishes a catalogue, as the drill records judge it that were read last.
func (f *freshness) note(target string, c *repo.Catalogue) {
	now := f.now()
	one := find(c, now)
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.known[target]
	one.proofs, one.proofsAt = before.proofs, before.proofsAt
	f.known[target] = one
	f.metrics.SetTarget(target, targetMetrics(c, one.newest, one.proofs.history.Sound(c, now)))
	f.publish()
	if f.arrived != nil && one.newest != nil && (before.newest == nil || before.newest.ID != one.newest.ID) {
		f.arrived(target)
	}
}

// lookForProofs reads what was proved of the target. Records that cannot be read leave standing what was known.
func (f *freshness) lookForProofs(ctx context.Context, r Reader, c *repo.Catalogue) error {
	runs, due := f.proofsDue(r.Target)
	if r.Proofs == nil || !due {
		return nil
	}
	at := time.Now()
	h, err := r.Proofs(ctx, c)
	if err != nil {
		return err
	}
	p := summarize(h, c, f.cover, f.now())
	f.metrics.SetProof(r.Target, p.Proof)
	f.keepProofs(r.Target, p, runs, at)
	f.note(r.Target, c) // a snapshot that stands failed is not the one that counts
	return h.Unreadable()
}

// keepProofs takes over what records say that were read at a time, when so many runs had ended.
func (f *freshness) keepProofs(target string, p proofs, runs int, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.known[target]
	if p.truncated && !one.proofs.truncated {
		f.log.Warn("a target holds more drill records than are read: what only the oldest say is not in the metrics", "target", target, "read", len(p.history.Records()))
	}
	if f.runs != runs { // one ended meanwhile, and its records may have come too late
		at = time.Time{}
	}
	one.proofs, one.proofsAt = p, at
	f.known[target] = one
	f.publishProofs()
}
