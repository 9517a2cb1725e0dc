package replicate

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

func TestSegmentsReachEveryTarget(t *testing.T) {
	n := newNode(t, 2)
	var last *repo.SignedSegment
	for i := range 20 {
		last = n.follow(i)
	}
	if got := n.q.backlog.size(); got < 20*2000 {
		t.Errorf("%d bytes in the spool", got)
	}
	n.drainSegments()
	for i := range 2 {
		n.wantArchive(i, upTo(20)...)
		s := n.segments(i)
		if s.State != StateIdle || s.Queued != 0 || s.Proved != 20 || s.Failures != 0 || s.Gaps != 0 || !s.Oldest.IsZero() {
			t.Errorf("status %+v", s)
		}
		if d := cmp.Diff(Position{timeline, 200, last.Segment.To}, s.Acked); d != "" {
			t.Error(d)
		}
		// Two objects, and nothing is written twice.
		if got := n.buckets[i].Calls(storagetest.OpCreate); got != 40 {
			t.Errorf("%d writes for 20 segments", got)
		}
	}
	if n.q.backlog.size() != 0 || len(n.q.backlog.segments()) != 0 {
		t.Errorf("the backlog has %d bytes", n.q.backlog.size())
	}
	n.clean()
}

// TestHourWithoutOneTarget: the other one does not notice; the one that was down gets all of it, the oldest first.
func TestHourWithoutOneTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		defer n.start()()
		synctest.Wait() // what its first look at the spool finds is dated by the file, and not by this clock
		n.buckets[0].SetDown(errors.New("no route to host"))
		const count = 720
		began := time.Now()
		for i := range count {
			n.follow(i)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if got := n.segments(1).Acked.Revision; got != int64(perPiece*(i+1)) {
				t.Fatalf("five seconds after segment %d the other target is at %d", i, got)
			}
		}
		s := n.segments(0)
		if s.State != StateWaiting || s.Queued != count || s.Attempts < 10 || s.LastError == nil || s.Acked.Timeline != "" {
			t.Errorf("status of the dead one: %+v", s)
		}
		if !s.Oldest.Equal(began) {
			t.Errorf("the oldest is of %s, want %s", s.Oldest, began)
		}
		if got := n.logged("level=ERROR"); got != 1 {
			t.Errorf("%d lines for an hour of failures:\n%s", got, n.log)
		}
		n.buckets[0].SetDown(nil)
		time.Sleep(longestWait + time.Second)
		synctest.Wait()
		n.wantArchive(0, upTo(count)...)
		if s := n.segments(0); s.Acked.Revision != count*perPiece || s.Queued != 0 || s.State != StateIdle {
			t.Errorf("afterwards: %+v", s)
		}
		if n.logged("takes segments again") != 1 {
			t.Errorf("the end is not logged once:\n%s", n.log)
		}
		n.clean()
	})
}

// gate holds up Create of the keys that match until it is opened, and counts how many wait or work at a time.
type gate struct {
	storage.Bucket
	match    string
	open     chan struct{}
	at, most atomic.Int64
}

func (g *gate) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	if strings.Contains(key, g.match) {
		now := g.at.Add(1)
		defer g.at.Add(-1)
		for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
		}
		select {
		case <-g.open:
		case <-ctx.Done():
			return storage.Object{}, ctx.Err()
		}
	}
	return g.Bucket.Create(ctx, key, r)
}

func (n *node) gate(match string) *gate {
	n.t.Helper()
	g := &gate{Bucket: n.buckets[0], match: match, open: make(chan struct{})}
	r, err := repo.Open(g, cluster)
	n.must(err)
	n.cfg.Targets[0].Repo = r
	n.reopen()
	return g
}

// TestLanes: neither waits for the other, and segments go several at a time, but not too many.
func TestLanes(t *testing.T) {
	for match, check := range map[string]func(n *node) bool{
		"/snapshots/": func(n *node) bool { return n.segments(0).Proved == 50 },
		"/archive/":   func(n *node) bool { return n.q.Status()[0].Proved == 2 },
	} {
		n := newNode(t, 1)
		g := n.gate(match)
		for i := range 50 {
			n.follow(i)
		}
		n.enqueue(0)
		stop := n.start()
		d := n.enqueue(1)
		n.until("what is not held up", func() bool { return check(n) })
		n.until("what is held up", func() bool { return g.at.Load() > 0 })
		if match == "/archive/" {
			n.until("several at a time", func() bool { return g.at.Load() == atOnce })
		}
		close(g.open)
		n.until("all", func() bool { return n.segments(0).Proved == 50 && n.q.Status()[0].Proved == 2 })
		stop()
		if got := g.most.Load(); got > atOnce {
			t.Errorf("%d at a time", got)
		}
		n.wantArchive(0, upTo(50)...)
		n.wantHeld(0, 0, 1)
		if d.Spooled() {
			t.Error("still in the spool")
		}
		n.clean()
	}
}

// TestLanesWakeEachOther: what ends the wait of one ends that of the other.
func TestLanesWakeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		defer n.start()()
		n.buckets[0].SetDown(storage.ErrDenied)
		n.follow(0)
		n.enqueue(0)
		time.Sleep(time.Minute)
		n.buckets[0].SetDown(nil)
		n.enqueue(1) // a reason to try at once
		time.Sleep(time.Second)
		synctest.Wait()
		n.wantArchive(0, 0)
		n.wantHeld(0, 0, 1)
	})
}

// TestHowASegmentWasProved follows what the target is set to, and what the node still knows.
func TestHowASegmentWasProved(t *testing.T) {
	for want, change := range map[Proof]func(*node, *repo.SignedSegment){
		ProofPlaintext: func(*node, *repo.SignedSegment) {},
		ProofCiphertext: func(n *node, s *repo.SignedSegment) {
			n.must(n.cfg.Keys.Forget(n.q.spool.repo.SegmentPayloadKey(s.Segment)))
		},
		ProofChecksum: func(n *node, _ *repo.SignedSegment) { n.cfg.Targets[0].ReadBack = false; n.reopen() },
	} {
		n := newNode(t, 2)
		n.buckets[1].SetDown(errors.New("down")) // so that the mark stays
		signed := n.follow(0)
		change(n, signed)
		stop := n.start()
		n.until("a copy", func() bool { return n.segments(0).Proved == 1 })
		stop()
		m, ok := n.q.marks.read(markKey("t0", segmentRef(signed.Segment.Name()), done))
		if !ok || m.Proved != want || m.Verdict != done || m.SHA256 != signed.Segment.Object.SHA256 {
			t.Errorf("mark %+v, want %s", m, want)
		}
	}
}

// TestEnqueueAgain is harmless, before and after targets have the segment; what is wrong leaves nothing.
func TestEnqueueAgain(t *testing.T) {
	n := newNode(t, 1)
	path, signed, key := n.newSegment(0)
	for range 2 {
		n.must(n.q.EnqueueSegment(t.Context(), path, signed, key))
	}
	n.must(os.Remove(path))
	n.drainSegments()
	path, other, key := n.newSegment(1)
	n.must(flip(path))
	if err := n.q.EnqueueSegment(t.Context(), path, other, key); !errors.Is(err, repo.ErrConflict) || len(hint.Of(err)) == 0 {
		t.Errorf("an object that is not the one that was signed: %v", err)
	}
	n.must(os.Remove(path))
	if s := n.segments(0); s.Proved != 1 || s.Queued != 0 {
		t.Errorf("status %+v", s)
	}
	n.clean()
}

// TestSegmentsForNewTarget: a target that is added gets what is still there; one that is removed holds up nothing.
func TestSegmentsForNewTarget(t *testing.T) {
	n := newNode(t, 2)
	n.buckets[0].SetDown(errors.New("down"))
	for i := range 3 {
		n.follow(i)
	}
	stop := n.start()
	n.until("copies in t1", func() bool { return n.segments(1).Proved == 3 })
	stop()
	n.addTarget()
	n.reopen()
	stop = n.start()
	n.until("copies in t2", func() bool { return n.segments(2).Proved == 3 })
	stop()
	n.cfg.Targets = n.cfg.Targets[1:]
	n.reopen()
	n.drainSegments()
	for i := 1; i < 3; i++ {
		n.wantArchive(i, 0, 1, 2)
	}
	n.clean()
}

// TestSegmentsOfOtherProcess: what one enqueues while another one runs is found, and never brought twice.
func TestSegmentsOfOtherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		defer n.start()()
		synctest.Wait()
		n.reopen()
		defer n.start()()
		for i := range 10 {
			n.follow(i)
		}
		time.Sleep(2 * pollEvery)
		synctest.Wait()
		for i, b := range n.buckets {
			n.wantArchive(i, upTo(10)...)
			if got := b.Calls(storagetest.OpCreate); got != 20 {
				t.Errorf("%d writes to t%d", got, i)
			}
		}
		if n.logged("level=ERROR") != 0 || len(n.holes()) != 0 {
			t.Errorf("gaps %v; the log says:\n%s", n.holes(), n.log)
		}
		n.clean()
	})
}

// TestEnqueueWhileBringing has an archiver and two targets at work at once.
func TestEnqueueWhileBringing(t *testing.T) {
	n := newNode(t, 2)
	stop := n.start()
	defer stop()
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 100 {
			n.follow(i)
		}
	})
	writer.Go(func() {
		for i := range 5 {
			n.enqueue(i)
		}
	})
	writer.Wait()
	n.until("all", func() bool { return len(n.following()) == 0 && len(n.spooled()) == 0 })
	stop()
	for i := range 2 {
		n.wantArchive(i, upTo(100)...)
		n.wantHeld(i, 0, 1, 2, 3, 4)
	}
	n.clean()
}
