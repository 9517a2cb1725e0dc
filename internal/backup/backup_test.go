package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/snapshot/snapshottest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/servers"
)

func TestMain(m *testing.M) { os.Exit(snapshottest.Main(m)) }

const cluster = "prod-east"

// secret is in every value, so that plaintext is found wherever it should not be.
const secret = "the-plaintext-of-a-value"

// patience is how long what must happen may take on a machine that does a lot besides.
const patience = time.Minute

// node is a runner with a real etcd and two directory targets that fail on demand.
type node struct {
	t       *testing.T
	server  *servers.Etcd
	member  *etcd.Client
	keys    *sealtest.Keys
	state   string
	buckets []*storagetest.Faulty
	cfg     backup.Config
	log     bytes.Buffer
}

func newNode(t *testing.T, targets int) *node {
	t.Helper()
	t.Parallel() // most of the time is waiting for the next second
	n := &node{t: t, server: servers.StartEtcd(t, servers.EtcdConfig{}), state: t.TempDir()}
	for i := range 50 {
		if _, err := n.server.Client(t).Put(t.Context(), fmt.Sprintf("k%d", i), strings.Repeat(secret, 20)); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if n.member, err = etcd.Connect(t.Context(), etcd.Config{Endpoints: []string{n.server.Endpoint()}, DialTimeout: patience}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.member.Close() })
	n.configure(targets)
	return n
}

func (n *node) configure(targets int) {
	n.t.Helper()
	n.keys = sealtest.New(n.t)
	n.cfg = backup.Config{
		Cluster: cluster, StateDir: n.state, Keys: n.keys.Ring, Signer: n.keys.Signer, Recipients: n.keys.Recipients,
		Inspector: snapshottest.Inspector(n.t),
		ScanBelow: 1 << 30, Build: repo.Build{Version: "test"}, Log: slog.New(slog.NewTextHandler(&n.log, nil)),
	}
	for i := range targets {
		d, err := dir.Open(n.t.TempDir(), dir.Options{})
		if err != nil {
			n.t.Fatal(err)
		}
		n.buckets = append(n.buckets, storagetest.NewFaulty(d))
		r, err := repo.Open(n.buckets[i], cluster)
		if err != nil {
			n.t.Fatal(err)
		}
		n.cfg.Targets = append(n.cfg.Targets, replicate.Target{Name: fmt.Sprintf("t%d", i), Repo: r, ReadBack: true})
	}
}

type silent struct{}

func (silent) Step(string)           {}
func (silent) Progress(int64, int64) {}

func (n *node) run(ctx context.Context, member backup.Member) (*backup.Result, error) {
	n.t.Helper()
	r, err := backup.New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	return r.Run(ctx, member, nil, silent{})
}

func (n *node) mustRun() *backup.Result {
	n.t.Helper()
	result, err := n.run(n.t.Context(), n.member)
	if err != nil {
		n.t.Fatal(err)
	}
	return result
}

// states lists what a target holds, by ID and state.
func states(t *testing.T, r *repo.Repository, trust *seal.Trust) []string {
	t.Helper()
	c, err := r.Catalogue(t.Context(), trust)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range c.Entries {
		out = append(out, e.ID.String()+" "+string(e.State))
	}
	return out
}

// clean fails when the state directory holds anything of a snapshot, or plaintext.
func (n *node) clean() {
	n.t.Helper()
	n.noPlaintext()
	for _, name := range files(n.t, filepath.Join(n.state, "spool")) {
		n.t.Errorf("left in the spool: %s", name)
	}
}

func (n *node) noPlaintext() {
	n.t.Helper()
	for _, name := range files(n.t, n.state) {
		b, err := os.ReadFile(name)
		if err != nil {
			n.t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secret)) {
			n.t.Errorf("plaintext in %s", name)
		}
	}
}

func files(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestBackupReachesEveryTarget(t *testing.T) {
	n := newNode(t, 2)
	result := n.mustRun()
	m := result.Manifest
	if m.Revision != 51 || m.Keys != 50 || len(m.Compared) != 1 || m.Compared[0].Result != repo.ResultEqual || m.Member.Name != "default" {
		t.Errorf("manifest: %+v", m)
	}
	for i, o := range result.Outcomes {
		if o.Err != nil || o.Commit == 0 || o.Proved < o.Commit {
			t.Errorf("outcome: %+v", o)
		}
		if got, want := states(t, n.cfg.Targets[i].Repo, n.keys.Trust), []string{m.ID + " ok"}; !slices.Equal(got, want) {
			t.Errorf("%s holds %q, want %q", o.Target, got, want)
		}
	}
	n.clean()
	if _, ok := n.cfg.Keys.Get(cluster + "/snapshots/" + m.ID + "/" + m.Object.Name); !ok {
		t.Error("the file key is not retained")
	}
}

// TestTwoInOneSecond: an ID has a resolution of a second; a second snapshot of the same revision must not get the same.
func TestTwoInOneSecond(t *testing.T) {
	n := newNode(t, 1)
	if a, b := n.mustRun(), n.mustRun(); a.Manifest.ID == b.Manifest.ID {
		t.Errorf("both are %s", a.Manifest.ID)
	}
}

// TestChain: each manifest names the one before, and an undisturbed cluster stays on its timeline.
func TestChain(t *testing.T) {
	n := newNode(t, 1)
	first := n.mustRun()
	n.put("more")
	second := n.mustRun()
	if first.Manifest.Previous != "" || second.Manifest.Previous != first.Digest {
		t.Errorf("previous: %q, then %q; want none, then %q", first.Manifest.Previous, second.Manifest.Previous, first.Digest)
	}
	if first.Manifest.Timeline != second.Manifest.Timeline {
		t.Error("the timeline changed for no reason")
	}
	// A target that is down, and a lost state file, cost nothing while the other is there.
	n.buckets[0].SetDown(errors.New("down"))
	n.put("again")
	third, err := n.run(t.Context(), n.member)
	if err == nil || third == nil || third.Manifest.Previous != second.Digest || third.Manifest.Timeline != second.Manifest.Timeline {
		t.Errorf("with the target down: %v", err)
	}
	n.buckets[0].SetDown(nil)
	if err := os.Remove(filepath.Join(n.state, "last-manifest.json")); err != nil {
		t.Fatal(err)
	}
	n.put("once more")
	if fourth := n.mustRun(); fourth.Manifest.Previous != second.Digest {
		t.Errorf("without the state file the chain goes on from %q, want %q", fourth.Manifest.Previous, second.Digest)
	}
}

func (n *node) put(value string) {
	n.t.Helper()
	if _, err := n.server.Client(n.t).Put(n.t.Context(), "k", value); err != nil {
		n.t.Fatal(err)
	}
}

func TestDeadTargetHidesNoOther(t *testing.T) {
	n := newNode(t, 2)
	n.buckets[0].SetDown(fmt.Errorf("no route to host"))
	result, err := n.run(t.Context(), n.member)
	if err == nil || !strings.Contains(err.Error(), "t0") || !strings.Contains(err.Error(), "no route to host") {
		t.Errorf("error: %v", err)
	}
	if hints := strings.Join(hint.Of(err), "; "); !strings.Contains(hints, "not every target has this snapshot") {
		t.Errorf("hints: %s", hints)
	}
	if result.Outcomes[0].Commit != 0 || result.Outcomes[1].Proved == 0 || result.Spooled == "" {
		t.Errorf("outcomes: %+v, spooled %q", result.Outcomes, result.Spooled)
	}
	if got := states(t, n.cfg.Targets[1].Repo, n.keys.Trust); len(got) != 1 || !strings.HasSuffix(got[0], " ok") {
		t.Errorf("the other target holds %q", got)
	}
	if got := n.spooled(); !slices.Equal(got, []string{result.Manifest.ID + " ok"}) {
		t.Errorf("the spool holds %q, and a target lacks the snapshot", got)
	}

	// The daemon of this node finds it there, and leaves nothing behind once the target has it.
	n.buckets[0].SetDown(nil)
	n.drain()
	if got := states(t, n.cfg.Targets[0].Repo, n.keys.Trust); !slices.Equal(got, []string{result.Manifest.ID + " ok"}) {
		t.Errorf("the target that was dead holds %q", got)
	}
	n.clean()
}

// spooled lists the spool as the repository that it is.
func (n *node) spooled() []string {
	n.t.Helper()
	spool, err := dir.Open(filepath.Join(n.state, "spool"), dir.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	r, err := repo.Open(spool, cluster)
	if err != nil {
		n.t.Fatal(err)
	}
	return states(n.t, r, n.keys.Trust)
}

// drain runs the queue as the daemon does until nothing is left in the spool.
func (n *node) drain() {
	n.t.Helper()
	r, err := backup.New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(n.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Queue().Run(ctx)
	}()
	for end := time.Now().Add(patience); len(n.spooled()) > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-ended
}

// TestAllTargetsDead: the snapshot is kept on the host, where it can be listed, and only so many of them.
func TestAllTargetsDead(t *testing.T) {
	n := newNode(t, 2)
	for _, b := range n.buckets {
		b.SetDown(storage.ErrDenied)
	}
	var last *backup.Result
	for i := range 5 {
		n.put("x")
		var err error
		if last, err = n.run(t.Context(), n.member); err == nil || len(hint.Of(err)) == 0 || last == nil {
			t.Fatalf("result %v, error %v, hints %q", last, err, hint.Of(err))
		}
		if i == 0 { // room for three and a half
			for _, name := range files(t, filepath.Join(n.state, "spool")) {
				info, err := os.Stat(name)
				if err != nil {
					t.Fatal(err)
				}
				n.cfg.SpoolMax += info.Size() * 7 / 2
			}
		}
	}
	got := n.spooled()
	if len(got) != 3 || got[2] != last.Manifest.ID+" ok" {
		t.Errorf("the spool holds %q", got)
	}
	if !strings.Contains(last.Spooled, n.state) {
		t.Errorf("spooled in %q", last.Spooled)
	}
	if got := strings.Count(n.log.String(), `level=ERROR msg="a snapshot is lost for a target"`); got != 4 {
		t.Errorf("%d losses are logged, want those of two snapshots for two targets:\n%s", got, n.log.String())
	}
	n.noPlaintext()
}

// TestCaptureDoesNotWait: while a target takes for ever, the next capture is not delayed, and a node is not locked.
func TestCaptureDoesNotWait(t *testing.T) {
	n := newNode(t, 2)
	stuck := &stuckBucket{Bucket: n.buckets[0]}
	r, err := repo.Open(stuck, cluster)
	if err != nil {
		t.Fatal(err)
	}
	n.cfg.Targets[0].Repo = r
	runner, err := backup.New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runner.Queue().Run(ctx)
	}()
	var taken []string
	for range 3 {
		n.put("y")
		result, err := runner.Take(t.Context(), n.member, nil, silent{})
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, result.Manifest.ID+" ok")
	}
	complete := func() bool {
		return stuck.calls.Load() > 0 && slices.Equal(states(t, n.cfg.Targets[1].Repo, n.keys.Trust), taken)
	}
	for end := time.Now().Add(patience); !complete() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if stuck.calls.Load() == 0 {
		t.Error("the stuck target was not asked, so nothing was tested")
	}
	if got := states(t, n.cfg.Targets[1].Repo, n.keys.Trust); !slices.Equal(got, taken) {
		t.Errorf("the other target holds %q, want %q", got, taken)
	}
	cancel()
	<-ended
	if got := n.spooled(); !slices.Equal(got, taken) {
		t.Errorf("the spool holds %q, want %q", got, taken)
	}
}

// stuckBucket never finishes to take an object.
type stuckBucket struct {
	storage.Bucket
	calls atomic.Int32
}

// Create ends with ctx.
func (b *stuckBucket) Create(ctx context.Context, key string, _ io.Reader) (storage.Object, error) {
	b.calls.Add(1)
	<-ctx.Done()
	return storage.Object{}, fmt.Errorf("create %s: %w", key, context.Cause(ctx))
}

// TestReadBackFindsDamage: a store that takes an object and returns another one is found out.
func TestReadBackFindsDamage(t *testing.T) {
	for name, spoil := range map[string]func(*storagetest.Faulty){
		"flipped bit": func(b *storagetest.Faulty) { b.FlipBit("snapshot.db", 500, false) },
		"cut short":   func(b *storagetest.Faulty) { b.CutReads("snapshot.db", 500, false) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1)
			spoil(n.buckets[0])
			result, err := n.run(t.Context(), n.member)
			if err == nil || !strings.Contains(err.Error(), "read back from t0") {
				t.Errorf("error: %v", err)
			}
			if result == nil || result.Outcomes[0].Proved != 0 {
				t.Errorf("a damaged copy counts as proved: %+v", result)
			}
		})
	}
}

// TestEveryStoreCallFails: whatever call to the store fails, a manifest without its payload never appears, and
// the next run succeeds.
func TestEveryStoreCallFails(t *testing.T) {
	n := newNode(t, 1)
	behind, err := repo.Open(n.buckets[0].Unwrap(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []storagetest.Op{storagetest.OpCreate, storagetest.OpStat, storagetest.OpOpen, storagetest.OpList} {
		for i := 1; i <= 4; i++ {
			n.put(fmt.Sprint(op, i))
			n.buckets[0].FailCall(op, i, nil)
			_, _ = n.run(t.Context(), n.member) // it may fail, or get over it; what counts is what is there
			for _, s := range states(t, behind, n.keys.Trust) {
				if !strings.HasSuffix(s, " ok") && !strings.HasSuffix(s, " incomplete") {
					t.Errorf("after failing %s call %d: %s", op, i, s)
				}
			}
		}
	}
	if got := states(t, behind, n.keys.Trust); len(got) < 8 {
		t.Errorf("hardly anything was stored, so little was tested: %q", got)
	}
	_, _ = n.run(t.Context(), n.member) // uses up a fault that no call met
	n.mustRun()
	n.noPlaintext()
}

// endless is a member whose snapshot never begins to arrive.
type endless struct {
	*etcd.Client
	calls atomic.Int32
}

// SnapshotStream never ends; the caller must give up.
func (e *endless) SnapshotStream(ctx context.Context) (etcd.Stream, error) {
	e.calls.Add(1)
	return hanging{ctx}, nil
}

type hanging struct{ ctx context.Context }

func (h hanging) Recv() (etcd.Chunk, error) {
	<-h.ctx.Done()
	return etcd.Chunk{}, h.ctx.Err()
}

func TestStalledMemberLeavesNothing(t *testing.T) {
	n := newNode(t, 1)
	n.cfg.StallTimeout = 100 * time.Millisecond
	_, err := n.run(t.Context(), &endless{Client: n.member})
	if !errors.Is(err, snapshot.ErrStalled) {
		t.Errorf("got %v", err)
	}
	n.clean()
	if got := states(t, n.cfg.Targets[0].Repo, n.keys.Trust); len(got) != 0 {
		t.Errorf("the target holds %q", got)
	}
}

// TestOneAtATime: a second run waits for the first, and is not lost.
func TestOneAtATime(t *testing.T) {
	n := newNode(t, 1)
	n.cfg.StallTimeout = time.Minute
	first := &endless{Client: n.member}
	ctx, cancel := context.WithCancel(t.Context())
	firstDone := make(chan error, 1)
	go func() {
		_, err := n.run(ctx, first)
		firstDone <- err
	}()
	for first.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	waiting := make(chan string, 8)
	secondDone := make(chan error, 1)
	r, err := backup.New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := r.Run(t.Context(), n.member, nil, watcher{waiting})
		secondDone <- err
	}()
	if step := <-waiting; !strings.Contains(step, "wait for the snapshot") {
		t.Errorf("the second run begins with %q", step)
	}
	cancel()
	if err := <-firstDone; !errors.Is(err, context.Canceled) {
		t.Errorf("the first run: %v", err)
	}
	if err := <-secondDone; err != nil {
		t.Errorf("the second run: %v", err)
	}
	n.clean()
}

type watcher struct{ steps chan string }

func (w watcher) Step(name string)      { w.steps <- name }
func (w watcher) Progress(int64, int64) {}

// TestSweep: what a killed process left in the spool is gone after the next run; what waits there is not.
func TestSweep(t *testing.T) {
	n := newNode(t, 1)
	n.buckets[0].SetDown(errors.New("down"))
	kept, _ := n.run(t.Context(), n.member)
	n.buckets[0].SetDown(nil)
	spool := filepath.Join(n.state, "spool")
	litter := []string{
		filepath.Join(spool, storage.TempPrefix+"123"),
		filepath.Join(spool, cluster, "snapshots", "20200101T000000Z-r7-8e9e05c52164694d", "snapshot.db.zst.age"),
	}
	for _, path := range litter {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	n.put("next")
	n.mustRun()
	for _, path := range litter {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", path, err)
		}
	}
	left := files(t, spool)
	if len(left) != 3 || !strings.Contains(left[0], kept.Manifest.ID) {
		t.Errorf("the waiting snapshot is gone: %q", left)
	}
}
