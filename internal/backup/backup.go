// Package backup makes one backup: capture, seal, sign, spool, upload to every target, commit, read back.
//
// It is the one road from a live member to a recovery point, used by the daemon, by `drd snapshot`
// and by the demo. The stages overlap where that is safe: a target receives the object while the working file is still
// being inspected, because what has no manifest is no backup yet. The manifest, which makes
// it one, is written only when everything it says is known.
//
// Targets are independent: a dead one neither delays nor hides another. A snapshot that reached no target
// stays in the spool, which is laid out as a repository of its own.
package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
)

// Member is the protected member. *etcd.Client is one.
type Member interface {
	snapshot.Member
	snapshot.Hasher
	Members(ctx context.Context) ([]etcd.Member, error)
}

// Config is what a Runner needs to know.
type Config struct {
	Cluster  string // name in the repository
	StateDir string // spool, working file and the chain's state; made 0700
	Keys     *seal.KeyRing
	Signer   *seal.Signer
	Targets  []replicate.Target
	// Trust decides which manifests of the targets count as history; nil: only those of Signer.
	Trust        *seal.Trust
	Recipients   *seal.Recipients
	Inspector    snapshot.Inspector
	StallTimeout time.Duration
	// ScanBelow is the database size in bytes up to which live members are asked to hash their whole store.
	ScanBelow int64
	Build     repo.Build
	Log       *slog.Logger
}

// Observer is told how a backup goes. Its methods may be called from several goroutines and must return at once.
type Observer interface {
	// Step begins a stage, in words for people.
	Step(name string)
	// Progress tells the bytes received of the member and expected from it.
	Progress(done, total int64)
}

// Outcome is what became of a snapshot in one target.
type Outcome struct {
	Target   string
	Location string        // of the bucket
	Proved   time.Duration // from the start of the capture until the copy was read back; 0 if it was not
	Commit   time.Duration // from the start of the capture until the manifest was there; 0 if it is not
	Err      error
}

// Result is a finished backup.
type Result struct {
	Manifest *repo.Manifest
	Digest   string // of the manifest
	Outcomes []Outcome
	// Spooled is the local repository that holds the snapshot when no target does, else "".
	Spooled string
}

// Runner makes backups. Only one of a node runs at a time, whatever process it is in.
type Runner struct {
	cfg   Config
	spool *spool
}

// New makes the directories of a Runner.
func New(cfg Config) (*Runner, error) {
	if cfg.Trust == nil {
		cfg.Trust = seal.TrustOf(cfg.Signer.PublicKey(), "this node")
	}
	s, err := openSpool(filepath.Join(cfg.StateDir, "spool"), filepath.Join(cfg.StateDir, "work"), cfg.Cluster)
	if err != nil {
		return nil, err
	}
	return &Runner{cfg: cfg, spool: s}, nil
}

// Run takes one snapshot of member and brings it to every target. slot is the tick of the schedule it answers, nil
// when taken by hand. With an error and a Result, the snapshot exists, but not in every target:
// the outcomes say where.
func (r *Runner) Run(ctx context.Context, member Member, slot *time.Time, watch Observer) (*Result, error) {
	release, err := lock(ctx, r.cfg.StateDir, func() { watch.Step("wait for the snapshot that is being taken") })
	if err != nil {
		return nil, err
	}
	result, err := r.run(ctx, member, slot, watch)
	return result, errors.Join(err, release())
}

func (r *Runner) run(ctx context.Context, member Member, slot *time.Time, watch Observer) (*Result, error) {
	if err := r.spool.sweep(ctx); err != nil {
		return nil, err
	}
	watch.Step("read the targets")
	history := r.readHistory(ctx)
	if err := history.newSecond(ctx); err != nil {
		return nil, err
	}

	watch.Step("capture and seal")
	taken, err := snapshot.Take(ctx, member, snapshot.Config{
		WorkDir: r.spool.work, SpoolDir: r.spool.dir, Recipients: r.cfg.Recipients, Inspector: r.cfg.Inspector,
		StallTimeout: r.cfg.StallTimeout, Progress: watch.Progress,
	})
	if err != nil {
		return nil, err
	}
	run := &run{Runner: r, taken: taken, history: history, watch: watch, slot: slot}
	result, err := run.finish(ctx, member)
	return result, errors.Join(err, taken.Close())
}

// run is one backup under way.
type run struct {
	*Runner
	taken   *snapshot.Taken
	history *history
	watch   Observer
	slot    *time.Time

	payload replicate.Payload
	uploads []chan error // one for each target: the end of its upload
}

// finish inspects the capture while the targets receive it, then commits. The uploads have a context of their own, so
// that a capture which turns out to be damaged stops them.
func (r *run) finish(ctx context.Context, member Member) (*Result, error) {
	uploading, stop := context.WithCancel(ctx)
	defer stop()
	defer r.wait()

	r.watch.Step("inspect and upload")
	var placing error
	facts, err := r.taken.Inspect(ctx, func(revision int64) {
		if placing = r.place(revision); placing == nil {
			r.upload(uploading)
		}
	})
	if err == nil {
		err = placing
	}
	if err != nil {
		stop()
		r.wait()
		return nil, errors.Join(err, r.discard())
	}
	signed, err := r.describe(ctx, member, facts)
	if err == nil {
		err = r.spool.commit(ctx, signed)
	}
	if err != nil {
		stop()
		r.wait()
		return nil, errors.Join(err, r.discard())
	}
	result := &Result{Manifest: signed.Manifest, Digest: signed.Digest()}
	result.Outcomes = r.commitAll(ctx, signed)
	return result, r.conclude(ctx, signed, result)
}

// place gives the sealed object its name in the spool and keeps its key.
func (r *run) place(revision int64) error {
	id := r.taken.ID(revision)
	path, err := r.spool.place(r.taken.Sealed.Path, id, r.taken.Sealed.Name)
	if err != nil {
		return err
	}
	s := r.taken.Sealed
	r.payload = replicate.Payload{ID: id, Name: s.Name, Path: path, Size: s.Size, SHA256: s.SHA256}
	if err := r.cfg.Keys.Put(r.spool.repo.PayloadKey(id, s.Name), s.Key); err != nil {
		// Without the retained key the object can still be restored with an identity; only later proofs need one.
		r.cfg.Log.Warn("the file key is not retained on disk", "snapshot", id.String(), "error", err)
	}
	return nil
}

func (r *run) upload(ctx context.Context) {
	for _, t := range r.cfg.Targets {
		done := make(chan error, 1)
		r.uploads = append(r.uploads, done)
		go func() {
			done <- t.Upload(ctx, r.payload)
			close(done)
		}()
	}
}

// wait returns when no upload runs any more.
func (r *run) wait() {
	for _, done := range r.uploads {
		for range done {
		}
	}
}

// discard removes what a failed backup left in the spool. What reached a target has no manifest there.
func (r *run) discard() error {
	if r.payload.Path == "" {
		return nil
	}
	return errors.Join(
		r.spool.remove(r.payload.ID),
		r.cfg.Keys.Forget(r.spool.repo.PayloadKey(r.payload.ID, r.payload.Name)))
}

func (r *run) describe(ctx context.Context, member Member, facts snapshot.Facts) (*repo.Signed, error) {
	members, err := member.Members(ctx)
	if err != nil { // the backup is worth more than the member's name
		r.cfg.Log.Warn("the members are not known: their data is not compared", "error", err)
	}
	timeline, parent := r.history.timeline(r.cfg.Cluster, r.taken.Position(facts.Revision))
	m := r.taken.Describe(facts, snapshot.Context{
		Cluster: r.cfg.Cluster, MemberName: memberName(members, r.taken.Status.MemberID),
		Timeline: timeline, Parent: parent, Slot: r.slot,
		Previous:   r.history.previous(r.taken.Status.MemberID),
		Compared:   r.taken.Compare(ctx, member, members, facts, r.cfg.ScanBelow),
		Recipients: r.cfg.Recipients.Fingerprints(), Build: r.cfg.Build,
	})
	signed, err := repo.Sign(m, r.cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", m.ID, err)
	}
	return signed, nil
}

func memberName(members []etcd.Member, id uint64) string {
	for _, m := range members {
		if m.ID == id {
			return m.Name
		}
	}
	return ""
}

// commitAll brings the manifest to every target whose upload succeeds, and reads the copies back.
func (r *run) commitAll(ctx context.Context, signed *repo.Signed) []Outcome {
	r.watch.Step("commit and read back")
	outcomes := make([]Outcome, len(r.cfg.Targets))
	var g errgroup.Group
	for i, t := range r.cfg.Targets {
		o := &outcomes[i]
		o.Target, o.Location = t.Name, t.Repo.Bucket().Location()
		g.Go(func() error {
			o.Err = r.commitOne(ctx, t, signed, r.uploads[i], o)
			return nil
		})
	}
	_ = g.Wait() // every error is in its outcome
	return outcomes
}

func (r *run) commitOne(ctx context.Context, t replicate.Target, signed *repo.Signed, uploaded <-chan error, o *Outcome) error {
	if err := <-uploaded; err != nil {
		return err
	}
	if err := t.Commit(ctx, signed); err != nil {
		return err
	}
	o.Commit = time.Since(r.taken.Start)
	if err := t.Prove(ctx, signed.Manifest, r.taken.Sealed.Key); err != nil {
		return err
	}
	o.Proved = time.Since(r.taken.Start)
	return nil
}

// conclude keeps the spooled copy when no target has a proved one, and says what went wrong.
func (r *run) conclude(ctx context.Context, signed *repo.Signed, result *Result) error {
	if err := r.history.save(signed); err != nil {
		// The chain goes on from the newest manifest in the targets; only its gap-free proof is weaker.
		r.cfg.Log.Warn("the chain's state is not saved", "error", err)
	}
	var failed []error
	for _, o := range result.Outcomes {
		if o.Err != nil {
			failed = append(failed, o.Err)
		}
	}
	if len(failed) < len(result.Outcomes) || len(result.Outcomes) == 0 {
		if err := r.spool.remove(r.payload.ID); err != nil {
			failed = append(failed, err)
		}
	} else {
		result.Spooled = r.spool.repo.Bucket().Location()
	}
	// Not only after a failure: a backup that was killed while it uploaded has left its copy, too.
	dropped, err := r.spool.trim(ctx)
	for _, id := range dropped {
		r.cfg.Log.Error("the spool is full: its oldest snapshot was dropped", "snapshot", id.String())
	}
	if err != nil {
		failed = append(failed, err)
	}
	if result.Spooled == "" {
		return errors.Join(failed...)
	}
	return hint.New(errors.Join(failed...),
		"no target has this snapshot; it is kept on this host: drd list --repo %s --cluster %s", result.Spooled, r.cfg.Cluster)
}
