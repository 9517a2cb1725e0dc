package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
)

// Run carries out a plan. Nothing exists under the final name before everything was checked. On an
// error, or when ctx ends, the working directories are removed and nothing else has changed.
//
// ids open the object; insp starts the child process that inspects the store; progress may be nil. A target
// that cannot deliver the snapshot is skipped for the next one that holds it. An error wraps
// seal.ErrNoIdentity when no identity opens it. What fails in a step is a *StepError, and what is the fault of this machine
// a *LocalError.
func Run(ctx context.Context, plan *Plan, ids []age.Identity, insp snapshot.Inspector, progress Progress) (*Result, error) {
	return RunWith(ctx, plan, ids, insp, progress, Options{})
}

// Options are for a caller that wants to learn more from a run than its result. The zero value is what Run does.
type Options struct {
	// Thorough also proves what a good signature vouches for. The plaintext is hashed and compared with its trailer; and
	// an object that cannot be opened is read to its end all the same, so that an error tells a damaged object
	// (repo.ErrDamaged) from an envelope that was broken before it was stored (seal.ErrDamaged), or a plaintext
	// that was (ErrPlaintext).
	Thorough bool
	// Store, if not nil, is called with the path of the snapshot's store as it was fetched, before it is brought to another point, and with what was read out of it, before
	// that is compared with the manifest. It must not change the file. Its error ends the run.
	Store func(ctx context.Context, path string, facts snapshot.Facts) error
	// CheckOnly makes nothing at the destination. Without Made the run ends when the snapshot was compared with its manifest.
	CheckOnly bool
	// Made, if not nil, gets the store at the point, checked and compared with what live members said: an etcd snapshot file without
	// trailer, closed, at Result.Revision, exactly as etcd had it: alarms, leases and versions are edited afterwards. It must not change
	// the file. Its error ends the run. With CheckOnly or InScratch nothing is installed after it.
	Made func(ctx context.Context, path string, r *Result) error
	// Direct takes the way that the plan names and no other: an object of it that cannot be used ends the run, also where another way
	// leads to the same point.
	Direct bool
	// Keys, if not nil, returns what opens the object of a key in its target, in place of the identities that the run was given. It is
	// called by several goroutines at once.
	Keys func(ctx context.Context, key string) ([]age.Identity, error)
}

// onlyBase: nobody wants more than the snapshot checked.
func (o Options) onlyBase() bool { return o.CheckOnly && o.Made == nil }

// RunWith is Run with options.
func RunWith(ctx context.Context, plan *Plan, ids []age.Identity, insp snapshot.Inspector, progress Progress, opt Options) (*Result, error) {
	if progress == nil {
		progress = silent{}
	}
	if len(plan.candidates) == 0 || plan.chain == nil {
		return nil, errNoPlan
	}
	dest, err := checkDestination(plan.request)
	if err != nil {
		return nil, err
	}
	ws, err := newWorkspace(dest)
	if err != nil {
		return nil, err
	}
	r := &run{plan: plan, request: plan.request, dest: dest, ws: ws, insp: insp, progress: progress, options: opt}
	begin := time.Now()
	err = r.all(ctx, ids)
	cleanup := ws.remove()
	if err != nil {
		return nil, errors.Join(err, cleanup)
	}
	if cleanup != nil {
		r.notice("the restore is done, but: %v", cleanup)
	}
	r.result.Seconds = time.Since(begin).Seconds()
	return &r.result, nil
}

// errNoPlan is a mistake of the caller.
var errNoPlan = errors.New("the plan names no source: MakePlan did not make it")

// run is one restore under way.
type run struct {
	plan     *Plan
	request  Request
	dest     destination
	ws       *workspace
	insp     snapshot.Inspector
	progress Progress
	options  Options

	aim      // as in the plan, until an object of it cannot be used
	manifest *repo.Manifest
	trailer  []byte         // SHA-256 of the store as it was fetched
	facts    snapshot.Facts // of the store before it is edited
	changed  bool           // it is not the store that was fetched any more
	revision int64          // the point, when told
	told     bool           // it is known
	since    int64          // from where on all of the past is in it; 0: not asked for, or not known yet
	replayed int64          // changes that segments added
	staging  *staging       // nil without segments
	unusable []string       // objects that were gone around
	readAll  bool           // the whole archive was listed
	edits    edits
	result   Result

	unopened []*repo.SegmentEntry // were asked for, and neither applied nor given up yet
}

func (r *run) all(ctx context.Context, ids []age.Identity) error {
	r.aim = r.plan.aim
	r.revision, r.told = r.chain.High, r.chain.Clock == nil
	r.result = Result{WALDir: r.dest.walDir, AlarmsCleared: []string{}, Notices: []string{}, Compared: []Comparison{}}
	steps := []func() error{func() error { return r.makeStore(ctx, ids) }}
	if !r.options.onlyBase() {
		steps = append(steps, func() error { return r.compareLive(ctx) }, func() error { return r.made(ctx) })
	}
	if !r.options.CheckOnly && !r.request.InScratch {
		steps = append(steps, func() error { return r.edit(ctx) }, func() error { return r.finish(ctx) })
	}
	for _, step := range steps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// step runs f as a named step, notes its time and puts the name to its error.
func (r *run) step(name string, total int64, f func() error) error {
	r.progress.Step(name, total)
	begin := time.Now()
	err := f()
	r.result.Steps = append(r.result.Steps, StepTime{Name: name, Seconds: time.Since(begin).Seconds()})
	if err != nil {
		return &StepError{Step: name, Err: err}
	}
	return nil
}

func (r *run) notice(format string, args ...any) {
	text := repo.Printable(fmt.Sprintf(format, args...))
	r.result.Notices = append(r.result.Notices, text)
	r.progress.Notice(text)
}

// fetch tries one target after the other until one delivers.
func (r *run) fetch(ctx context.Context, ids []age.Identity) error {
	var failed []error
	candidates := r.candidates()
	for i, c := range candidates {
		err := r.step(StepFetch, r.manifest.Plain.Size, func() error {
			var err error
			key := c.source.Repo.PayloadKey(c.entry.ID, r.manifest.Object.Name)
			if ids, err = r.keys(ids)(ctx, key); err != nil {
				return err
			}
			audit.Note(ctx, audit.Event{Name: audit.ObjectDownload, Outcome: audit.Begun, Object: key, Target: c.source.Name})
			defer func() {
				audit.Note(ctx, audit.Event{Name: audit.ObjectDecrypt, Object: key, Target: c.source.Name, Err: err})
			}()
			r.trailer, err = fetch(ctx, c.source.Repo, r.manifest, ids, r.ws.path(scratchDB), r.mode(), r.progress.Add)
			return err
		})
		if err == nil {
			r.result.Source = c.origin()
			r.result.ObjectBytes += r.manifest.Object.Size
			return nil
		}
		failed = append(failed, fmt.Errorf("fetch from %s: %w", c.source.Name, err))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !curableCopy(err, r.manifest, ids) {
			break
		}
		if i+1 < len(candidates) {
			r.notice("%v; going on with %s", failed[i], candidates[i+1].source.Name)
			if err := os.Remove(r.ws.path(scratchDB)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove the incomplete store: %w", err)
			}
		}
	}
	err := errors.Join(failed...)
	if errors.Is(err, seal.ErrDamaged) || errors.Is(err, storage.ErrNotExist) {
		err = hint.New(err, "run `drd list` and choose another target or another snapshot")
	}
	return &fetchError{err}
}

// mode is how closely a fetch looks.
func (r *run) mode() fetchMode {
	return fetchMode{hash: r.options.Thorough || r.plan.Signature.State != SignatureVerified, toEnd: r.options.Thorough}
}

// curable reports whether another object may do better.
func curable(err error) bool {
	var here *LocalError
	return !errors.As(err, &here) && !errors.Is(err, seal.ErrNoIdentity)
}

// curableCopy reports whether another copy of a snapshot may do better. That no identity opens this one says nothing where
// the manifest names one of theirs: the copy was changed in its header, or another object was put in its place.
func curableCopy(err error, m *repo.Manifest, ids []age.Identity) bool {
	return curable(err) || errors.Is(err, seal.ErrNoIdentity) && mayOpen(m, ids)
}

// mayOpen reports whether the object was sealed for one of ids, as far as that is known without it.
func mayOpen(m *repo.Manifest, ids []age.Identity) bool {
	return slices.ContainsFunc(ids, func(id age.Identity) bool {
		fingerprint := seal.Fingerprint(id)
		return fingerprint == "" || slices.Contains(m.Object.Recipients, fingerprint)
	})
}

// check proves that the store is sound and the one that the manifest describes.
func (r *run) check(ctx context.Context) error {
	return r.step(StepCheck, r.manifest.DBSize, func() error {
		var err error
		debug.FreeOSMemory() // of the download: the inspecting child needs its own
		r.facts, err = r.insp.Inspect(ctx, r.ws.path(scratchDB), nil)
		if err != nil {
			return fmt.Errorf("check snapshot %s: %w", r.manifest.ID, err)
		}
		r.result.Facts = r.facts
		if r.options.Store != nil {
			if err := r.options.Store(ctx, r.ws.path(scratchDB), r.facts); err != nil {
				return err
			}
		}
		return compareFacts(r.manifest, r.facts)
	})
}

func (r *run) edit(ctx context.Context) error {
	var err error
	if r.edits, err = planEdits(r.facts, r.request); err != nil {
		return &StepError{Step: StepEdit, Err: err}
	}
	r.result.Bumped = r.edits.bump
	r.result.LeasesAdded = len(r.edits.leases)
	r.result.AlarmsCleared = append(r.result.AlarmsCleared, r.facts.Alarms...)
	if r.edits.none() {
		return nil
	}
	r.changed = true
	return r.step(StepEdit, 0, func() error { return applyEdits(r.ws.path(scratchDB), r.edits) })
}

// made tells of the store at the point, and hands it on.
func (r *run) made(ctx context.Context) error {
	r.result.Revision = r.facts.Revision
	r.result.Since = min(r.since, r.facts.Revision)
	if r.replayed > 0 {
		r.result.Segments, r.result.Replayed = len(r.chain.Segments), r.replayed
	}
	if !r.request.At.IsZero() {
		r.result.At, r.result.EarlierSeconds = &r.request.At, r.plan.Wanted.EarlierSeconds
	}
	r.result.HashKV = repo.HashKV{Hash: r.facts.HashKV, Revision: r.facts.Revision, CompactRevision: r.facts.CompactRevision}
	if r.options.Made == nil {
		return nil
	}
	return r.step(StepMade, 0, func() error { return r.options.Made(ctx, r.ws.path(scratchDB), &r.result) })
}

func applyEdits(path string, e edits) error {
	db, err := openStore(path)
	if err != nil {
		return err
	}
	if err := e.apply(db); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("close the edited store: %w", err)
	}
	return nil
}
