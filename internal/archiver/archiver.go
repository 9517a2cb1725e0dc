// Package archiver keeps the archive going: between two snapshots it has every change of the cluster brought to the targets.
//
// It decides what package follow cannot: which node writes, from where it goes on, what begins a new timeline, and what a gap is.
// One node is enough, so the one beside the raft leader writes, and the others look whether the archive in the targets moves. When
// it does not, they write as well: two writers cost space, and none costs the changes. Segments go into the replication
// queue; where the archive has come is remembered after that, so a crash at any instant repeats a range and loses none.
//
// What a watch cannot bring, because the archive is too far behind or just begins, is a hole, and segments beyond a hole restore
// nothing. So a snapshot that reaches beyond it is asked for, again and again until it is there, across restarts. It holds every
// revision since the last compaction: the hole is a gap only as far as that has overtaken the archive. Every fork, and every change of
// what a watch does not see, asks for a snapshot too.
package archiver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Config is what an Archiver needs to know. All of it is required, but for what says nil or 0.
type Config struct {
	Cluster  string // name in the repository
	StateDir string // keeps archive.json
	// Connect makes a connection for one attempt; the Archiver closes it.
	Connect    func(ctx context.Context) (*etcd.Client, error)
	Queue      *replicate.Queue
	Targets    []replicate.Target // that the queue serves: what they hold is read for the position
	Trust      *seal.Trust
	Signer     *seal.Signer
	Recipients *seal.Recipients
	Build      repo.Build

	FlushInterval time.Duration // how long a change waits at most before it is on its way; 0: 5 s
	// Checkpoints are the newest hashes that live members gave; nil: none.
	Checkpoints func() []repo.Checkpoint
	// Last is this node's newest manifest, nil where it has taken none.
	Last func() *repo.Manifest
	// Snapshot asks for a snapshot soon. It returns at once. Snapshotted is called when there is one.
	Snapshot func()
	// Gap is told of every gap and fork; nil: nobody is.
	Gap func()

	Log *slog.Logger
	Now func() time.Time // nil: time.Now

	pace pace
}

// pace is how long things take. Tests have no time for the real ones.
type pace struct {
	// look is how often a node that does not write looks whether somebody does, and one that writes whether it must.
	look time.Duration
	// takeOver is how old the archive may be in every target before another node writes too: two silences, and some time
	// for the way.
	takeOver time.Duration
	// overlap is how long after the beginning of a watch a snapshot is asked for that should reach beyond it.
	overlap time.Duration
	// shortest and longest are the waits after an attempt that failed.
	shortest, longest time.Duration
	// answer is how long a snapshot that was asked for may take; then another is asked for.
	answer time.Duration
	// vain is how long the same revision may end every attempt.
	vain time.Duration

	silence, settle, clock time.Duration // of the follower; 0: its own
	maxBehind              int64
}

// followed is how long it takes to hear that the cluster cannot be followed.
const followed = 5 * time.Second

func usualPace() pace {
	return pace{
		look: time.Minute, takeOver: 3 * time.Minute, overlap: 2 * time.Second,
		shortest: time.Second, longest: 30 * time.Second, answer: 10 * time.Minute,
		vain: 10 * time.Minute,
	}
}

// Archiver writes the archive of one cluster, from one node.
type Archiver struct {
	cfg      Config
	follower *follow.Follower
	taken    chan *repo.Manifest // the newest snapshot that Run has not seen; holds one

	// These belong to Run.
	failing    bool            // the last attempt failed: said once
	fresh      bool            // the segment that comes next is the first after a hole
	began      time.Time       // when this node first looked whether another one writes
	otherSince time.Time       // since when the member has another history, as a follower says; zero: it has not
	vain       vain            // attempts that did not come further
	near       map[string]near // by target: where its newest segments are

	mu      sync.Mutex
	state   state
	pending bool      // a snapshot was asked for and has not come
	asked   time.Time // when
	came    int       // snapshots that were told of
	trouble trouble
	turned  time.Time // when the follower's loop last turned, on this process's clock; zero: it does not run
}

// trouble is why attempts fail, since when; zero: they do not.
type trouble struct {
	since time.Time
	err   error
}

// New makes an Archiver and reads where it was. The queue's directory for growing segments is emptied: nobody else may use it.
func New(ctx context.Context, cfg Config) (*Archiver, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.pace == (pace{}) {
		cfg.pace = usualPace()
	}
	a := &Archiver{cfg: cfg, taken: make(chan *repo.Manifest, 1), near: make(map[string]near)}
	var err error
	if a.state, err = loadState(cfg.StateDir, cfg.Cluster); err != nil {
		return nil, err
	}
	if err := cfg.Queue.SweepSegments(ctx); err != nil {
		return nil, err
	}
	a.follower, err = follow.New(follow.Config{
		Cluster: cfg.Cluster, Dir: cfg.Queue.SegmentsDir(), Recipients: cfg.Recipients, Build: cfg.Build,
		Ready: a.ready, Changed: a.changed, Turned: func() { a.turn(time.Now()) }, Checkpoints: cfg.Checkpoints, FlushInterval: cfg.FlushInterval,
		Silence: cfg.pace.silence, Settle: cfg.pace.settle, ClockPatience: cfg.pace.clock, MaxBehind: cfg.pace.maxBehind, Log: cfg.Log, Now: cfg.Now,
	})
	return a, err
}

// Forked is the timeline that the member was found not to continue, so that a snapshot must not lie on it; "" none.
func (a *Archiver) Forked() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state.Forked
}

// Whole reports whether what is written now can be restored: a snapshot leads to it. It does in a target that has a
// snapshot whose capture began at since or later; zero: any will do.
func (a *Archiver) Whole() (since time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state.Since, a.state.Open == 0 && a.state.Position != nil && a.state.Position.Revision > 0
}

// Failing is why nothing is written, and since when; nil: it is, or another node's turn.
func (a *Archiver) Failing() (since time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.trouble.since, a.trouble.err
}

// Turned is when the loop that follows the member last turned, which it does several times a second, with a monotonic reading; zero while
// it does not run: when another node writes, and between attempts.
func (a *Archiver) Turned() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.turned
}

func (a *Archiver) turn(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turned = at
}

// follows takes the trouble for gone. If it comes back before anything is written, it is the same.
func (a *Archiver) follows() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trouble.err = nil
}

// worked forgets the trouble.
func (a *Archiver) worked() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trouble = trouble{}
}

// Run writes until ctx ends, and hands over the tail then.
func (a *Archiver) Run(ctx context.Context) {
	wait := a.cfg.pace.shortest
	for ctx.Err() == nil {
		pause, err := a.attempt(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			a.worked()
			wait = a.cfg.pace.shortest
			sleep(ctx, pause)
		default:
			a.failed(err)
			sleep(ctx, wait)
			wait = min(2*wait, a.cfg.pace.longest)
		}
	}
}

// attempt writes as long as it is this node's turn. Without an error, pause is how long nothing needs to be done.
func (a *Archiver) attempt(ctx context.Context) (pause time.Duration, err error) {
	member, err := a.cfg.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, member.Close()) }()
	status, err := member.Status(ctx)
	if err != nil {
		return 0, err
	}
	if status.IsLearner || !a.mine(ctx, status) {
		return a.cfg.pace.look, nil
	}
	from, ok := a.position(ctx, status.Revision)
	if !ok {
		return 0, a.begin(ctx)
	}
	defer time.AfterFunc(followed, a.follows).Stop() // there may be nothing to write for long
	return a.write(ctx, member, from, leads(status))
}

// failed says that the archive is not written, once until it is again.
func (a *Archiver) failed(err error) {
	a.mu.Lock()
	if a.trouble.since.IsZero() {
		a.trouble.since = a.cfg.Now()
	}
	a.trouble.err = err
	a.mu.Unlock()
	level := slog.LevelDebug
	if !a.failing {
		level = slog.LevelError
	}
	a.failing = true
	a.cfg.Log.Log(context.Background(), level, "the archive is not written; it is tried again", "error", err)
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
