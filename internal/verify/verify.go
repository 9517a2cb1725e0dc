// Package verify is a run of drills: it chooses which snapshots of which targets are tried now, tries them one after the
// other, and writes down what came of it. drd verify and the daemon share it.
//
// Targets and what earlier records say of them flow in, signed records flow out. One target that cannot be read keeps no
// other from being tried. On one host a single run works at a time: a drill needs the disk and the processor that
// etcd may need beside it.
//
// What a run could not find out is never told as corruption, and never as proof: it is inconclusive in the record, or an
// error beside the records where there is no snapshot to speak of.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/lock"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Driller makes one drill; *drill.Driller does.
type Driller interface {
	Drill(ctx context.Context, t drill.Target, id repo.ID, level proof.Level, previous *proof.Kubernetes, w drill.Watcher) proof.Drill
	DrillPoint(ctx context.Context, t drill.Target, p drill.Point, level proof.Level, previous *proof.Kubernetes, w drill.Watcher) (proof.Drill, error)
}

// Config is what a Runner works with. Fields without "nil", "empty" or 0 in their comment are required.
type Config struct {
	Host    string // names this host in records
	Targets []drill.Target
	Driller Driller
	Trust   *seal.Trust
	// OwnOnly says that Trust is this host's own key and nothing else, because nobody has said whom to trust. What other nodes
	// have signed is then not tried: with an unknown signer it would fail, and nothing is wrong with it.
	OwnOnly bool
	// Signer signs the records; nil: there are none in the targets, what a run found is told to the caller only.
	Signer *seal.Signer
	// StateDir keeps the lock of this host's runs, and the records that no target took yet; made 0700 if it is missing.
	// Empty: neither is kept.
	StateDir string
	// CoverWithin is the time in which every retained snapshot should be drilled, RunsPerPeriod how many scheduled runs
	// it has. 0: no coverage is counted, and a run takes one older snapshot.
	CoverWithin   time.Duration
	RunsPerPeriod int
	// CanOpen says whether a key for the object is at hand, so that no choice falls on one that cannot be opened.
	CanOpen func(*repo.Manifest) bool
	// CanOpenSegment is CanOpen for a segment of the archive; nil: there is one for all.
	CanOpenSegment func(*repo.Segment) bool
	Build          repo.Build
	Log            *slog.Logger
	Now            func() time.Time // nil: the machine's clock
}

// Request is what to try.
type Request struct {
	Trigger string // one of proof.Trigger…; with proof.TriggerFresh, the newest snapshot unless it was tried already
	// Targets names where to read; empty: every target in turn.
	Targets []string
	// ID names one snapshot, or is the unique beginning of its name; "": the newest one and older ones, as
	// proof.Select chooses: as many as coverage needs on the schedule, else one; then the newest archived revision and another one, and one that is known to be bad.
	ID string
	// Revision or At names one point of the archive, and nothing else is tried. At is taken to the second. Not both, and not with ID.
	Revision int64
	At       time.Time
	Level    proof.Level   // "": proof.LevelDrill
	Watcher  drill.Watcher // nil: nobody watches
	// Done hears of each snapshot that was tried, when its record is stored or kept, and of each target where none could be;
	// nil: nobody does. It does not hear of targets where nothing was left to do, or to find out when ctx ended.
	Done func(Result)
}

// Result is what became of one snapshot of a target, or of a target where none could be tried.
type Result struct {
	Target string
	Record *proof.Record // of the one drill; nil: nothing could be tried, for the reason Err
	Err    error
	// Recorded says that the target holds the signed record. Unrecorded says why not; with a nil Signer both are zero.
	Recorded   bool
	Unrecorded error
}

// Outcome is what the drill came to, or inconclusive where nothing could be tried.
func (r Result) Outcome() proof.Outcome {
	if r.Record == nil {
		return proof.Inconclusive
	}
	return Outcome(r.Record)
}

// Runner makes runs. It is safe for concurrent use; the runs are made one after the other.
type Runner struct {
	cfg Config
	// turn has room for one run of this process; the lock file keeps other processes out.
	turn    chan struct{}
	pending *proof.Pending // nil without a StateDir or a Signer
}

// New returns a Runner. It fails where the state directory cannot be used.
func New(cfg Config) (*Runner, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Runner{cfg: cfg, turn: make(chan struct{}, 1)}
	if cfg.StateDir == "" {
		return r, nil
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if cfg.Signer == nil {
		return r, nil
	}
	var err error
	if r.pending, err = proof.OpenPending(cfg.StateDir); err != nil {
		return nil, err
	}
	return r, nil
}

// Run makes one run against each of the targets in turn and returns a record for each drill, whether it could be stored or not. A
// target without a record is an error beside them: it cannot be read, or has nothing to try, which wraps repo.ErrNothing. For
// proof.TriggerFresh a target where nothing is left to do is neither.
//
// When ctx ends, what was found out until then is kept for the next run to store.
func (r *Runner) Run(ctx context.Context, req Request) ([]*proof.Record, error) {
	if req.Level == "" {
		req.Level = proof.LevelDrill
	}
	if err := req.checkPoint(r.now()); err != nil {
		return nil, err
	}
	targets, err := r.targets(req.Targets)
	if err != nil {
		return nil, err
	}
	release, err := r.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	var records []*proof.Record
	var failed []error
	done := func(result Result) {
		if result.Err != nil {
			failed = append(failed, &TargetError{Target: result.Target, Err: result.Err})
		} else {
			records = append(records, result.Record)
		}
		if req.Done != nil {
			req.Done(result)
		}
	}
	for _, t := range targets {
		if ctx.Err() != nil {
			break
		}
		r.against(ctx, t, req, done)
	}
	if ctx.Err() != nil {
		failed = append(failed, context.Cause(ctx))
	}
	return records, errors.Join(failed...)
}

// TargetError is why there is no record of a target.
type TargetError struct {
	Target string
	Err    error
}

func (e *TargetError) Error() string { return fmt.Sprintf("verify %s: %s", e.Target, e.Err) }
func (e *TargetError) Unwrap() error { return e.Err }

// targets are the ones of these names, in the order of the configuration.
func (r *Runner) targets(names []string) ([]drill.Target, error) {
	if len(names) == 0 {
		return r.cfg.Targets, nil
	}
	var known []string
	var chosen []drill.Target
	wanted := make(map[string]bool)
	for _, n := range names {
		wanted[n] = true
	}
	for _, t := range r.cfg.Targets {
		known = append(known, t.Name)
		if wanted[t.Name] {
			chosen = append(chosen, t)
			delete(wanted, t.Name)
		}
	}
	for _, n := range names {
		if wanted[n] {
			return nil, hint.New(fmt.Errorf("%w %q", ErrNoTarget, n), "the targets are %s", strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

// ErrNoTarget is wrapped when a request names a target that there is not.
var ErrNoTarget = errors.New("no target is called")

// acquire waits for the runs before this one, of this process and of others.
func (r *Runner) acquire(ctx context.Context) (release func(), err error) {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if r.cfg.StateDir == "" {
		return func() { <-r.turn }, nil
	}
	unlock, err := lock.File(ctx, filepath.Join(r.cfg.StateDir, "verify.lock"), func() {
		r.cfg.Log.Warn("another run of drills works on this host: waiting for it")
	})
	if err != nil {
		<-r.turn
		return nil, fmt.Errorf("wait for other runs of drills: %w", err)
	}
	return func() {
		if err := unlock(); err != nil {
			r.cfg.Log.Warn("the lock of drills is not released", "error", err)
		}
		<-r.turn
	}, nil
}
