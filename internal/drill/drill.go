package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/survey"
)

// ErrNoKey is what Config.Keys wraps when nothing on this host opens the object. The drill is then inconclusive.
var ErrNoKey = errors.New("no key on this host opens it")

// Config is what a Driller needs.
type Config struct {
	Host  string     // where the drill runs, for the log
	Build repo.Build // of this drd, for the log
	Trust *seal.Trust
	// ScratchDir is where plaintext lies during a drill. It is made 0700 if it is missing, and refused where other users
	// can write to it or own it, or where it is a symbolic link. Each drill has a directory of its own in it, which is wiped.
	ScratchDir string
	// Keys returns what opens the object of a manifest, and which kind of key that is: "retained file key", "identity"
	// or "file key". Without any it returns an error wrapping ErrNoKey.
	Keys func(ctx context.Context, r *repo.Repository, m *repo.Manifest) (ids []age.Identity, kind string, err error)

	// SegmentKeys is Keys for a segment of the archive; nil: nothing opens one.
	SegmentKeys func(ctx context.Context, r *repo.Repository, s *repo.Segment) (ids []age.Identity, kind string, err error)

	// TakeLastRoom lets a drill fill its file system. Otherwise it leaves free what the next snapshot of such a database
	// needs, and 1 GiB or a tenth of the file system, whichever is more: nodes drill where their etcd lives.
	TakeLastRoom bool

	Inspector snapshot.Inspector // Background is set
	Survey    survey.Reader      // Background is set
	Etcd      scratch.Launcher

	// Triples returns hashes that live members gave for revisions up to revision, of stores compacted at compact or
	// later. nil: none are known.
	Triples func(revision, compact int64) []Triple

	Log *slog.Logger     // nil: none
	Now func() time.Time // nil: time.Now
}

// Target is where a snapshot is fetched from.
type Target struct {
	Name string
	Repo *repo.Repository
}

// Triple is the hash that a live member gave for a revision.
type Triple struct {
	Member                    string // hex
	Revision, CompactRevision int64
	Hash                      uint32
	Seen                      time.Time
	EtcdClusterID             string // hex; "": not known. A triple of another cluster is never compared.
	// Since is when the log begins that the triple stems from; zero: not known. All of a log is about one history, which may
	// have begun by a restore: what was captured before is not compared.
	Since time.Time
}

// Watcher is told how far a drill is. Calls come from one goroutine at a time.
type Watcher = restore.Progress

// Driller drills. Several drills may run at once, each in a directory of its own.
type Driller struct{ cfg Config }

// New checks the configuration, makes the scratch directory, and wipes what drills that were killed have left in it.
func New(cfg Config) (*Driller, error) {
	switch {
	case cfg.Trust == nil:
		return nil, errors.New("drill: nobody is trusted to sign snapshots")
	case cfg.Keys == nil:
		return nil, errors.New("drill: no source of keys")
	case cfg.ScratchDir == "":
		return nil, errors.New("drill: no scratch directory")
	}
	abs, err := filepath.Abs(cfg.ScratchDir) // an etcd runs with another working directory
	if err != nil {
		return nil, fmt.Errorf("drill: scratch directory: %w", err)
	}
	cfg.ScratchDir = abs
	cfg.Inspector.Background, cfg.Survey.Background = true, true // a drill can wait for whatever else the machine does
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := prepare(abs); err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	return &Driller{cfg: cfg}, nil
}

// Drill tries one snapshot and says what came of it; it never fails itself. previous is the Kubernetes census of an
// earlier drill, to compare with; nil: none. w may be nil.
//
// Whatever happens, the directory of the drill is wiped before Drill returns, and the etcd that it started is gone.
func (d *Driller) Drill(ctx context.Context, t Target, id repo.ID, level proof.Level, previous *proof.Kubernetes, w Watcher) proof.Drill {
	if w == nil {
		w = silent{}
	}
	a := &attempt{d: d, target: t, id: id, previous: previous, watch: w, begin: time.Now()}
	a.out = proof.Drill{
		Snapshot: id.String(), CapturedAt: id.Time.UTC(), Revision: id.Revision, Level: level, Started: d.cfg.Now().UTC(),
	}
	a.run(ctx)
	a.out.Seconds = time.Since(a.begin).Seconds()
	d.cfg.Log.Info("drill", "host", d.cfg.Host, "drd", d.cfg.Build.Version, "target", t.Name, "snapshot", a.out.Snapshot, "level", level,
		"outcome", a.out.Outcome, "cause", a.out.Cause, "seconds", a.out.Seconds)
	return a.out
}

// attempt is one drill under way.
type attempt struct {
	d        *Driller
	target   Target
	id       repo.ID
	previous *proof.Kubernetes
	watch    Watcher
	begin    time.Time // the first request follows at once

	dir    string // of this drill, in scratch; "" while there is none
	work   *workDir
	entry  *repo.Entry
	ids    []age.Identity
	facts  snapshot.Facts            // of the store as it was fetched, then of the one that was made of it
	survey *survey.Survey            // of the same
	point  *Point                    // nil: the snapshot itself is tried
	way    *restore.Plan             // to the point
	keys   map[string][]age.Identity // of the objects of the way, by key in the target
	leases map[int64]int64           // seconds that each lease has left after a restore, by ID
	etcd   *scratch.Etcd             // nil while none runs
	booted time.Time                 // when the last etcd was started

	out proof.Drill
}

// run makes the checks. Whatever stands at its end is stopped and wiped, also when a check panics: then the panic goes on.
func (a *attempt) run(ctx context.Context) {
	defer a.finish(ctx)
	restored := a.look(ctx) && a.checkChain(ctx) && a.listed(ctx) && a.findKeys(ctx) && a.open(ctx) && a.restore(ctx)
	a.serve(ctx, restored)
}

// serve starts an etcd on what was restored, where the level wants it.
func (a *attempt) serve(ctx context.Context, restored bool) {
	if restored && a.out.Level.Boots() {
		_ = a.boot(ctx) && a.read(ctx) && a.write(ctx) && a.shutdown(ctx)
	}
}

// open makes the directory of the drill.
func (a *attempt) open(ctx context.Context) bool {
	work, err := newWorkDir(ctx, a.d.cfg.ScratchDir)
	if err != nil {
		return a.record(ctx, proof.Check{Name: a.next()}, unsure{err})
	}
	a.work, a.dir = work, work.path
	return true
}

// finish ends the drill: nothing runs and nothing lies around after it.
func (a *attempt) finish(ctx context.Context) {
	if a.etcd != nil {
		_ = a.etcd.Stop() // how it ended changes nothing: the drill is concluded
		a.etcd = nil
	}
	a.notReached()
	a.judgeBase()
	begin := time.Now()
	c := proof.Check{Name: CheckWipe}
	var err error
	if a.work == nil {
		err = skipped("nothing was written")
	} else if err = a.work.wipe(); err != nil {
		err = unsure{err}
	}
	c.Seconds = time.Since(begin).Seconds()
	if a.over() && err != nil && a.work != nil {
		a.warn("wipe: " + err.Error())
	}
	a.dir = ""
	a.record(ctx, c, err)
	a.end(proof.Passed, "")
}

type silent struct{}

func (silent) Step(string, int64) {}
func (silent) Add(int64)          {}
func (silent) Notice(string)      {}
