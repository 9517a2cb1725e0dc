package replicate

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
)

// TestBoundCountsBoth: the oldest go first, with one record for each gap; those after the newest snapshot want another one.
func TestBoundCountsBoth(t *testing.T) {
	n := newNode(t, 2)
	n.buckets[0].SetDown(errors.New("down"))
	for i := range 10 {
		n.follow(i)
	}
	one := n.q.backlog.size() / 10
	stop := n.start()
	n.until("copies in t1", func() bool { return n.segments(1).Proved == 10 })
	stop()
	n.buckets[1].SetDown(errors.New("down"))
	n.cfg.SpoolMax = one*10 + one/2
	n.reopen()
	n.must(n.q.backlog.list(t.Context(), n.q.spool))
	for i := 10; i < 13; i++ {
		n.follow(i)
	}
	if got := n.following(); !slices.Equal(got, []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}) {
		t.Errorf("the spool holds %v", got)
	}
	if d := cmp.Diff([]string{"t0 1-30: the spool was full"}, n.holes()); d != "" {
		t.Error(d)
	}
	if s := n.q.Status(); s[0].Segments.Gaps != 1 || s[1].Segments.Gaps != 0 || s[0].Segments.Damaged != 3 {
		t.Errorf("status %+v", s)
	}
	if got := n.logged("has a gap"); got != 1 {
		t.Errorf("%d gaps are logged", got)
	}
	const ahead = 24 * 365 * 30 // hours: newer than all segments
	n.enqueue(ahead)
	n.enqueue(ahead + 1)
	if got := n.spooled(); !slices.Equal(got, []int{ahead, ahead + 1}) {
		t.Errorf("the spool holds the snapshots %v", got)
	}
	left := n.following()
	if len(left) > 8 || left[len(left)-1] != 12 {
		t.Errorf("beside them %v", left)
	}
	if s := n.segments(0); s.Damaged != 3 || len(n.holes()) != 1 || len(n.losses()) != 0 {
		t.Errorf("a gap that the newest snapshot closes wants another one: %+v; %v, %v", s, n.holes(), n.losses())
	}
	for _, b := range n.buckets {
		b.SetDown(nil)
	}
	n.reopen()
	n.drainSegments()
	n.wantArchive(0, left...)
	n.wantArchive(1, upTo(13)...)
}

// TestSnapshotsMakeRoomForSegments where they are older.
func TestSnapshotsMakeRoomForSegments(t *testing.T) {
	n := newNode(t, 1)
	n.follow(0)
	one := n.q.backlog.size()
	n.enqueue(0)
	n.enqueue(1)
	entries, err := n.q.spool.entries()
	n.must(err)
	n.cfg.SpoolMax = entries[1].size + one*5/2
	n.reopen()
	n.must(n.q.backlog.list(t.Context(), n.q.spool))
	n.follow(1)
	if got := n.spooled(); !slices.Equal(got, []int{1}) || !slices.Equal(n.following(), []int{0, 1}) {
		t.Errorf("the spool holds %v and %v", got, n.following())
	}
	for i := 2; i < 6; i++ {
		n.follow(i)
	}
	if got := n.spooled(); !slices.Equal(got, []int{1}) || !slices.Equal(n.following(), []int{4, 5}) {
		t.Errorf("the spool holds %v and %v", got, n.following())
	}
	if d := cmp.Diff([]string{"t0 0: the spool was full"}, n.losses()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"t0 1-40: the spool was full"}, n.holes()); d != "" {
		t.Error(d)
	}
	n.cfg.SpoolMax = 1
	n.reopen()
	n.must(n.q.backlog.list(t.Context(), n.q.spool))
	n.follow(6) // the one just taken stays, and so does the newest snapshot
	if got := n.spooled(); !slices.Equal(got, []int{1}) || !slices.Equal(n.following(), []int{6}) {
		t.Errorf("the spool holds %v and %v", got, n.following())
	}
}

// TestArchiveLeavesRoom on the disk: half of what there is for it. Snapshots do not go for that.
func TestArchiveLeavesRoom(t *testing.T) {
	n := newNode(t, 1)
	n.follow(0)
	one := n.q.backlog.size()
	n.enqueue(0)
	n.enqueue(1)
	n.q.free = func() (int64, error) { return one*7 - n.q.backlog.size(), nil }
	for i := 1; i < 8; i++ {
		n.follow(i)
	}
	if got := n.following(); !slices.Equal(got, []int{5, 6, 7}) || !slices.Equal(n.spooled(), []int{0, 1}) {
		t.Errorf("the spool holds %v and %v", got, n.spooled())
	}
	if d := cmp.Diff([]string{"t0 1-50: the disk was full"}, n.holes()); d != "" {
		t.Error(d)
	}
	n.q.free = func() (int64, error) { return 0, errors.New("not known") }
	n.follow(8)
	if got := n.following(); len(got) != 4 {
		t.Errorf("where the room is not known the spool holds %v", got)
	}
}

// TestSweepSegments removes what a killed archiver left, and nothing else.
func TestSweepSegments(t *testing.T) {
	n := newNode(t, 1)
	n.must(n.q.SweepSegments(t.Context()))
	signed := n.follow(0)
	path, other, _ := n.newSegment(1)
	if _, err := n.q.spool.placeSegment(path, other.Segment); err != nil {
		t.Fatal(err)
	}
	home := filepath.Dir(n.q.spool.path(n.q.spool.repo.SegmentRecordKey(signed.Segment.Name())))
	n.must(os.WriteFile(filepath.Join(home, storage.TempPrefix+"x"), nil, 0o600))
	n.must(n.q.SweepSegments(t.Context()))
	if left := files(t, n.q.SpoolDir()); len(left) != 2 {
		t.Errorf("left are %v", left)
	}
	n.drainSegments()
	n.wantArchive(0, 0)
	n.clean()
}

// TestPosition moves with the oldest that waits, over timelines, and over what is lost.
func TestPosition(t *testing.T) {
	name := func(line string, number int) repo.SegmentName {
		return repo.SegmentName{Timeline: line, First: int64(number*perPiece + 1), Last: int64(number*perPiece + perPiece)}
	}
	b := newBacklog()
	todo := newTodo(b, func(repo.SegmentName) verdict { return "" })
	at := func(i int) time.Time { return when.Add(time.Duration(i) * time.Second) }
	for i, n := range []repo.SegmentName{name("b", 0), name("b", 2), name("b", 1), name("a", 0), name("a", 1)} {
		b.add(n, held{size: 1, at: at(i)})
	}
	tasks := todo.take(10, 0)
	var order []repo.SegmentName
	for _, k := range tasks {
		order = append(order, k.name)
	}
	if d := cmp.Diff([]repo.SegmentName{name("b", 0), name("b", 1), name("b", 2), name("a", 0), name("a", 1)}, order); d != "" {
		t.Fatal(d)
	}
	for _, step := range []struct {
		task int
		v    verdict
		want Position
	}{
		{2, done, Position{}},
		{0, done, Position{"b", 10, at(0)}},
		{1, conflict, Position{"b", 30, at(2)}},
		{4, done, Position{"b", 30, at(2)}},
		{3, done, Position{"a", 20, at(4)}},
	} {
		todo.giveBack(tasks[step.task], step.v, at(step.task), 0, 0)
		if got := todo.position(); got != step.want {
			t.Errorf("after %d the position is %+v, want %+v", step.task, got, step.want)
		}
	}
	if waiting, failed, _, due := todo.count(); waiting != 0 || failed != 1 || due != untilWoken {
		t.Errorf("%d wait, %d failed, due in %s", waiting, failed, due)
	}
	for _, k := range tasks {
		b.remove(k.name)
	}
	if b.size() != 0 || len(todo.known) != 0 || len(todo.order) != 0 {
		t.Errorf("left: %d bytes, %d known, %d in order", b.size(), len(todo.known), len(todo.order))
	}
}

// TestGapsAreJoined where one goes on where the last one ends, and recorded once.
func TestGapsAreJoined(t *testing.T) {
	g := openGaps(t.TempDir())
	if err := os.MkdirAll(filepath.Dir(g.path), 0o700); err != nil {
		t.Fatal(err)
	}
	lost := func(first, last int64) lostSegment {
		return lostSegment{repo.SegmentName{Timeline: timeline, First: first, Last: last}, when}
	}
	for _, step := range []struct {
		lost  []lostSegment
		fresh int
	}{
		{[]lostSegment{lost(1, 10), lost(11, 20)}, 1}, {[]lostSegment{lost(11, 20)}, 0}, {[]lostSegment{lost(21, 20)}, 0},
		{[]lostSegment{lost(21, 25), lost(40, 50)}, 1}, {[]lostSegment{lost(5, 8)}, 0},
	} {
		if fresh, err := g.add(t.Context(), "t", step.lost, "x"); err != nil || fresh != step.fresh {
			t.Errorf("%v: %d fresh, %v", step.lost, fresh, err)
		}
	}
	all, err := g.read()
	var got [][2]int64
	for _, gap := range all {
		got = append(got, [2]int64{gap.First, gap.Last})
	}
	if d := cmp.Diff([][2]int64{{1, 25}, {40, 50}}, got); d != "" || err != nil || all[1].Total != 2 {
		t.Error(d, err, all)
	}
}
