package replicate

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// keeping is a node with two targets that keeps so many copies.
func keeping(t *testing.T, copies int) *node {
	t.Helper()
	n := newNode(t, 2)
	n.cfg.Keep = copies
	n.reopen()
	return n
}

// wantKept fails unless the spool holds exactly these copies, and none of them waits or is lost.
func (n *node) wantKept(kept ...int) {
	n.t.Helper()
	n.clean(kept...)
	for _, s := range n.q.Status() {
		if s.Kept != len(kept) || s.Queued != 0 || s.Failed != 0 || s.Lost != 0 || !s.Oldest.IsZero() {
			n.t.Errorf("status %+v, want %d kept and none that waits", s, len(kept))
		}
	}
}

// asked is how often a target was called.
func (n *node) asked(target int) int {
	b := n.buckets[target]
	return b.Calls(storagetest.OpCreate) + b.Calls(storagetest.OpStat) + b.Calls(storagetest.OpOpen) + b.Calls(storagetest.OpList)
}

// TestKeepsTheNewest, also when they arrive in another order and over a restart; a smaller number counts at once.
func TestKeepsTheNewest(t *testing.T) {
	n := keeping(t, 2)
	n.enqueue(0)
	n.drain()
	n.wantKept(0)
	for i := 1; i < 5; i++ {
		n.enqueue(i) // that a target gets them the newest first makes no difference
	}
	n.drain()
	n.wantKept(3, 4)
	calls := n.asked(0)
	n.reopen()
	if s, err := n.q.Look(); err != nil || s[0].Kept != 2 || s[0].Queued != 0 {
		t.Errorf("for somebody who only looks: %+v, %v", s, err)
	}
	n.drain()
	n.wantKept(3, 4)
	if more := n.asked(0) - calls; more != 0 {
		t.Errorf("a target is asked %d times for copies that it has", more)
	}
	n.cfg.Keep = 1
	n.reopen()
	n.drain()
	n.wantKept(4)
	n.cfg.Keep = 0
	n.reopen()
	n.drain()
	n.wantKept()
	for i := range n.buckets {
		n.wantHeld(i, 0, 1, 2, 3, 4)
	}
}

// TestKeptUntilTheNextArrives: while a target lacks what is newer, the copy that it has stays.
func TestKeptUntilTheNextArrives(t *testing.T) {
	n := keeping(t, 1)
	n.enqueue(0)
	n.drain()
	n.buckets[0].SetDown(errors.New("down"))
	d := n.enqueue(1)
	stop := n.start()
	n.until("a copy in t1", func() bool { s := n.q.Status()[1]; return s.Proved == 2 && s.Queued == 0 })
	stop()
	if s := n.q.Status(); s[0].Queued != 1 || s[1].Queued != 0 || s[0].Kept != 1 || !slices.Equal(n.spooled(), []int{0, 1}) {
		t.Errorf("the spool holds %v, status %+v", n.spooled(), s)
	}
	if !d.Spooled() {
		t.Error("what a target lacks does not count as in the spool")
	}
	n.buckets[0].SetDown(nil)
	n.q.Retry()
	n.drain()
	n.wantKept(1)
	if d.Spooled() {
		t.Error("a kept copy counts as one that waits")
	}
}

// TestKeptGoFirst: what waits is dropped, and counts as lost, only when no kept copy is left.
func TestKeptGoFirst(t *testing.T) {
	n := keeping(t, 2)
	n.enqueue(0)
	n.enqueue(1)
	n.drain()
	entries, err := n.q.spool.entries()
	n.must(err)
	n.cfg.SpoolMax = entries[0].size * 5 / 2
	n.reopen()
	n.buckets[0].SetDown(errors.New("down"))
	for i, want := range [][]int{{1, 2}, {2, 3}} {
		n.enqueue(2 + i)
		if got := n.spooled(); !slices.Equal(got, want) || len(n.losses()) != 0 {
			t.Fatalf("with %d the spool holds %v, want %v; lost are %v", 2+i, got, want, n.losses())
		}
	}
	n.enqueue(4)
	if got := n.losses(); !slices.Equal(got, []string{"t0 2: the spool was full", "t1 2: the spool was full"}) {
		t.Errorf("lost are %v", got)
	}
	n.buckets[0].SetDown(nil)
	n.reopen()
	n.drain()
	n.clean(3, 4)
	n.cfg.SpoolMax = 1 // the bound is that of the disk: it holds for copies, even for the newest
	n.reopen()
	n.drain()
	n.clean()
}

// TestKeptGoBeforeOlder snapshots that wait: here one that a target cannot store, which has no other copy there.
func TestKeptGoBeforeOlder(t *testing.T) {
	n := keeping(t, 1)
	key := n.cfg.Targets[0].Repo.PayloadKey(idOf(0), "snapshot.db"+seal.Default().Extension())
	if _, err := n.buckets[0].Create(t.Context(), key, strings.NewReader("something else")); err != nil {
		t.Fatal(err)
	}
	n.enqueue(0)
	n.enqueue(1)
	stop := n.start()
	n.until("copies", func() bool {
		s := n.q.Status()
		return s[0].Proved == 1 && s[0].Failed == 1 && s[1].Proved == 2 && s[0].Kept == 1
	})
	stop()
	entries, err := n.q.spool.entries()
	n.must(err)
	n.cfg.SpoolMax = entries[0].size * 5 / 2
	n.reopen()
	n.buckets[1].SetDown(errors.New("down"))
	n.enqueue(2)
	if got := n.spooled(); !slices.Equal(got, []int{0, 2}) {
		t.Errorf("the spool holds %v, want the one that waits and the new one", got)
	}
	if got := n.losses(); !slices.Equal(got, []string{"t0 0: conflict in the target"}) {
		t.Errorf("lost are %v", got)
	}
}

// TestYield: copies make room, as many as it takes; and none where all of them are not enough.
func TestYield(t *testing.T) {
	n := keeping(t, 3)
	for i := range 3 {
		n.enqueue(i)
	}
	n.drain()
	n.buckets[0].SetDown(errors.New("down"))
	n.enqueue(3)
	entries, err := n.q.spool.entries()
	n.must(err)
	one := entries[0].size
	for _, step := range []struct {
		size int64
		left []int
	}{
		{4 * one, []int{0, 1, 2, 3}}, {0, []int{0, 1, 2, 3}}, {one / 2, []int{1, 2, 3}}, {one * 3 / 2, []int{3}}, {one, []int{3}},
	} {
		n.must(n.q.Yield(t.Context(), step.size))
		if got := n.spooled(); !slices.Equal(got, step.left) {
			t.Fatalf("after yielding %d bytes the spool holds %v, want %v", step.size, got, step.left)
		}
	}
	if s := n.q.Status()[0]; s.Kept != 0 || s.Lost != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestKeptAndTheClock: a snapshot dated in the future does not keep out those that come. With a clock that is behind,
// all are in the future, and the newest stay as ever.
func TestKeptAndTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock begins in the year 2000
		n := keeping(t, 1)
		n.enqueue(8)
		n.enqueue(9)
		n.drain()
		n.wantKept(9)
		time.Sleep(time.Until(when.Add(2 * time.Hour)))
		n.reopen()
		n.drain()
		n.wantKept(9)
		n.enqueue(0)
		n.drain()
		n.wantKept(0)
		n.enqueue(1)
		n.drain()
		n.wantKept(1)
	})
}

// TestKeptCopyRots: it goes, nothing is lost with it, and another one may stay.
func TestKeptCopyRots(t *testing.T) {
	for name, spoil := range map[string]func(path, manifest string) error{
		"no payload":         func(path, _ string) error { return os.Remove(path) },
		"a short payload":    func(path, _ string) error { return os.Truncate(path, 100) },
		"an empty manifest":  func(_, manifest string) error { return os.Truncate(manifest, 0) },
		"rubbish, all of it": func(_, manifest string) error { return os.WriteFile(manifest, []byte(`{"format": 1}`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			n := keeping(t, 2)
			n.enqueue(0)
			d := n.enqueue(1)
			n.drain()
			n.wantKept(0, 1)
			n.must(spoil(d.Path, n.q.spool.path(n.q.spool.repo.ManifestKey(d.ID))))
			n.cfg.Keep = 1
			n.reopen()
			n.drain()
			n.wantKept(0)
			if n.logged("level=ERROR") != 0 {
				t.Errorf("the log says:\n%s", n.log)
			}
		})
	}
}

// TestManifestRots of a snapshot that waits: it is lost for the target that lacks it, and tried no more.
func TestManifestRots(t *testing.T) {
	n := keeping(t, 1)
	n.buckets[0].SetDown(errors.New("down"))
	d := n.enqueue(0)
	stop := n.start()
	n.until("a copy in t1", func() bool { return n.q.Status()[1].Proved == 1 })
	stop()
	n.buckets[0].SetDown(nil)
	n.must(os.Truncate(n.q.spool.path(n.q.spool.repo.ManifestKey(d.ID)), 0))
	n.reopen()
	n.drain()
	n.clean()
	if got := n.losses(); !slices.Equal(got, []string{"t0 0: the spooled copy was incomplete"}) {
		t.Errorf("lost are %v", got)
	}
}

// TestKeptForNewTarget: a target that is added gets what is kept.
func TestKeptForNewTarget(t *testing.T) {
	n := keeping(t, 1)
	n.enqueue(0)
	n.drain()
	n.addTarget()
	n.reopen()
	n.drain()
	n.wantHeld(2, 0)
	n.wantKept(0)
}
