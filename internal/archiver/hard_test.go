package archiver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/test/servers"
)

// A value that no segment can hold is left to a snapshot, and the archive goes on behind it.
func TestTooLargeForASegment(t *testing.T) {
	t.Parallel()
	const limit = 40 << 20
	n := newPlace(t, 1).node(servers.StartEtcd(t, servers.EtcdConfig{Args: []string{"--max-request-bytes", fmt.Sprint(limit)}}))
	wide, err := clientv3.New(clientv3.Config{Endpoints: []string{n.server.Endpoint()}, MaxCallSendMsgSize: limit})
	n.must(err)
	t.Cleanup(func() { _ = wide.Close() }) // nothing of it is used any more
	n.start()
	first := n.put("a", 10)
	n.reaches(0, first)
	n.begun()
	taken := n.snapshots.Load()
	_, err = wide.Put(t.Context(), "too large", strings.Repeat("v", 20<<20))
	n.must(err)
	n.until("another snapshot", func() bool { return n.snapshots.Load() > taken })
	last := n.put("b", 10)
	n.wantOne(n.reaches(0, last), first, last)
	if n.gaps.Load() != 0 {
		t.Errorf("%d gaps", n.gaps.Load())
	}
}

// The wall clock was a year ahead. A new timeline begins, which is dated right, and nothing is lost.
func TestClockWasAhead(t *testing.T) {
	n := newNode(t, 1)
	var set atomic.Int64
	n.now = func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
	n.start()
	n.reaches(0, n.put("a", 10))
	old := n.last().Timeline
	set.Store(int64(365 * 24 * time.Hour))
	archived := n.put("ahead", 10)
	n.until("it is archived", func() bool {
		w := n.history(0, old).Window()
		return w[len(w)-1].Last >= archived
	})
	set.Store(0)
	back := n.put("back", 10)
	n.until("a new timeline", func() bool { return n.last().Timeline != old })
	last := n.put("after", 10)
	window := n.reaches(0, last)
	n.wantOne(window, back, last)
	if m := n.last(); m.TimelineParent != old || n.gaps.Load() != 0 {
		t.Errorf("parent %s, want %s; %d gaps", m.TimelineParent, old, n.gaps.Load())
	}
	for _, s := range window[0].Times {
		if s.To.After(time.Now().Add(time.Minute)) || s.From.Before(time.Now().Add(-time.Hour)) {
			t.Errorf("the new timeline tells of %s to %s", s.From, s.To)
		}
	}
}

// What ends every attempt at the same place is left to a snapshot in the end, and never while the member is in trouble, or has nothing new.
func TestStuck(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	live := n.put("a", 10)
	n.reaches(0, live)
	n.end()
	a, ctx := n.archiver, t.Context()
	member, err := n.connect(ctx)
	n.must(err)
	defer member.Close()
	attempts := func(at int64, cause error, times int) (hopeless bool) {
		a.cfg.pace.vain, a.vain = 20*time.Millisecond, vain{}
		for range times {
			hopeless = a.hopeless(ctx, member, follow.Position{Revision: at}, cause)
			time.Sleep(10 * time.Millisecond)
		}
		return hopeless
	}
	malformed := errors.New("something that a watch told")
	for name, tc := range map[string]struct {
		at    int64
		cause error
		times int
		want  bool
	}{
		"again and again":      {live - 1, malformed, vainTimes, true},
		"not for long":         {live - 1, malformed, 2, false},
		"nothing more to tell": {live, malformed, 2 * vainTimes, false},
		"at a hole":            {0, malformed, 2 * vainTimes, false},
		"our own fault":        {live - 1, fmt.Errorf("%w: disk full", follow.ErrRefused), 2 * vainTimes, false},
		"no permission":        {live - 1, fmt.Errorf("watch: %w", etcd.ErrPermission), 2 * vainTimes, false},
		"no error":             {live - 1, nil, 2 * vainTimes, false},
		"known at once":        {live - 1, fmt.Errorf("%w: 17 MiB", follow.ErrUnfit), 1, true},
	} {
		if got := attempts(tc.at, tc.cause, tc.times); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	n.server.Stop()
	if attempts(live-1, malformed, 2*vainTimes) {
		t.Error("a member that is down has a history that cannot be archived")
	}
}

// Two nodes that both write, for each watches the leader: what they store is one history, in one copy or two.
func TestTwoArchivers(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	one, other := p.node(server), p.node(server)
	one.start()
	first := one.put("a", 10)
	one.reaches(0, first)
	other.start()
	for i := range 20 {
		one.put("a", 20)
		switch i {
		case 8:
			one.end()
		case 12:
			one.start()
		}
	}
	last := one.put("a", 10)
	one.wantOne(one.reaches(0, last), first, last)
	other.wantOne(other.reaches(0, last), first, last)
	if one.gaps.Load()+other.gaps.Load() != 0 || !other.logged("written by this node") {
		t.Errorf("%d and %d gaps", one.gaps.Load(), other.gaps.Load())
	}
}

// busy writes from several clients at once until it is stopped, which returns how many writes there were and the revision then.
func (n *node) busy(writers int, value func() string) (stop func() (writes, revision int64)) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	group, _ := errgroup.WithContext(ctx)
	var writes atomic.Int64
	for range writers {
		kv := n.server.Client(n.t)
		group.Go(func() error {
			for ctx.Err() == nil {
				i := writes.Add(1)
				_, err := kv.Put(context.WithoutCancel(ctx), fmt.Sprint("busy/", i%2000), value())
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return func() (int64, int64) {
		n.t.Helper()
		cancel()
		n.must(group.Wait())
		return writes.Load(), n.put("busy", 1)
	}
}

// Compactions every second, defragmentation, snapshots and restarts of the member, all under writes: the archive has everything.
func TestBusyMember(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	first := n.put("a", 10)
	n.reaches(0, first)
	stop := n.busy(2, func() string { return "x" })
	for i := range 5 {
		time.Sleep(time.Second)
		_, err := n.kv.Compact(t.Context(), n.put("a", 1))
		n.must(err)
		switch i {
		case 1:
			n.archiver.ask()
		case 2:
			_, err := n.kv.Defragment(t.Context(), n.server.Endpoint())
			n.must(err)
		}
	}
	_, last := stop()
	n.reaches(0, last)
	n.server.Kill()
	n.server.Start()
	last = n.put("restarted", 10)
	n.wantOne(n.reaches(0, last), first, last)
	if n.gaps.Load() != 0 {
		t.Errorf("%d gaps", n.gaps.Load())
	}
}

// TestBusyWithoutTarget: while no target takes anything, what thousands of writes a second bring waits on the disk, sealed, and not in memory.
func TestBusyWithoutTarget(t *testing.T) { busyWithoutTarget(t, 10*time.Second, 1<<10) }

// busyWithoutTarget writes values of 1 KiB, of which so many bytes do not compress.
func busyWithoutTarget(t *testing.T, away time.Duration, random int) {
	const most = 128 << 20
	p := newPlace(t, 1)
	n := p.node(servers.StartEtcd(t, servers.EtcdConfig{Args: []string{"--quota-backend-bytes", fmt.Sprint(8 << 30)}}))
	n.start()
	first := n.put("a", 10)
	n.reaches(0, first)
	n.patience = patience + away
	stop := n.busy(32, func() string {
		b := make([]byte, 1<<10)
		for i := range random {
			b[i] = byte(rand.Uint32())
		}
		return string(b)
	})
	// What the writers take, with the race detector several times as much, is not the archiver's.
	n.until("the writers are at work", func() bool { return n.put("a", 1) > first+500 })
	p.buckets[0].SetDown(errors.New("the network is away"))
	used := peak(t)
	compacted := int64(0)
	for end := time.Now().Add(away); time.Now().Before(end); {
		second := n.put("a", 1)
		time.Sleep(time.Second)
		upTo := min(second, n.spooled()) // a disk may need seconds for a sync: no gap is to come of that
		if upTo <= compacted {
			continue
		}
		_, err := n.kv.Compact(t.Context(), upTo)
		n.must(err)
		compacted = upTo
	}
	writes, last := stop()
	n.until("all of it is in the spool", func() bool { return n.spooled() >= last })
	grown := used()
	t.Logf("%d writes of 1 KiB in %s, %d MiB more at the peak", writes, away, grown>>20)
	if grown > most {
		t.Errorf("it takes %d MiB, more than %d", grown>>20, most>>20)
	}
	p.buckets[0].SetDown(nil)
	n.end()
	n.start() // tried at once
	n.wantOne(n.reaches(0, last), first, last)
	if n.gaps.Load() != 0 {
		t.Errorf("%d gaps", n.gaps.Load())
	}
}

// peak begins to measure this process, and returns how much more memory it has had at most since then.
func peak(t *testing.T) func() int64 {
	t.Helper()
	debug.FreeOSMemory()
	before := resident(t, "VmRSS")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil { // forgets the peak
		t.Fatal(err)
	}
	return func() int64 { return resident(t, "VmHWM") - before }
}

// resident is a line of this process's status in bytes.
func resident(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in %s", name, text)
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
