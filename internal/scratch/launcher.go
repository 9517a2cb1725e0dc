package scratch

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/drd-project/drd/internal/priority"
)

const (
	defaultStartStall = time.Minute
	// stopLimit is how long a stop may take before the child is killed. It was measured to take milliseconds, and what it
	// would still write is thrown away.
	stopLimit = 10 * time.Second
	// minQuota is the least database quota, in bytes: the most that etcd recommends. A store larger than its quota would
	// refuse the write that a drill makes.
	minQuota = 8 << 30
)

// Launcher starts scratch etcds. Either Command or Binary must be set.
type Launcher struct {
	// Command is the child's program and leading arguments, which must end up in Main; one argument is appended. In drd it
	// is the binary itself.
	Command []string
	// Program, if set, is started in place of Command[0], which remains its name: "/proc/self/exe" is the program that
	// runs, also after an upgrade has put another one in its place.
	Program string
	// Binary is the path of an etcd program, 3.4 or newer, that is run in place of the embedded server.
	Binary string
	// MemoryLimit of the child, in bytes. Default: 1 GiB and twice the database, and at most half of what the machine has
	// available. It is enforced where systemd has delegated the memory controller to the service that this process
	// belongs to; elsewhere it is what the child's garbage collector aims at.
	MemoryLimit int64
	// StartStall ends a start that makes no progress for so long; default: 1 minute. A start that makes progress all the
	// time has 30 times as long.
	StartStall time.Duration

	grants    []grant       // what to try to give to the child; nil: as much as there is
	wholeTime time.Duration // of a start that makes progress all the time; 0: what StartStall says
}

// Data is a data directory of a cluster of one, and what it was restored with.
type Data struct {
	Dir                 string // as in etcd's --data-dir
	Name                string
	InitialCluster      string // "NAME=URL"
	InitialClusterToken string // "" is etcd's own default
	PeerURL             string // nobody listens on it, and nobody dials it
}

// Start runs an etcd on d and returns when it has answered a linearizable read, be it with a refusal because its store
// has authentication enabled. dir is an existing directory for its sockets that no other user may enter; it can be used
// again after Stop. ctx bounds the start, not the life of the etcd: Stop ends it.
//
// The error wraps ErrKilled when the machine ended the child, ErrStalled when it took too long, and ErrRefused when etcd
// gave up by itself, which it tells why. Other errors are about dir, d or the program.
func (l Launcher) Start(ctx context.Context, dir string, d Data) (*Etcd, error) {
	e, err := l.start(ctx, dir, d)
	if err != nil {
		return nil, fmt.Errorf("start etcd on restored data: %w", err)
	}
	return e, nil
}

func (l Launcher) start(ctx context.Context, dir string, d Data) (*Etcd, error) {
	s, err := l.settings(d)
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(dir); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	child, err := l.spawn(dir, s)
	if err != nil {
		return nil, err
	}
	e := &Etcd{child: child, embedded: l.Binary == ""}
	if err := e.connect(dir); err != nil {
		e.kill()
		return nil, err
	}
	if err := e.awaitReady(ctx, l.patience()); err != nil {
		e.kill()
		return nil, err
	}
	// A thread that was being made while the priorities were lowered has escaped that. Hardly any is made now, and what the machine
	// refuses was noted then.
	_ = priority.Lower(child.process.Pid)
	return e, nil
}

// patience is how long a start may take.
func (l Launcher) patience() patience {
	p := patience{stall: cmp.Or(l.StartStall, defaultStartStall)}
	p.whole = cmp.Or(l.wholeTime, startFactor*p.stall)
	return p
}

// settings checks what etcd would not: on a directory without data it would happily start an empty cluster.
func (l Launcher) settings(d Data) (settings, error) {
	dataDir, err := filepath.Abs(d.Dir)
	if err != nil {
		return settings{}, fmt.Errorf("data directory: %w", err)
	}
	size, err := checkData(dataDir)
	if err != nil {
		return settings{}, err
	}
	members, err := types.NewURLsMap(d.InitialCluster)
	if err != nil {
		return settings{}, fmt.Errorf("initial cluster %q: %w", d.InitialCluster, err)
	}
	if len(members) != 1 || members[d.Name] == nil {
		return settings{}, fmt.Errorf("initial cluster %q: want %q as the only member", d.InitialCluster, d.Name)
	}
	if _, err := types.NewURLs([]string{d.PeerURL}); err != nil {
		return settings{}, fmt.Errorf("peer URL: %w", err)
	}
	limit := l.MemoryLimit
	if limit == 0 {
		limit = defaultMemory(size)
	}
	return settings{
		DataDir: dataDir, Name: d.Name, InitialCluster: d.InitialCluster, Token: d.InitialClusterToken, PeerURL: d.PeerURL,
		Quota: max(minQuota, 2*size), memory: limit,
	}, nil
}

// checkPrivate keeps other users from the sockets: whoever reaches one can read the whole store.
func checkPrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("directory for its sockets: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("directory for its sockets: %s is %s, want a directory that only its owner may enter", dir, info.Mode())
	}
	return nil
}

// connect prepares the connection, which is made when the first call needs it.
func (e *Etcd) connect(dir string) error {
	root, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("directory for its sockets: %w", err)
	}
	e.root = root
	// The store may hold values of any size, and a drill asks for a few at a time. What a server may send is etcd's to limit.
	const noLimit = 1<<31 - 1
	e.conn, err = grpc.NewClient("passthrough:///scratch-etcd",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the directory of the socket keeps others out
		grpc.WithContextDialer(e.dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(noLimit), grpc.MaxCallSendMsgSize(noLimit)),
		// A start takes about a second, and nobody else is disturbed by another try.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: 20 * time.Second,
		}),
	)
	if err != nil {
		return fmt.Errorf("connect to it: %w", err)
	}
	return nil
}
