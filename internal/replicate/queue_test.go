package replicate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// asChild makes the test binary play a process that is killed.
const asChild = "DRD_TEST_QUEUE"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

func TestReachesEveryTarget(t *testing.T) {
	n := newNode(t, 2)
	for i := range 3 {
		n.enqueue(i)
	}
	n.drain()
	for i := range 2 {
		n.wantHeld(i, 0, 1, 2)
		if s := n.q.Status()[i]; s.State != StateIdle || s.Queued != 0 || s.Proved != 3 || s.Failures != 0 || s.Lost != 0 {
			t.Errorf("status %+v", s)
		}
	}
	if got := n.logged("proved=plaintext"); got != 6 {
		t.Errorf("%d copies are logged as proved:\n%s", got, n.log)
	}
	n.clean()
}

// TestDayWithoutOneTarget: the other one does not notice; the one that was down gets everything, the newest first.
func TestDayWithoutOneTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		defer n.start()()
		n.buckets[0].SetDown(errors.New("no route to host"))
		for i := range 8 {
			n.enqueue(i)
			time.Sleep(time.Second)
			synctest.Wait()
			if got := n.held(1); len(got) != i+1 {
				t.Errorf("a second after snapshot %d the other target holds %v", i, got)
			}
			time.Sleep(3*time.Hour - time.Second)
		}
		s := n.q.Status()
		if s[0].State != StateWaiting || s[0].Queued != 8 || !s[0].Oldest.Equal(when) || s[0].Attempts < 250 || s[0].LastError == nil {
			t.Errorf("status of the dead one: %+v", s[0])
		}
		if since := time.Since(s[0].Since); since < 23*time.Hour || until(s[0].Next) > longestWait {
			t.Errorf("it fails since %s, next attempt in %s", since, until(s[0].Next))
		}
		if s[1].State != StateIdle || s[1].Queued != 0 || !s[1].Oldest.IsZero() {
			t.Errorf("status of the other: %+v", s[1])
		}
		if got := n.logged("level=ERROR"); got != 1 {
			t.Errorf("%d lines for a day of failures:\n%s", got, n.log)
		}

		n.buckets[0].SetDown(nil)
		time.Sleep(longestWait + time.Second)
		synctest.Wait()
		n.wantHeld(0, 0, 1, 2, 3, 4, 5, 6, 7)
		n.clean()
		order := arrivals(n.log.String(), "t0")
		first := slices.Index(order, 7)
		if rest := slices.Delete(slices.Clone(order), 0, 1); first > 1 || !slices.IsSortedFunc(rest, func(a, b int) int { return b - a }) {
			t.Errorf("arrived in the order %v", order)
		}
		if n.logged("takes snapshots again") != 1 {
			t.Errorf("the end is not logged once:\n%s", n.log)
		}
	})
}

func until(t time.Time) time.Duration { return time.Until(t) }

// arrivals are the numbers of the snapshots that a target got, in order.
func arrivals(log, target string) []int {
	var order []int
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `msg="snapshot replicated"`) || !strings.Contains(line, "target="+target+" ") {
			continue
		}
		_, after, _ := strings.Cut(line, "snapshot=")
		name, _, _ := strings.Cut(after, " ")
		if id, err := repo.ParseID(name); err == nil {
			order = append(order, numberOf(id))
		}
	}
	return order
}

// TestRefused: said once, with what to do, then tried slowly; and at once when somebody asks for it.
func TestRefused(t *testing.T) {
	for _, refusal := range []error{storage.ErrDenied, storage.ErrNoBucket} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, 1)
			defer n.start()()
			n.buckets[0].SetDown(hint.New(refusal, "look at the policy"))
			n.enqueue(0)
			time.Sleep(6 * time.Hour)
			synctest.Wait()
			if got := n.q.Status()[0].Attempts; got < 24 || got > 31 {
				t.Errorf("%d attempts in six hours", got)
			}
			if n.logged("level=ERROR") != 1 || n.logged(`hint="look at the policy"`) != 1 {
				t.Errorf("the log says:\n%s", n.log)
			}
			n.buckets[0].SetDown(nil)
			n.q.Retry()
			synctest.Wait()
			n.wantHeld(0, 0)
		})
	}
}

// TestNewSnapshotIsAReason to try a target that waits, once.
func TestNewSnapshotIsAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		defer n.start()()
		n.buckets[0].SetDown(storage.ErrDenied)
		n.enqueue(0)
		time.Sleep(time.Minute)
		synctest.Wait() // it looks at the spool every half minute, and a look that is under way is a second attempt
		before := n.q.Status()[0].Attempts
		n.enqueue(1)
		time.Sleep(time.Minute)
		if got := n.q.Status()[0].Attempts - before; got != 1 {
			t.Errorf("%d attempts", got)
		}
		n.buckets[0].SetDown(nil)
		n.enqueue(2)
		time.Sleep(time.Second)
		synctest.Wait()
		n.wantHeld(0, 0, 1, 2)
	})
}

// TestOneSnapshotDoesNotHoldUpOthers: one that the target will not take, for a reason that looks as if it may pass.
func TestOneSnapshotDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		for i := range 4 {
			n.enqueue(i)
		}
		n.buckets[0].CutReads(idOf(3).String()+"/snapshot.db", 100, false)
		defer n.start()()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := n.spooled(); !slices.Equal(got, []int{3}) {
			t.Errorf("after an hour the spool holds %v", got)
		}
	})
}

// TestConflict: both are kept, it is said once and never tried again, and the others go on.
func TestConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		key := n.cfg.Targets[0].Repo.PayloadKey(idOf(0), "snapshot.db.zst.age")
		if _, err := n.buckets[0].Create(t.Context(), key, strings.NewReader("something else")); err != nil {
			t.Fatal(err)
		}
		n.enqueue(0)
		stop := n.start()
		time.Sleep(time.Minute)
		calls := n.buckets[0].Calls(storagetest.OpStat)
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if again := n.buckets[0].Calls(storagetest.OpStat); again != calls {
			t.Errorf("asked %d times more", again-calls)
		}
		n.enqueue(1)
		time.Sleep(time.Second)
		synctest.Wait()
		stop()
		n.wantHeld(0, 1)
		n.wantHeld(1, 0, 1)
		if got := n.spooled(); !slices.Equal(got, []int{0}) {
			t.Errorf("the spool holds %v, want the snapshot whose name is taken", got)
		}
		if b, err := os.ReadFile(filepath.Join(n.dirs[0], key)); err != nil || string(b) != "something else" {
			t.Errorf("the other object is %q, %v", b, err)
		}
		if s := n.q.Status()[0]; s.Queued != 1 || s.Failed != 1 || s.Lost != 1 || s.Damaged != 0 {
			t.Errorf("status %+v", s)
		}
		if n.logged("will never have") != 1 || n.logged("reason=conflict") != 1 {
			t.Errorf("the log says:\n%s", n.log)
		}
		if d := cmp.Diff([]string{"t0 0: conflict in the target"}, n.losses()); d != "" {
			t.Error(d)
		}
		n.reopen() // what is known survives a restart
		calls = n.buckets[0].Calls(storagetest.OpStat)
		stop = n.start()
		time.Sleep(time.Minute)
		stop()
		if again := n.buckets[0].Calls(storagetest.OpStat); again != calls {
			t.Errorf("asked %d times more after the restart", again-calls)
		}
	})
}

// TestDamagedInTarget: a fresh snapshot is wanted; the good local copy stays until the target has it.
func TestDamagedInTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		n.buckets[0].FlipBit(idOf(0).String()+"/snapshot.db", 500, false)
		n.enqueue(0)
		defer n.start()()
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := n.q.Status()[0]; s.Damaged != 1 || s.Failed != 1 || s.Lost != 1 || s.Proved != 0 || s.Attempts != 0 {
			t.Errorf("status %+v", s)
		}
		if got := n.spooled(); !slices.Equal(got, []int{0}) {
			t.Errorf("the spool holds %v", got)
		}
		if n.logged("reason=damaged") != 1 || n.logged("do not count on this copy") != 1 {
			t.Errorf("the log says:\n%s", n.log)
		}
		n.enqueue(1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := n.q.Status()[0]; s.Queued != 0 || s.Proved != 1 || s.Lost != 1 {
			t.Errorf("with a newer one: %+v", s)
		}
		n.clean()
	})
}

// TestDamagedOnTheWay is not damaged there: the second look finds it good.
func TestDamagedOnTheWay(t *testing.T) {
	n := newNode(t, 1)
	n.buckets[0].FlipBit("snapshot.db", 500, true)
	n.enqueue(0)
	n.drain()
	n.wantHeld(0, 0)
	if s := n.q.Status()[0]; s.Damaged+s.Failures+s.Lost != 0 || s.Proved != 1 {
		t.Errorf("status %+v", s)
	}
}

// TestHowItWasProved is in the mark.
func TestHowItWasProved(t *testing.T) {
	for want, change := range map[Proof]func(*node){
		ProofPlaintext:  func(*node) {},
		ProofCiphertext: func(n *node) { n.must(n.cfg.Keys.Bound(0)) }, // as a reboot does
		ProofChecksum:   func(n *node) { n.cfg.Targets[0].ReadBack = false; n.reopen() },
	} {
		n := newNode(t, 2)
		n.buckets[1].SetDown(errors.New("down")) // so that the mark stays
		n.enqueue(0)
		change(n)
		stop := n.start()
		n.until("a copy", func() bool { return n.q.Status()[0].Proved == 1 })
		stop()
		b, err := os.ReadFile(filepath.Join(n.cfg.StateDir, "replication", "t0", idOf(0).String()))
		n.must(err)
		var m mark
		n.must(json.Unmarshal(b, &m))
		if m.Proved != want || m.Verdict != done || m.At.IsZero() || !strings.HasPrefix(m.Location, "file://") {
			t.Errorf("mark %s, want %s", b, want)
		}
	}
}

// TestBound: the oldest go first, with a record; the newest stays even when it is too large alone.
func TestBound(t *testing.T) {
	n := newNode(t, 2)
	n.buckets[0].SetDown(errors.New("down"))
	n.enqueue(0)
	stop := n.start()
	n.until("a copy in t1", func() bool { return len(n.held(1)) == 1 })
	n.until("the mark", func() bool { return n.q.Status()[1].Proved == 1 })
	stop()
	n.buckets[1].SetDown(errors.New("down"))
	entries, err := n.q.spool.entries()
	n.must(err)
	n.cfg.SpoolMax = entries[0].size * 5 / 2
	n.reopen()
	n.enqueue(1)
	if got := n.spooled(); !slices.Equal(got, []int{0, 1}) || len(n.losses()) != 0 {
		t.Fatalf("the spool holds %v, lost are %v", got, n.losses())
	}
	n.enqueue(2)
	if got := n.spooled(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("the spool holds %v", got)
	}
	if d := cmp.Diff([]string{"t0 0: the spool was full"}, n.losses()); d != "" {
		t.Error(d)
	}
	n.cfg.SpoolMax = 1
	n.reopen()
	n.enqueue(3)
	if got := n.spooled(); !slices.Equal(got, []int{3}) {
		t.Errorf("the spool holds %v", got)
	}
	if s := n.q.Status(); s[0].Lost != 3 || s[1].Lost != 2 {
		t.Errorf("status %+v", s)
	}
	if got := n.logged(`msg="a snapshot is lost for a target"`); got != 5 {
		t.Errorf("%d losses are logged", got)
	}
	for _, b := range n.buckets {
		b.SetDown(nil)
	}
	n.reopen()
	n.drain()
	n.wantHeld(0, 3)
	n.wantHeld(1, 0, 3)
	n.clean()
}

// TestClockSetBack: the snapshot that was just taken is older than what waits, by its date, and is not dropped for that.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		n.buckets[0].SetDown(errors.New("down"))
		n.cfg.SpoolMax = 1
		n.reopen()
		defer n.start()()
		n.enqueue(10)
		n.enqueue(5)
		if got := n.spooled(); !slices.Equal(got, []int{5, 10}) {
			t.Errorf("the spool holds %v", got)
		}
		n.enqueue(6)
		if got := n.spooled(); !slices.Equal(got, []int{6, 10}) {
			t.Errorf("then %v", got)
		}
		n.buckets[0].SetDown(nil)
		time.Sleep(longestWait)
		synctest.Wait()
		n.wantHeld(0, 6, 10)
	})
}

// TestFullDisk: the capture fails clearly, and what waits is not touched.
func TestFullDisk(t *testing.T) {
	n := newNode(t, 1)
	n.enqueue(0)
	var own []*storagetest.Faulty
	n.wrap = func(b storage.Bucket) storage.Bucket {
		own = append(own, storagetest.NewFaulty(b))
		return own[len(own)-1]
	}
	n.reopen()
	full := fmt.Errorf("create: %w", syscall.ENOSPC)
	p, key, signed := n.sealed(1)
	d, err := n.q.Begin(p, key, time.Now())
	n.must(err)
	n.must(os.Remove(p.Path))
	own[0].FailCall(storagetest.OpCreate, 2, full) // the manifest; the signature is written
	err = d.Commit(t.Context(), signed)
	if !errors.Is(err, syscall.ENOSPC) || len(hint.Of(err)) == 0 {
		t.Errorf("error %v, hints %q", err, hint.Of(err))
	}
	n.must(d.Withdraw())
	if got := n.spooled(); !slices.Equal(got, []int{0}) {
		t.Errorf("the spool holds %v", got)
	}
	if _, ok := n.cfg.Keys.Get(n.cfg.Targets[0].Repo.PayloadKey(idOf(1), p.Name)); ok {
		t.Error("the key of the withdrawn snapshot is kept")
	}
	own[1].FailCall(storagetest.OpCreate, 1, full) // a mark: the copy is there and proved, and that cannot be written down
	n.drain()
	n.wantHeld(0, 0)
	if s := n.q.Status()[0]; s.Failures != 1 || s.Lost != 0 {
		t.Errorf("status %+v", s)
	}
	n.clean()
}

// TestTargetsChange: a target that is added gets what is still there; one that is removed holds up nothing; and one that
// is another bucket now is another target.
func TestTargetsChange(t *testing.T) {
	n := newNode(t, 2)
	n.buckets[0].SetDown(errors.New("down"))
	n.enqueue(0)
	stop := n.start()
	n.until("a copy in t1", func() bool { return n.q.Status()[1].Proved == 1 })
	stop()

	n.addTarget()
	moved := n.cfg.Targets[2]
	moved.Name = "t1"
	n.cfg.Targets = []Target{n.cfg.Targets[0], moved}
	n.reopen()
	stop = n.start()
	n.until("a copy in the new t1", func() bool { return n.q.Status()[1].Proved == 1 })
	stop()
	n.wantHeld(2, 0)

	n.cfg.Targets = []Target{moved}
	n.reopen()
	n.drain()
	n.clean()
}

// TestTwoProcesses on one state directory never upload the same object at once, and nothing is lost between them.
func TestTwoProcesses(t *testing.T) {
	n := newNode(t, 2)
	for i := range 10 {
		n.enqueue(i)
	}
	stop := n.start()
	defer stop()
	n.reopen()
	n.drain()
	for i, b := range n.buckets {
		n.wantHeld(i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		if got := b.Calls(storagetest.OpCreate); got != 30 {
			t.Errorf("%d writes to t%d for ten snapshots of three objects", got, i)
		}
	}
	if n.logged("level=ERROR") != 0 {
		t.Errorf("the log says:\n%s", n.log)
	}
	stop()
	n.clean()
}

// TestOthersEntries: what another process enqueued is found.
func TestOthersEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		defer n.start()()
		synctest.Wait()
		n.reopen()
		n.enqueue(0)
		time.Sleep(pollEvery + time.Second)
		synctest.Wait()
		n.wantHeld(0, 0)
		n.clean()
	})
}

// TestFirstAttempt is all that a command waits for; what it leaves is there for the daemon, what it finds is not touched.
func TestFirstAttempt(t *testing.T) {
	n := newNode(t, 2)
	n.enqueue(0)
	n.reopen()
	n.buckets[0].SetDown(errors.New("no route to host"))
	ctx, cancel := testContext(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.q.RunOnce(ctx)
	}()
	d := n.enqueue(1)
	o := d.Wait(t.Context())
	cancel()
	<-ended
	if o[0].Err == nil || o[0].Commit != 0 || o[1].Err != nil || o[1].Proved < o[1].Commit || o[1].Commit == 0 || !d.Spooled() {
		t.Errorf("outcomes %+v, spooled %v", o, d.Spooled())
	}
	n.wantHeld(1, 1)
	n.buckets[0].SetDown(nil)
	n.reopen()
	n.drain()
	n.wantHeld(0, 0, 1)
	n.wantHeld(1, 0, 1)
}

// TestWithdrawn: a snapshot that turns out to be damaged leaves nothing, also while a target receives it.
func TestWithdrawn(t *testing.T) {
	n := newNode(t, 1)
	stop := n.start()
	defer stop()
	p, key, _ := n.sealed(0)
	d, err := n.q.Begin(p, key, time.Now())
	n.must(err)
	n.must(os.Remove(p.Path))
	n.must(d.Withdraw())
	stop()
	n.clean()
	if got := n.held(0); len(got) != 0 {
		t.Errorf("the target holds %v", got)
	}
}

// TestKilledAfterItsLastMark leaves what a process leaves that was killed between the two names of a mark, with no work left
// to do.
func TestKilledAfterItsLastMark(t *testing.T) {
	n := newNode(t, 1)
	n.enqueue(1)
	n.drain()
	marks := filepath.Join(n.cfg.StateDir, "replication", "t0")
	archive := filepath.Join(marks, segmentMarks+"00000000000000a1")
	n.must(os.MkdirAll(archive, 0o700))
	for _, home := range []string{marks, archive} {
		n.must(os.WriteFile(filepath.Join(home, storage.TempPrefix+"A-b"), nil, 0o600))
	}
	n.reopen()
	n.drain()
	n.clean()
}

// TestSpoolIsDisposable: removing all or a part of it costs what had no other copy, and says so.
func TestSpoolIsDisposable(t *testing.T) {
	n := newNode(t, 1)
	n.buckets[0].SetDown(errors.New("down"))
	d := n.enqueue(0)
	n.must(os.Remove(d.Path))
	stop := n.start()
	n.until("the loss", func() bool { return len(n.losses()) == 1 })
	n.until("an empty spool", func() bool { return len(n.spooled()) == 0 })
	stop()
	if s := n.q.Status()[0]; s.Damaged != 1 || s.Lost != 1 {
		t.Errorf("status %+v", s)
	}
	n.enqueue(1)
	n.must(os.RemoveAll(n.q.SpoolDir()))
	n.buckets[0].SetDown(nil)
	n.reopen()
	n.enqueue(2)
	n.drain()
	n.wantHeld(0, 2)
	n.clean()
}

// TestSpooledCopyRots: no target gets it, each loses it, and a fresh one is wanted.
func TestSpooledCopyRots(t *testing.T) {
	n := newNode(t, 2)
	d := n.enqueue(0)
	b, err := os.ReadFile(d.Path)
	n.must(err)
	b[len(b)/2] ^= 1
	n.must(os.WriteFile(d.Path, b, 0o600))
	n.drain()
	for i, s := range n.q.Status() {
		n.wantHeld(i)
		if s.Lost != 1 {
			t.Errorf("status %+v", s)
		}
	}
	if s := n.q.Status(); s[0].Damaged+s[1].Damaged == 0 {
		t.Error("no fresh snapshot is wanted")
	}
}

func TestBackoff(t *testing.T) {
	ceiling := 2 * time.Second
	for failures := 1; failures < 100; failures++ {
		for range 50 {
			if d := backoff(failures); d < shortestWait || d > ceiling {
				t.Fatalf("%s after %d failures, want up to %s", d, failures, ceiling)
			}
		}
		ceiling = min(2*ceiling, longestWait)
	}
}

// TestLossesAreBounded, and the totals survive.
func TestLossesAreBounded(t *testing.T) {
	l := openLosses(t.TempDir())
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		t.Fatal(err)
	}
	all := []Loss{{Target: "rare", Snapshot: "a", Total: 7}}
	for i := range maxLost + 5 {
		all = append(all, Loss{Target: "often", Snapshot: fmt.Sprint(i), Total: i + 1})
	}
	if err := l.write(all); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is known
		if _, err := l.add(t.Context(), "often", idOf(0), "the spool was full"); err != nil {
			t.Fatal(err)
		}
	}
	totals, err := l.totals()
	if d := cmp.Diff(map[string]int{"rare": 7, "often": maxLost + 6}, totals); d != "" || err != nil {
		t.Errorf("%s%v", d, err)
	}
	if left, err := l.read(); err != nil || len(left) != maxLost {
		t.Errorf("%d lines, %v", len(left), err)
	}
}
