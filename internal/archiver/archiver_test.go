package archiver

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/test/servers"
)

// The first thing is a snapshot, and what is written from then on can be restored, without a hole between the two.
func TestFromNothing(t *testing.T) {
	n := newNode(t, 2)
	n.put("before", 20)
	n.start()
	n.until("a snapshot", func() bool { return n.snapshots.Load() > 0 })
	first := n.put("while it begins", 50)
	last := n.put("after", 30)
	for target := range n.targets {
		n.wantOne(n.reaches(target, last), first, last)
	}
	n.put("tail", 7)
	tail := n.put("tail", 1)
	n.end()
	n.start() // what was in the spool arrives
	n.wantOne(n.reaches(0, tail), first, tail)
	if n.gaps.Load() != 0 {
		t.Errorf("%d gaps", n.gaps.Load())
	}
	if taken := n.snapshots.Load(); taken > 3 {
		t.Errorf("%d snapshots for a beginning", taken)
	}
}

// A restart goes on where the archive ended, also without the state file, and needs no snapshot for it.
func TestRestart(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	first := n.put("a", 20)
	n.reaches(0, first)
	n.begun()
	taken := n.snapshots.Load()
	for i, change := range []func(){
		func() {},
		func() { n.must(os.Remove(statePath(n.state))) },
		func() { n.must(os.WriteFile(statePath(n.state), []byte(`{"cluster": "prod-`), 0o600)) },
	} {
		n.end()
		n.put("meanwhile", 40)
		change()
		n.start()
		last := n.put("after", 10)
		n.wantOne(n.reaches(0, last), first, last)
		if n.snapshots.Load() != taken || n.gaps.Load() != 0 {
			t.Errorf("restart %d: %d snapshots and %d gaps", i, n.snapshots.Load()-taken, n.gaps.Load())
		}
	}
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// A compaction that overtook the archive leaves a gap, which is told, and a snapshot closes it.
func TestCompactionAhead(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	archived := n.put("a", 20)
	n.reaches(0, archived)
	for range 2 { // also with the state lost
		n.end()
		gaps, taken := n.gaps.Load(), n.snapshots.Load()
		n.put("lost", 100)
		compacted := n.put("kept", 1)
		_, err := n.kv.Compact(t.Context(), compacted)
		n.must(err)
		n.start()
		last := n.put("after", 10)
		window := n.reaches(0, last)
		if n := len(window); n < 2 || window[n-2].Last < archived || window[n-1].First != compacted {
			t.Errorf("archived up to %d, compacted at %d: the window is %+v", archived, compacted, window)
		}
		n.put("more", 10)
		archived = n.put("more", 10)
		n.reaches(0, archived)
		if n.gaps.Load() != gaps+1 || n.snapshots.Load() == taken || n.snapshots.Load() > taken+2 {
			t.Errorf("%d gaps and %d snapshots", n.gaps.Load()-gaps, n.snapshots.Load()-taken)
		}
		n.end()
		n.must(os.Remove(statePath(n.state)))
	}
}

// Too far behind for a watch is no gap while the member still has the history: the snapshot holds it.
func TestFarBehind(t *testing.T) {
	n := newNode(t, 1)
	n.pace.maxBehind = 50
	n.start()
	first := n.put("a", 20)
	n.reaches(0, first)
	n.end()
	n.put("meanwhile", 300)
	n.start()
	last := n.put("after", 10)
	n.wantOne(n.reaches(0, last), first, last)
	if n.gaps.Load() != 0 || n.snapshots.Load() < 2 {
		t.Errorf("%d gaps, %d snapshots", n.gaps.Load(), n.snapshots.Load())
	}
}

// A hole stays known over a restart that comes before the snapshot which closes it.
func TestHoleOutlivesRestart(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	first := n.put("a", 20)
	n.reaches(0, first)
	n.end()
	n.must(n.archiver.change(func(s *state) { // as if killed after the first segment beyond a hole
		s.Open, s.Behind, s.Since = s.Position.Revision+5, s.Position.Revision, time.Time{}
	}))
	taken := n.snapshots.Load()
	n.put("b", 20)
	n.hold = make(chan struct{})
	n.start()
	if _, whole := n.archiver.Whole(); whole {
		t.Error("what lies beyond a hole counts as restorable")
	}
	close(n.hold)
	n.wantOne(n.reaches(0, n.put("c", 5)), first, first+25)
	if n.snapshots.Load() != taken+1 {
		t.Errorf("%d snapshots", n.snapshots.Load()-taken)
	}
	if since, _ := n.archiver.Whole(); !since.Equal(n.last().CaptureStart) {
		t.Errorf("the archive goes on from %s, the snapshot is of %s", since, n.last().CaptureStart)
	}
}

// The store was set back to an older state, with the same cluster and members, and has gone further since: other changes have
// the same revisions. The archive ends there, and goes on in a new timeline.
func TestFork(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	n.reaches(0, n.put("a", 20))
	n.end()
	old := n.last().Timeline
	n.server.Stop()
	copied := filepath.Join(t.TempDir(), "copy")
	n.must(os.CopyFS(copied, os.DirFS(n.server.DataDir())))
	n.server.Start()
	n.start()
	archived := n.put("lost", 30)
	n.reaches(0, archived)
	n.end()

	n.server.Stop()
	n.must(os.RemoveAll(n.server.DataDir()))
	n.must(os.CopyFS(n.server.DataDir(), os.DirFS(copied)))
	n.server.Start()
	if other := n.put("other", 60); other <= archived {
		t.Fatalf("revision %d is not beyond %d", other, archived)
	}
	n.start()
	n.until("a new timeline", func() bool { return n.last().Timeline != old })
	last := n.put("after", 10)
	window := n.reaches(0, last)
	if len(window) != 1 || window[0].Last < last {
		t.Errorf("the window of the new timeline is %+v", window)
	}
	if was := n.history(0, old).Window(); was[len(was)-1].Last != archived {
		t.Errorf("the old timeline was archived up to %d and ends with %+v", archived, was)
	}
	if m := n.last(); m.TimelineParent != old || n.archiver.Forked() != "" || n.gaps.Load() != 1 {
		t.Errorf("parent %s, want %s; forked %q, %d gaps", m.TimelineParent, old, n.archiver.Forked(), n.gaps.Load())
	}
}

// A snapshot of another timeline, whoever found that, takes the archive along.
func TestSnapshotOnAnotherTimeline(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	n.reaches(0, n.put("a", 20))
	n.begun() // or the snapshot that is asked for could be one that is being taken
	old := n.last().Timeline
	n.forked.Store(&old)
	n.archiver.ask()
	n.until("the other timeline", func() bool { return n.last().Timeline != old })
	last := n.put("after", 10)
	n.wantOne(n.reaches(0, last), last, last)
	if !n.logged("lies on another timeline") || n.gaps.Load() != 0 {
		t.Errorf("%d gaps", n.gaps.Load())
	}
}

// Without any target the archive goes on into the spool, over a restart, and all of it arrives in the end.
func TestTargetsAway(t *testing.T) {
	n := newNode(t, 2)
	n.start()
	first := n.put("a", 20)
	n.reaches(0, first)
	n.reaches(1, first)
	for _, b := range n.buckets {
		b.SetDown(errors.New("the network is away"))
	}
	spooled := func(revision int64) {
		n.t.Helper()
		n.until(fmt.Sprintf("the spool has revision %d", revision), func() bool { return n.spooled() >= revision })
	}
	spooled(n.put("away", 30))
	n.end()
	n.put("down", 30)
	n.start()
	last := n.put("away", 30)
	spooled(last)
	for _, b := range n.buckets {
		b.SetDown(nil)
	}
	n.end()
	n.start() // tried at once
	for target := range n.targets {
		n.wantOne(n.reaches(target, last), first, last)
	}
	if n.gaps.Load() != 0 {
		t.Errorf("%d gaps", n.gaps.Load())
	}
}

// Whatever happens between the spool and the state, a range is repeated and none is left out.
func TestStateNotWritten(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	first := n.put("a", 20)
	n.reaches(0, first)
	before, err := os.ReadFile(statePath(n.state))
	n.must(err)
	n.until("something is in the way", func() bool { // nothing can be renamed over it; but the archiver may write in between
		return errors.Join(os.RemoveAll(statePath(n.state)), os.MkdirAll(filepath.Join(statePath(n.state), "in the way"), 0o700)) == nil
	})
	n.put("b", 20)
	n.until("a failure", func() bool { return n.logged("remember where the archive is") })
	n.put("c", 20)
	n.end()
	n.must(os.RemoveAll(statePath(n.state)))
	n.must(os.WriteFile(statePath(n.state), before, 0o600))
	n.start()
	last := n.put("d", 5)
	n.wantOne(n.reaches(0, last), first, last)
	if n.gaps.Load() != 0 {
		t.Errorf("%d gaps", n.gaps.Load())
	}
}

// The node beside the leader writes. Another one waits, takes over when nothing comes any more, and stops when that writes again.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	// However busy the machine is, the leader stays: its node is the one that writes.
	steady := func(cfg *servers.EtcdConfig) { cfg.Args = []string{"--election-timeout", "10000"} }
	members := servers.StartEtcdCluster(t, "3.7", 3, steady)
	var leading, following *node
	for _, m := range members {
		n := p.node(m)
		n.pace.takeOver = 12 * time.Second // the leader's node may need some for what it tells each second
		c, err := n.connect(t.Context())
		n.must(err)
		s, err := c.Status(t.Context())
		n.must(errors.Join(err, c.Close()))
		switch {
		case s.Leader == s.MemberID:
			leading = n
		case following == nil:
			following = n
		}
	}
	leading.put("a", 10)
	following.takeByHand()
	leading.start()
	leading.reaches(0, leading.put("a", 10))
	following.start()
	time.Sleep(following.pace.takeOver * 5 / 4)
	if following.logged("written by this node") {
		t.Fatal("the follower writes although the leader's node does")
	}
	archived := leading.put("a", 10)
	leading.reaches(0, archived)
	leading.end()
	following.put("b", 10)
	following.until("it takes over", func() bool { return following.logged("written by this node") })
	last := following.put("b", 10)
	following.wantOne(following.reaches(0, last), archived, last)

	leading.start()
	following.until("it stops again", func() bool { return following.logged("another node writes the archive") })
	last = leading.put("c", 10)
	leading.wantOne(leading.reaches(0, last), archived, last)
	if leading.gaps.Load()+following.gaps.Load() != 0 {
		t.Errorf("%d and %d gaps", leading.gaps.Load(), following.gaps.Load())
	}
}

// While etcd is down the archiver tries again, and says so once.
func TestWithoutEtcd(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	n.reaches(0, n.put("a", 5))
	n.server.Stop()
	n.until("it says so", func() bool { return n.logged("the archive is not written; it is tried again") })
	if since, err := n.archiver.Failing(); err == nil || since.IsZero() {
		t.Errorf("failing since %v: %v", since, err)
	}
	n.until("its loop is at rest", func() bool { return n.archiver.Turned().IsZero() })
	n.server.Start()
	last := n.put("b", 5)
	n.reaches(0, last)
	n.until("it says that it goes on", func() bool { return n.logged("the archive is written again") })
	if since, err := n.archiver.Failing(); err != nil {
		t.Errorf("failing since %v: %v", since, err)
	}
	for begun := time.Now(); ; { // also when nothing comes
		turned := n.archiver.Turned()
		n.until("its loop turns", func() bool { return n.archiver.Turned().After(turned) })
		if time.Since(begun) > time.Second {
			break
		}
	}
}

// A node that follows the leader asks for a while before it believes that the history is another one.
func TestFollowerForksLate(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	n.reaches(0, n.put("a", 5))
	n.end()
	cause := errors.New("other")
	if err := n.archiver.other(t.Context(), "0123456789abcdef", false, cause); !errors.Is(err, cause) || n.archiver.Forked() != "" {
		t.Errorf("%v, forked %q", err, n.archiver.Forked())
	}
}

// A look lists what is near the newest segment, and not all that was ever archived.
func TestLooksAreSmall(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	for range 8 {
		n.reaches(0, n.put("a", 30))
	}
	n.end()
	a := n.archiver
	live := n.put("a", 1)
	all, err := n.targets[0].Repo.ListSegments(t.Context(), repo.SegmentQuery{}, n.keys.Trust)
	n.must(err)
	a.near = map[string]near{}
	a.recent(t.Context(), n.targets[0], n.last(), live)
	known := a.near["t0"]
	all.Entries = slices.DeleteFunc(all.Entries, func(e repo.SegmentEntry) bool { return !e.Usable(false) }) // one may have been on its way
	if e := newest(all.Entries); known.first != e.Segment.First || known.timeline != e.Segment.Timeline {
		t.Fatalf("the newest segment begins with %d, remembered is %+v", e.Segment.First, known)
	}
	found := a.recent(t.Context(), n.targets[0], n.last(), live)
	if e := newest(found); e == nil || e.Segment.First != known.first || len(found) >= len(all.Entries) {
		t.Errorf("%d of %d segments found", len(found), len(all.Entries))
	}
}

func TestStateOfAnotherCluster(t *testing.T) {
	dir := t.TempDir()
	if err := (state{Cluster: "other", Gaps: 3}).save(dir); err != nil {
		t.Fatal(err)
	}
	if s, err := loadState(dir, cluster); err != nil || s != (state{Cluster: cluster}) {
		t.Errorf("%+v, %v", s, err)
	}
	if err := errors.Join(os.Remove(statePath(dir)), os.Mkdir(statePath(dir), 0o700)); err != nil {
		t.Fatal(err)
	}
	if s, err := loadState(dir, "other"); err == nil {
		t.Errorf("%+v of what cannot be read", s)
	}
}

// A snapshot that was under way when the fork was found lies on the timeline that is left: it begins none.
func TestSnapshotOfTheLeftTimeline(t *testing.T) {
	asked := make(chan struct{}, 10)
	a := &Archiver{taken: make(chan *repo.Manifest, 1), cfg: Config{Snapshot: func() { asked <- struct{}{} }, pace: usualPace()}}
	go func() {
		<-asked
		a.Snapshotted(&repo.Manifest{Timeline: "left", ID: "under way"})
		<-asked
		a.Snapshotted(&repo.Manifest{Timeline: "new", ID: "wanted"})
	}()
	if m, err := a.snapshot(t.Context(), "left"); err != nil || m.ID != "wanted" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestSnapshotComesMeanwhile: no other one is asked for while it is not known that the one that came does not do.
func TestSnapshotComesMeanwhile(t *testing.T) {
	asked := 0
	came := &repo.Manifest{Timeline: "one", Revision: 20}
	a := &Archiver{taken: make(chan *repo.Manifest, 1), cfg: Config{
		StateDir: t.TempDir(), Snapshot: func() { asked++ }, Log: slog.New(slog.DiscardHandler), pace: usualPace(),
	}}
	a.state = state{Position: &follow.Position{Timeline: "one", Revision: 15}, Open: 12}
	a.pending, a.asked = true, time.Now()
	a.cfg.Last = func() *repo.Manifest { // it comes after the one before was looked up
		a.Snapshotted(came)
		return &repo.Manifest{Timeline: "one", Revision: 10}
	}
	if a.close(); asked != 0 {
		t.Errorf("asked %d times", asked)
	}
	a.cfg.Last = func() *repo.Manifest { return came }
	a.close()
	if _, whole := a.Whole(); !whole || asked != 0 {
		t.Errorf("whole %t, asked %d times", whole, asked)
	}
	a.state.Open = 30 // it does not do
	if a.close(); asked != 1 {
		t.Errorf("asked %d times for one that does", asked)
	}
}

// What a watch does not see wants a snapshot that began afterwards, also while one is being taken.
func TestChanged(t *testing.T) {
	asked := 0
	a := &Archiver{cfg: Config{Snapshot: func() { asked++ }, pace: usualPace()}}
	a.ask()
	a.ask()
	a.changed("members")
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
