// Package backup makes one backup: capture, seal, sign, and enqueue for every target.
//
// It is the one road from a live member to a recovery point, used by the daemon, by `drd snapshot`
// and by the demo. The stages overlap where that is safe: a target receives the object while the working file is still
// being inspected, because what has no manifest is no backup yet. The manifest, which makes
// it one, is written only when everything it says is known.
//
// A backup is taken when it is in the spool, with its manifest, on the disk of this node. From there on package
// replicate is answerable for it: only the capture is one at a time on a node, and no target, slow or dead, delays
// the next one.
package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/lock"
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
	StateDir string // spool, working file, the queue's and the chain's state; made 0700
	Keys     *seal.KeyRing
	Signer   *seal.Signer
	Targets  []replicate.Target
	// Trust decides which manifests of the targets count as history; nil: only those of Signer.
	Trust        *seal.Trust
	Recipients   *seal.Recipients
	Inspector    snapshot.Inspector
	StallTimeout time.Duration
	// SpoolMax bounds what waits for targets, in bytes; replicate.DefaultSpoolMax if 0.
	SpoolMax int64
	// Keep is how many snapshots stay on this node after every target has them; none if 0.
	Keep int
	// ScanBelow is the database size in bytes up to which live members are asked to hash their whole store.
	ScanBelow int64
	// MembersSaid is how the members of a large database compare, without asking them: members.Log.Comparisons. nil: unknown.
	MembersSaid func(etcdClusterID string, now time.Time) []repo.Comparison
	// Forked is the timeline that the member was found not to continue, because it does not hold what was archived there; "":
	// none. The snapshot lies on another one then. It may be nil.
	Forked func() string

	Build repo.Build
	Log   *slog.Logger
}

// Observer is told how a backup goes. Its methods may be called from several goroutines and must return at once.
type Observer interface {
	// Step begins a stage, in words for people.
	Step(name string)
	// Progress tells the bytes received of the member and expected from it.
	Progress(done, total int64)
}

// Outcome is what became of a snapshot in one target.
type Outcome = replicate.Outcome

// Result is a snapshot that was taken.
type Result struct {
	Manifest *repo.Manifest
	Digest   string // of the manifest
	// Outcomes are the first attempts, one for each target; nil after Take, which makes none.
	Outcomes []Outcome
	// Spooled is the local repository that holds the snapshot until every target has it, "" once every target does, also
	// if it is kept there.
	Spooled string
}

// Runner makes backups. Only one of a node captures at a time, whatever process it is in.
type Runner struct {
	cfg   Config
	work  string // directory of the working file
	queue *replicate.Queue
}

// New makes the directories of a Runner.
func New(cfg Config) (*Runner, error) {
	if cfg.Trust == nil {
		cfg.Trust = seal.TrustOf(cfg.Signer.PublicKey(), "this node")
	}
	r := &Runner{cfg: cfg, work: filepath.Join(cfg.StateDir, "work")}
	if err := os.MkdirAll(r.work, 0o700); err != nil {
		return nil, fmt.Errorf("make the working directory: %w", err)
	}
	var err error
	r.queue, err = replicate.New(replicate.Config{
		Cluster: cfg.Cluster, StateDir: cfg.StateDir, Targets: cfg.Targets, Keys: cfg.Keys,
		SpoolMax: cfg.SpoolMax, Keep: cfg.Keep, Log: cfg.Log,
	})
	return r, err
}

// Queue is what brings the snapshots of Take to the targets while its Run runs.
func (r *Runner) Queue() *replicate.Queue { return r.queue }

// Run takes one snapshot and waits for the first attempt to bring it to each target; the queue need not run. With an
// error and a Result, the snapshot exists, but not in every target: the outcomes say where, and a daemon with the same
// state directory goes on trying.
func (r *Runner) Run(ctx context.Context, member Member, slot *time.Time, watch Observer) (*Result, error) {
	var working sync.WaitGroup
	defer working.Wait()
	attempting, stop := context.WithCancel(ctx)
	defer stop()
	working.Go(func() { r.queue.RunOnce(attempting) })

	result, delivery, err := r.take(ctx, member, slot, watch)
	if result == nil {
		return nil, err
	}
	watch.Step("commit and read back")
	result.Outcomes = delivery.Wait(ctx)
	stop()
	working.Wait()
	return result, errors.Join(r.conclude(result, delivery), err)
}

// Take takes one snapshot of member into the spool. slot is the tick of the schedule it answers, nil when taken by hand.
// Targets receive it from the queue, whose Run should be running. With an error and a Result the snapshot is there, and
// something was left behind.
func (r *Runner) Take(ctx context.Context, member Member, slot *time.Time, watch Observer) (*Result, error) {
	result, _, err := r.take(ctx, member, slot, watch)
	return result, err
}

func (r *Runner) take(ctx context.Context, member Member, slot *time.Time, watch Observer) (*Result, *replicate.Delivery, error) {
	release, err := lock.File(ctx, filepath.Join(r.cfg.StateDir, "snapshot.lock"), func() {
		watch.Step("wait for the snapshot that is being taken")
	})
	if err != nil {
		return nil, nil, fmt.Errorf("wait for the turn to capture: %w", err)
	}
	result, delivery, err := r.capture(ctx, member, slot, watch)
	return result, delivery, errors.Join(err, release())
}

func (r *Runner) capture(ctx context.Context, member Member, slot *time.Time, watch Observer) (*Result, *replicate.Delivery, error) {
	if err := r.queue.Sweep(); err != nil {
		return nil, nil, err
	}
	watch.Step("read the targets")
	history := r.readHistory(ctx)
	if err := history.newSecond(ctx); err != nil {
		return nil, nil, err
	}
	if err := r.makeRoom(ctx, member); err != nil {
		r.cfg.Log.Warn("kept copies cannot make room", "error", err)
	}

	watch.Step("capture and seal")
	taken, err := snapshot.Take(ctx, member, snapshot.Config{
		WorkDir: r.work, SpoolDir: r.queue.SpoolDir(), Recipients: r.cfg.Recipients, Inspector: r.cfg.Inspector,
		StallTimeout: r.cfg.StallTimeout, Progress: watch.Progress,
	})
	if err != nil {
		return nil, nil, err
	}
	run := &run{Runner: r, taken: taken, history: history, watch: watch, slot: slot}
	result, err := run.finish(ctx, member)
	return result, run.delivery, errors.Join(err, taken.Close())
}

// makeRoom has kept copies go where the capture needs their room on the disk: a new snapshot is worth more.
func (r *Runner) makeRoom(ctx context.Context, member Member) error {
	status, err := member.Status(ctx)
	if err != nil {
		return nil //nolint:nilerr // for the capture to report
	}
	free, err := disk.Free(r.queue.SpoolDir()) // the working file is on the same file system, below state_dir
	if err != nil {
		return err
	}
	if missing := snapshot.Room(status.DBSize) - free; missing > 0 {
		return r.queue.Yield(ctx, missing)
	}
	return nil
}

// run is one backup under way.
type run struct {
	*Runner
	taken   *snapshot.Taken
	history *history
	watch   Observer
	slot    *time.Time

	delivery *replicate.Delivery // nil until the object has its name in the spool
}

// finish inspects the capture while the targets receive it, then enqueues it. A capture that turns out to be damaged
// is withdrawn.
func (r *run) finish(ctx context.Context, member Member) (*Result, error) {
	r.watch.Step("inspect and upload")
	var placing error
	facts, err := r.taken.Inspect(ctx, func(revision int64) { placing = r.place(revision) })
	if err == nil {
		err = placing
	}
	var signed *repo.Signed
	if err == nil {
		signed, err = r.describe(ctx, member, facts)
	}
	if err == nil {
		err = r.delivery.Commit(ctx, signed)
	}
	if err != nil {
		if r.delivery != nil {
			err = errors.Join(err, r.delivery.Withdraw())
		}
		return nil, err
	}
	if err := r.history.save(signed); err != nil {
		// The chain goes on from the newest manifest in the targets; only its gap-free proof is weaker.
		r.cfg.Log.Warn("the chain's state is not saved", "error", err)
	}
	return &Result{Manifest: signed.Manifest, Digest: signed.Digest(), Spooled: r.queue.SpoolLocation()}, nil
}

// place hands the sealed object to the queue.
func (r *run) place(revision int64) (err error) {
	s, id := r.taken.Sealed, r.taken.ID(revision)
	r.delivery, err = r.queue.Begin(replicate.Payload{ID: id, Name: s.Name, Path: s.Path, Size: s.Size, SHA256: s.SHA256}, s.Key, r.taken.Start)
	return err
}

func (r *run) describe(ctx context.Context, member Member, facts snapshot.Facts) (*repo.Signed, error) {
	members, err := member.Members(ctx)
	if err != nil { // the backup is worth more than the member's name
		r.cfg.Log.Warn("the members are not known: their data is not compared", "error", err)
	}
	timeline, parent := r.history.timeline(r.cfg.Cluster, r.taken.Position(facts.Revision), r.forked())
	m := r.taken.Describe(facts, snapshot.Context{
		Cluster: r.cfg.Cluster, MemberName: memberName(members, r.taken.Status.MemberID),
		Timeline: timeline, Parent: parent, Slot: r.slot,
		Previous:   r.history.previous(r.taken.Status.MemberID),
		Compared:   r.compared(ctx, member, members, facts),
		Recipients: r.cfg.Recipients.Fingerprints(), Build: r.cfg.Build, Audit: r.auditEnd(ctx),
	})
	signed, err := repo.Sign(m, r.cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", m.ID, err)
	}
	return signed, nil
}

// auditEnd is where this node's audit log ends now; nil where it has none. The backup is worth more than it.
func (r *run) auditEnd(ctx context.Context) *repo.Audit {
	n, err := audit.NewestOf(ctx)
	if err != nil {
		r.cfg.Log.Warn("the manifest does not say where the audit log ends", "error", err)
	}
	if n == nil {
		return nil
	}
	return &repo.Audit{Host: repo.AuditHost(n.Host), Sequence: n.Sequence, SHA256: n.Hash}
}

// compared is how a small database compares with what live members say of theirs now, and of a large one, how the members
// compare with each other by what they have said.
func (r *run) compared(ctx context.Context, member Member, members []etcd.Member, facts snapshot.Facts) []repo.Comparison {
	if facts.DBSize >= r.cfg.ScanBelow {
		if r.cfg.MembersSaid == nil {
			return nil
		}
		return r.cfg.MembersSaid(etcd.FormatID(r.taken.Status.ClusterID), time.Now())
	}
	return r.taken.Compare(ctx, member, members, facts, r.cfg.ScanBelow)
}

func memberName(members []etcd.Member, id uint64) string {
	for _, m := range members {
		if m.ID == id {
			return m.Name
		}
	}
	return ""
}

// conclude says which targets do not have the snapshot, and where it is meanwhile.
func (r *Runner) conclude(result *Result, delivery *replicate.Delivery) error {
	var failed []error
	for _, o := range result.Outcomes {
		if o.Err != nil {
			failed = append(failed, o.Err)
		}
	}
	if !delivery.Spooled() {
		result.Spooled = ""
	}
	if len(failed) == 0 || result.Spooled == "" {
		return errors.Join(failed...)
	}
	lacking := "not every target has this snapshot"
	if len(failed) == len(result.Outcomes) {
		lacking = "no target has this snapshot"
	}
	return hint.New(hint.New(errors.Join(failed...), "the daemon goes on trying while it runs: systemctl status drd"),
		"%s; it is kept on this host: drd list --repo %s --cluster %s", lacking, result.Spooled, r.cfg.Cluster)
}
