package follow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

var (
	// ErrOtherHistory is wrapped when the member does not continue what is archived.
	ErrOtherHistory = errors.New("the member has another history than the archive")
	// ErrBehind is wrapped when the archive cannot, or should not, catch up by a watch.
	ErrBehind = errors.New("the archive is too far behind")
	// ErrStalled is wrapped when the member keeps the connection and says nothing.
	ErrStalled = errors.New("the member has stopped telling its changes")
	// ErrClock is wrapped when the wall clock has been far behind the times of the archive for a while.
	ErrClock = errors.New("the times of the archive lie in the future")
	// ErrUnfit is wrapped when a change is beyond archive.MaxValue.
	ErrUnfit = errors.New("a change that no segment can hold")
	// ErrRefused is wrapped when Ready has failed.
	ErrRefused = errors.New("a segment was not taken over")
)

const (
	defaultFlushInterval = 5 * time.Second
	defaultFlushBytes    = 8 << 20
	defaultSilence       = time.Minute
	// Catching up 5,000 revisions was measured not to be felt by others; 20,000 raised the p99 of writes a hundredfold.
	defaultMaxBehind      = 5000
	defaultMaxBehindBytes = 64 << 20
	// defaultPoll is the time between looks at what no watch tells. AuthStatus is an entry in the cluster's log.
	defaultPoll = time.Minute
	// defaultSettle is how long a member that is behind the archive is waited for: its leader tells it the rest.
	defaultSettle = 15 * time.Second
	// defaultStall is longer than a member that is alive needs to answer, be it catching up.
	defaultStall = 30 * time.Second
	// clockPatience is how long the wall clock may be more than repo.FutureSkew behind the archive: a host that has just booted, or a wrong
	// time server, is set right sooner.
	clockPatience = 10 * time.Minute
	// grace is how long the last segment may take after ctx has ended, and below systemd's patience of 90 s.
	grace = 15 * time.Second
)

// Config is what a Follower needs to know.
type Config struct {
	Cluster    string           // name in the repository
	Dir        string           // for segments that are being made; nobody else's. Made 0700
	Recipients *seal.Recipients // to whom segments are sealed
	Build      repo.Build

	// Ready takes a finished segment over, and its file. It signs it and returns the digest of the manifest
	// (repo.SignedSegment.Digest). When it returns, After(segment, digest) is the new position; until it does, the
	// follower reads nothing more from the member. An error ends Run, and the follower removes the file. Its context
	// outlives that of Run by some seconds, for the tail.
	Ready func(ctx context.Context, s *archive.Sealed) (manifest string, err error)
	// Changed is told of what the watch does not see, "users and roles" or "members": only a fresh snapshot has it. It
	// returns at once. It may be nil.
	Changed func(what string)
	// Checkpoints are the newest hashes that live members gave, see members.Log. Each goes into one segment. It may be nil.
	Checkpoints func() []repo.Checkpoint
	// Turned is called at every turn of the loop that all of Run's work is done in: several times a second, unless that work takes longer,
	// or hangs. It returns at once. It may be nil.
	Turned func()
	// UnknownTTL is written for a lease that was gone before anybody asked, in seconds. 0 tells a restore just that.
	UnknownTTL int64

	FlushInterval  time.Duration // how long a change waits at most; 0: 5 s
	FlushBytes     int64         // of plain content, at which a segment is full; 0: 8 MiB. A single revision may take more
	Silence        time.Duration // without changes, after which a segment says so; 0: 1 min
	MaxBehind      int64         // revisions that are caught up by a watch; 0: 5,000
	MaxBehindBytes int64         // the same in bytes, as estimated; 0: 64 MiB
	Poll           time.Duration // between looks at leases, members and users; 0: 1 min
	Settle         time.Duration // how long a member may take to reach the archive; 0: 15 s
	ClockPatience  time.Duration // how long the wall clock may be far behind the archive; 0: 10 min
	Stall          time.Duration // silence of the connection after which it is given up; 0: 30 s

	Log *slog.Logger
	Now func() time.Time // the wall clock, for what is recorded; nil: time.Now
}

// Follower follows one cluster. One Run at a time.
type Follower struct {
	cfg     Config
	leases  *leases
	unknown atomic.Int64

	compacted atomic.Int64 // what the last search for the compact revision found

	mu   sync.Mutex
	told []repo.Checkpoint // the last ones that went into a segment

	outer outer // what the last poll saw; Run's alone
}

// New makes a Follower, and removes what one that was killed has left in its directory.
func New(cfg Config) (*Follower, error) {
	if cfg.Recipients == nil || cfg.Ready == nil || cfg.Log == nil || cfg.Dir == "" || cfg.Cluster == "" {
		return nil, errors.New("follow the cluster: Cluster, Dir, Recipients, Ready and Log are needed")
	}
	cfg.FlushInterval = cmp.Or(cfg.FlushInterval, defaultFlushInterval)
	cfg.FlushBytes = cmp.Or(cfg.FlushBytes, defaultFlushBytes)
	cfg.Silence = cmp.Or(cfg.Silence, defaultSilence)
	cfg.MaxBehind = cmp.Or(cfg.MaxBehind, defaultMaxBehind)
	cfg.MaxBehindBytes = cmp.Or(cfg.MaxBehindBytes, defaultMaxBehindBytes)
	cfg.Poll = cmp.Or(cfg.Poll, defaultPoll)
	cfg.Settle = cmp.Or(cfg.Settle, defaultSettle)
	cfg.ClockPatience = cmp.Or(cfg.ClockPatience, clockPatience)
	cfg.Stall = cmp.Or(cfg.Stall, defaultStall)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := sweep(cfg.Dir); err != nil {
		return nil, fmt.Errorf("follow the cluster: %w", err)
	}
	return &Follower{cfg: cfg, leases: newLeases()}, nil
}

// sweep empties the directory of drafts: nobody can finish them.
func sweep(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	drafts, err := filepath.Glob(filepath.Join(dir, storage.TempPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range drafts {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// UnknownLeases counts the leases whose granted time nobody could tell any more.
func (f *Follower) UnknownLeases() int64 { return f.unknown.Load() }
