package archiver

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot/snapshottest"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/servers"
)

func TestMain(m *testing.M) { os.Exit(snapshottest.Main(m)) }

const cluster = "prod-east"

// patience bounds every wait of a test.
const patience = 2 * time.Minute

// place is what several nodes share: the keys and the targets, which fail on demand.
type place struct {
	t       *testing.T
	keys    *sealtest.Keys
	buckets []*storagetest.Faulty
	targets []replicate.Target
}

func newPlace(t *testing.T, targets int) *place {
	t.Helper()
	p := &place{t: t, keys: sealtest.New(t)}
	for i := range targets {
		d, err := dir.Open(t.TempDir(), dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p.buckets = append(p.buckets, storagetest.NewFaulty(d))
		r, err := repo.Open(p.buckets[i], cluster)
		if err != nil {
			t.Fatal(err)
		}
		p.targets = append(p.targets, replicate.Target{Name: fmt.Sprintf("t%d", i), Repo: r, ReadBack: true})
	}
	return p
}

// node is an archiver with a real etcd, a real queue and real snapshots.
type node struct {
	*place
	server *servers.Etcd
	kv     *clientv3.Client
	state  string
	pace   pace
	log    logBuffer
	now    func() time.Time // the archiver's; nil: the real one

	patience time.Duration // with one wait; 0: the usual
	hold     chan struct{} // no snapshot is taken before it is closed; nil: nothing holds them

	archiver  *Archiver
	stop      func()
	forked    atomic.Pointer[string] // what the backup hears beside the archiver
	snapshots atomic.Int64           // taken
	gaps      atomic.Int64
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (p *place) node(server *servers.Etcd) *node {
	p.t.Helper()
	n := &node{place: p, server: server, kv: server.Client(p.t), state: p.t.TempDir()}
	n.pace = pace{
		look: 200 * time.Millisecond, takeOver: 3 * time.Second, overlap: 100 * time.Millisecond,
		shortest: 50 * time.Millisecond, longest: 200 * time.Millisecond, answer: 30 * time.Second,
		silence: 300 * time.Millisecond, settle: 10 * time.Second, clock: time.Second, vain: 30 * time.Second,
	}
	p.t.Cleanup(func() {
		n.end()
		if p.t.Failed() {
			p.t.Logf("the log:\n%s", n.log.String())
		}
	})
	return n
}

// newNode is one node with one member and so many targets.
func newNode(t *testing.T, targets int) *node {
	t.Helper()
	t.Parallel()
	return newPlace(t, targets).node(servers.StartEtcd(t, servers.EtcdConfig{}))
}

func (n *node) connect(ctx context.Context) (*etcd.Client, error) {
	return etcd.Connect(ctx, etcd.Config{Endpoints: []string{n.server.Endpoint()}, DialTimeout: 30 * time.Second})
}

func (n *node) runner(log *slog.Logger) *backup.Runner {
	n.t.Helper()
	r, err := backup.New(backup.Config{
		Cluster: cluster, StateDir: n.state, Keys: n.keys.Ring, Signer: n.keys.Signer, Trust: n.keys.Trust, Recipients: n.keys.Recipients,
		Targets: n.targets, Inspector: snapshottest.Inspector(n.t), ScanBelow: 1 << 30, Build: repo.Build{Version: "test"}, Log: log,
		Forked: func() string {
			if f := n.forked.Load(); f != nil {
				return *f
			}
			if n.archiver == nil {
				return ""
			}
			return n.archiver.Forked()
		},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

type silent struct{}

func (silent) Step(string)           {}
func (silent) Progress(int64, int64) {}

// start runs the archiver as the daemon does: beside the queue, and beside somebody who takes the snapshots that it asks for.
func (n *node) start() {
	n.t.Helper()
	log := slog.New(slog.NewTextHandler(&n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	runner := n.runner(log)
	wishes := make(chan struct{}, 1)
	var err error
	n.archiver, err = New(n.t.Context(), Config{
		Cluster: cluster, StateDir: n.state, Connect: n.connect, Queue: runner.Queue(), Targets: n.targets, Trust: n.keys.Trust,
		Signer: n.keys.Signer, Recipients: n.keys.Recipients, Build: repo.Build{Version: "test"}, FlushInterval: 100 * time.Millisecond,
		Last: n.last, Gap: func() { n.gaps.Add(1) }, Log: log, Now: n.now, pace: n.pace,
		Snapshot: func() {
			select {
			case wishes <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { runner.Queue().Run(ctx) })
	all.Go(func() { n.archiver.Run(ctx) })
	all.Go(func() {
		for {
			select {
			case <-wishes:
				n.take(ctx, runner)
			case <-ctx.Done():
				return
			}
		}
	})
	n.stop = func() { cancel(); all.Wait() }
}

// take takes a snapshot; one that fails is asked for again by the archiver.
func (n *node) take(ctx context.Context, runner *backup.Runner) {
	if n.hold != nil {
		select {
		case <-n.hold:
		case <-ctx.Done():
			return
		}
	}
	member, err := n.connect(ctx)
	if err != nil {
		return
	}
	defer member.Close()
	result, err := runner.Take(ctx, member, nil, silent{})
	if err != nil {
		return
	}
	n.snapshots.Add(1)
	n.archiver.Snapshotted(result.Manifest)
}

// takeByHand takes a snapshot and brings it to the targets, as another process would.
func (n *node) takeByHand() *repo.Manifest {
	n.t.Helper()
	member, err := n.connect(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	defer member.Close()
	result, err := n.runner(slog.New(slog.DiscardHandler)).Run(n.t.Context(), member, nil, silent{})
	if err != nil {
		n.t.Fatal(err)
	}
	return result.Manifest
}

func (n *node) last() *repo.Manifest {
	m, err := backup.LastManifest(n.state, cluster)
	if err != nil {
		n.t.Error(err)
	}
	return m
}

// end stops the archiver as SIGTERM would.
func (n *node) end() {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

func (n *node) until(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(cmp.Or(n.patience, patience)); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	n.t.Fatalf("%s: not in time", what)
}

// begun waits until the archive has all that it begins with: a snapshot, and another one that reaches beyond the beginning of the watch.
func (n *node) begun() {
	n.t.Helper()
	n.until("the snapshots of the beginning", func() bool {
		if _, whole := n.archiver.Whole(); !whole || n.snapshots.Load() < 2 {
			return false
		}
		n.archiver.mu.Lock()
		defer n.archiver.mu.Unlock()
		return !n.archiver.pending
	})
}

// spooled is the revision up to which the archive is on the disk of this node.
func (n *node) spooled() int64 {
	n.archiver.mu.Lock()
	defer n.archiver.mu.Unlock()
	if p := n.archiver.state.Position; p != nil {
		return p.Revision
	}
	return 0
}

func (n *node) logged(text string) bool { return strings.Contains(n.log.String(), text) }

// put writes so often, and returns the revision then.
func (n *node) put(key string, times int) (revision int64) {
	n.t.Helper()
	for i := range times {
		r, err := n.kv.Put(n.t.Context(), key, fmt.Sprint(i))
		if err != nil {
			n.t.Fatal(err)
		}
		revision = r.Header.Revision
	}
	return revision
}

// history is what a target holds of a timeline; of the newest snapshot's for "".
func (n *node) history(target int, timeline string) *archive.History {
	n.t.Helper()
	r := n.targets[target].Repo
	c, err := r.Catalogue(n.t.Context(), n.keys.Trust)
	if err != nil {
		n.t.Fatal(err)
	}
	if newest, err := c.Latest(time.Now(), false); err == nil && timeline == "" {
		timeline = newest.Manifest.Timeline
	}
	segments, err := r.ListSegments(n.t.Context(), repo.SegmentQuery{}, n.keys.Trust)
	if err != nil {
		n.t.Fatal(err)
	}
	return archive.NewHistory(timeline, c.Entries, segments.Entries, false)
}

// reaches waits until a target can restore a revision, and everything that the archiver says of itself fits.
func (n *node) reaches(target int, revision int64) []archive.Range {
	n.t.Helper()
	var window []archive.Range
	n.until(fmt.Sprintf("t%d restores revision %d", target, revision), func() bool {
		window = n.history(target, "").Window()
		_, whole := n.archiver.Whole()
		return whole && len(window) > 0 && window[len(window)-1].Last >= revision
	})
	return window
}

// wantOne fails the test unless every revision from first to last can be restored.
func (n *node) wantOne(window []archive.Range, first, last int64) {
	n.t.Helper()
	if len(window) != 1 || window[0].First > first || window[0].Last < last {
		n.t.Errorf("the window is %+v, want all from %d to %d", window, first, last)
	}
}
