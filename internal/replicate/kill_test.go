package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/targets"
)

func testContext(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// killer ends its own process, as kill -9 does, just before or just after a write: the calls are counted over all buckets
// of the process, the targets' and those of the queue itself.
type killer struct {
	storage.Bucket
	left *atomic.Int64
}

func (k *killer) Unwrap() storage.Bucket { return k.Bucket }

func (k *killer) instant() {
	if k.left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}
}

// Create has a third instant: when half of the content is there.
func (k *killer) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	k.instant()
	obj, err := k.Bucket.Create(ctx, key, io.MultiReader(io.LimitReader(r, 100), &atRead{k}, r))
	k.instant()
	return obj, err
}

func (k *killer) Delete(ctx context.Context, key string) error {
	k.instant()
	err := k.Bucket.Delete(ctx, key)
	k.instant()
	return err
}

type atRead struct{ k *killer }

func (a *atRead) Read([]byte) (int, error) {
	a.k.instant()
	return 0, io.EOF
}

// keep is how many copies a site keeps.
const keep = 2

// site is what survives the children: the state directory, the keys, and the URLs of the targets.
type site struct{ root string }

func (s site) path(name string) string { return filepath.Join(s.root, name) }

// open makes the queue of a site. It is used by the children and by the test that looks at what they left.
func (s site) open(t testing.TB, wrap func(storage.Bucket) storage.Bucket) *node {
	n := &node{t: t, log: &logBuffer{}, wrap: wrap}
	n.keys = sealtest.In(t, s.root)
	n.cfg = Config{
		Cluster: cluster, StateDir: s.path("state"), Keys: n.keys.Ring, Keep: keep, Log: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	urls, err := os.ReadFile(s.path("urls"))
	n.must(err)
	for i, url := range strings.Fields(string(urls)) {
		b, err := targets.OpenURL(t.Context(), url)
		n.must(err)
		r, err := repo.Open(wrap(b), cluster)
		n.must(err)
		n.cfg.Targets = append(n.cfg.Targets, Target{Name: fmt.Sprintf("t%d", i), Repo: r, ReadBack: true})
	}
	n.reopen()
	return n
}

// newSite makes a site with targets at the given URLs, or else with two directories.
func newSite(t *testing.T, urls ...string) site {
	t.Helper()
	s := site{t.TempDir()}
	for i := len(urls); i < 2; i++ {
		url := "file://" + t.TempDir()
		urls = append(urls, url)
	}
	sealtest.In(t, s.root) // not each child its own
	if err := os.WriteFile(s.path("urls"), []byte(strings.Join(urls, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// childT lets a child use the helpers of tests: what fails there ends it, and the parent sees its words.
type childT struct{ testing.TB }

// Helper does nothing here.
func (c *childT) Helper() {}

// Context is that of the process.
func (c *childT) Context() context.Context { return context.Background() }

// Fatal ends the process.
func (c *childT) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(2)
}

// Fatalf does the same.
func (c *childT) Fatalf(format string, args ...any) { c.Fatal(fmt.Sprintf(format, args...)) }

// job is what a child does: it enqueues so many snapshots and segments, numbered from first on, and is killed at the instant,
// or never if that is 0.
type job struct{ first, snapshots, segments, instant int }

// child does a job, notes in "committed" and "archived" what it was told is safe, and waits until nothing waits in
// the spool.
func child() int {
	var s site
	var j job
	if _, err := fmt.Sscan(os.Getenv(asChild), &s.root, &j.first, &j.snapshots, &j.segments, &j.instant); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	left := &atomic.Int64{}
	left.Store(int64(j.instant))
	n := s.open(&childT{}, func(b storage.Bucket) storage.Bucket { return &killer{b, left} })
	stop := n.start()
	defer stop()
	n.must(n.q.SweepSegments(n.t.Context()))
	n.must(n.q.Sweep())
	var archiver sync.WaitGroup
	archiver.Go(func() {
		for i := range j.segments {
			n.follow(j.first + i)
			s.note(n, "archived", j.first+i)
		}
	})
	for i := range j.snapshots {
		n.enqueue(j.first + i)
		s.note(n, "committed", j.first+i)
	}
	archiver.Wait()
	n.until("nothing that waits", func() bool { return n.nothingWaits() && len(n.following()) == 0 })
	return 0
}

func (s site) note(n *node, name string, number int) {
	f, err := os.OpenFile(s.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	n.must(err)
	_, err = fmt.Fprintln(f, number)
	n.must(errors.Join(err, f.Close()))
}

// begin starts a child.
func (s site) begin(t *testing.T, j job) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d %d", asChild, s.root, j.first, j.snapshots, j.segments, j.instant))
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// killed waits for a child and reports whether it was killed; the other end is success.
func killed(t *testing.T, c *exec.Cmd) bool {
	t.Helper()
	err := c.Wait()
	if err == nil {
		return false
	}
	status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended with %v", err)
	}
	return true
}

func (s site) noted(t *testing.T, name string) []int {
	t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var numbers []int
	for _, f := range strings.Fields(string(b)) {
		i, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, i)
	}
	return numbers
}

// inspect looks at what a killed child left, before anything is repaired: what lists is whole, what was committed is in
// the spool or in every target, and every mark tells the truth.
func (s site) inspect(t *testing.T, trust *seal.Trust) {
	t.Helper()
	n := s.open(t, func(b storage.Bucket) storage.Bucket { return b })
	spooled, following := restorable(t, n.q.spool.repo, trust), archived(t, n.q.spool.repo, trust)
	held, archives := make([][]int, len(n.cfg.Targets)), make([][]int, len(n.cfg.Targets))
	for i, target := range n.cfg.Targets {
		held[i], archives[i] = restorable(t, target.Repo, trust), archived(t, target.Repo, trust)
	}
	for _, number := range s.noted(t, "archived") {
		for i := range archives {
			if !slices.Contains(archives[i], number) && !slices.Contains(following, number) {
				t.Errorf("segment %d was enqueued, and is neither in the spool %v nor in t%d %v", number, following, i, archives[i])
			}
		}
	}
	for _, number := range s.noted(t, "committed") {
		for i := range held {
			if !slices.Contains(held[i], number) && !slices.Contains(spooled, number) {
				t.Errorf("%d was committed, and is neither in the spool %v nor in t%d %v", number, spooled, i, held[i])
			}
		}
	}
	marked, err := n.q.marks.all(t.Context())
	n.must(err)
	for r, keys := range marked {
		for _, key := range keys {
			name, _, _ := strings.Cut(key, "/")
			i := slices.IndexFunc(n.cfg.Targets, func(t Target) bool { return t.Name == name })
			there, number := held[i], numberOf(r.id)
			if r.isSegment() {
				there, number = archives[i], segmentNumber(r.segment)
			}
			if !slices.Contains(there, number) {
				t.Errorf("the mark %s says what is not so: %v", key, there)
			}
		}
	}
}

// repair runs once more, and then everything is everywhere, and nothing is left over on the node but the newest copies.
func (s site) repair(t *testing.T, trust *seal.Trust) {
	t.Helper()
	n := s.open(t, func(b storage.Bucket) storage.Bucket { return b })
	n.must(n.q.SweepSegments(t.Context()))
	n.must(n.q.Sweep())
	n.drain()
	n.drainSegments()
	all := restorable(t, n.cfg.Targets[0].Repo, trust)
	n.clean(all[max(0, len(all)-keep):]...)
	for _, target := range n.cfg.Targets {
		held := restorable(t, target.Repo, trust)
		for _, number := range s.noted(t, "committed") {
			if !slices.Contains(held, number) {
				t.Errorf("%d was committed, and %s holds %v", number, target.Name, held)
			}
		}
	}
	for _, target := range n.cfg.Targets {
		there := archived(t, target.Repo, trust)
		for _, number := range s.noted(t, "archived") {
			if !slices.Contains(there, number) {
				t.Errorf("segment %d was enqueued, and %s has %v", number, target.Name, there)
			}
		}
	}
	if got := append(n.losses(), n.holes()...); len(got) != 0 {
		t.Errorf("lost: %v", got)
	}
}

func (s site) trust(t *testing.T) *seal.Trust {
	t.Helper()
	return sealtest.In(t, s.root).Trust
}

// TestKilledAtEachWrite goes through the instants before, within and after each write, one child for each.
func TestKilledAtEachWrite(t *testing.T) {
	newSite(t).killAtEach(t, job{snapshots: 2})
}

// TestArchiveKilledAtEachWrite does the same with segments.
func TestArchiveKilledAtEachWrite(t *testing.T) {
	newSite(t).killAtEach(t, job{segments: 2})
}

func (s site) killAtEach(t *testing.T, j job) {
	t.Helper()
	trust := s.trust(t)
	const most = 300
	j.instant = 1
	for ; j.instant < most; j.instant++ {
		j.first = 10 * j.instant
		again := killed(t, s.begin(t, j))
		s.inspect(t, trust)
		if j.instant%4 == 0 { // the others are repaired by the next child, on top of which it is killed
			s.repair(t, trust)
		}
		if t.Failed() || !again {
			break
		}
	}
	s.repair(t, trust)
	t.Logf("%d instants", j.instant-1)
	if j.instant < 40 || j.instant == most {
		t.Errorf("the children were killed at %d instants", j.instant-1)
	}
}

// TestKilledAtRandom has the kernel choose the moment.
func TestKilledAtRandom(t *testing.T) {
	newSite(t).killAtRandom(t, 40, 60*time.Millisecond)
}

func (s site) killAtRandom(t *testing.T, rounds int, longest time.Duration) {
	t.Helper()
	trust := s.trust(t)
	began := time.Now()
	if killed(t, s.begin(t, job{snapshots: 8, segments: 16})) {
		t.Fatal("a child that nobody killed was killed")
	}
	longest = max(longest, time.Since(began)) // a slow machine, or a build that looks for races, takes longer
	random := rand.New(rand.NewPCG(1, 2))     // the same moments each time; what runs then is up to the machine
	hit := 0
	for i := range rounds {
		c := s.begin(t, job{first: 100 * (i + 1), snapshots: 8, segments: 16})
		pause := time.Duration(random.Int64N(int64(longest)))
		time.Sleep(pause)
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if killed(t, c) {
			hit++
		} else {
			longest = max(pause, time.Millisecond) // it was done by then: the machine was busier when that was measured
		}
		if i%(rounds/8) == 0 { // each look reads everything
			s.inspect(t, trust)
			s.repair(t, trust)
		}
		if t.Failed() {
			t.Fatalf("after round %d", i)
		}
	}
	s.inspect(t, trust)
	s.repair(t, trust)
	if hit < rounds/2 {
		t.Errorf("only %d of %d children were killed", hit, rounds)
	}
	if got, also := len(s.noted(t, "committed")), len(s.noted(t, "archived")); min(got, also) < rounds/4 {
		t.Errorf("hardly anything was under way: %d snapshots and %d segments in %d rounds", got, also, rounds)
	}
}
