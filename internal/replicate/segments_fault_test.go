package replicate

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
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

// TestSegmentOutOfPlace: its name is taken by something else. It is a gap, said once, never tried again, and the others go on.
func TestSegmentOutOfPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		path, signed, key := n.newSegment(1)
		taken := n.cfg.Targets[0].Repo.SegmentPayloadKey(signed.Segment)
		if _, err := n.buckets[0].Create(t.Context(), taken, strings.NewReader("something else")); err != nil {
			t.Fatal(err)
		}
		n.follow(0)
		n.must(n.q.EnqueueSegment(t.Context(), path, signed, key))
		n.must(os.Remove(path))
		n.follow(2)
		stop := n.start()
		time.Sleep(time.Minute)
		calls := n.asked(0)
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		stop()
		if again := n.asked(0); again != calls {
			t.Errorf("asked %d times more", again-calls)
		}
		n.wantArchive(0, 0, 2)
		n.wantArchive(1, 0, 1, 2)
		if got := n.following(); !slices.Equal(got, []int{1}) {
			t.Errorf("the spool holds %v, want the segment whose name is taken", got)
		}
		if d := cmp.Diff([]string{"t0 11-20: conflict in the target"}, n.holes()); d != "" {
			t.Error(d)
		}
		s := n.segments(0)
		if s.Queued != 1 || s.Failed != 1 || s.Gaps != 1 || s.Damaged != 1 || s.Acked.Revision != 30 {
			t.Errorf("status %+v", s)
		}
		if n.logged("will never have") != 1 || n.logged("has a gap") != 1 {
			t.Errorf("the log says:\n%s", n.log)
		}
		n.reopen()
		stop = n.start()
		time.Sleep(time.Minute)
		stop()
		if s := n.segments(0); s.Failed != 1 || n.asked(0) != calls {
			t.Errorf("after a restart: %+v", s)
		}
	})
}

// TestSegmentDamagedInTarget: a fresh snapshot is wanted, and releases the spooled copy once the target has it.
func TestSegmentDamagedInTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		signed := n.follow(0)
		n.buckets[0].FlipBit(signed.Segment.Object.Name, 500, false)
		n.follow(1)
		defer n.start()()
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := n.segments(0); s.Damaged != 1 || s.Failed != 1 || s.Gaps != 1 || s.Proved != 1 || s.Attempts != 0 {
			t.Errorf("status %+v", s)
		}
		if d := cmp.Diff([]string{"t0 1-10: damaged in the target"}, n.holes()); d != "" {
			t.Error(d)
		}
		if got := n.following(); !slices.Equal(got, []int{0}) {
			t.Errorf("the spool holds %v", got)
		}
		n.enqueue(1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := n.segments(0); s.Queued != 0 || s.Failed != 0 || s.Gaps != 1 {
			t.Errorf("with a newer snapshot: %+v", s)
		}
		n.clean()
	})
}

// TestSegmentDamagedOnTheWay is not damaged there.
func TestSegmentDamagedOnTheWay(t *testing.T) {
	for match, failures := range map[string]int{".zst.age": 0, ".signed": 1} { // a record is read again with the next attempt
		n := newNode(t, 1)
		n.buckets[0].FlipBit(match, 500, true)
		n.follow(0)
		n.drainSegments()
		if s := n.segments(0); s.Damaged != 0 || s.Failures != failures || s.Gaps != 0 || s.Proved != 1 {
			t.Errorf("%s: status %+v", match, s)
		}
		n.wantArchive(0, 0)
	}
}

// TestOneSegmentDoesNotHoldUpOthers: nor do many.
func TestOneSegmentDoesNotHoldUpOthers(t *testing.T) {
	for _, poisoned := range []int{1, atOnce + 2} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, 1)
			var names []string
			for i := range 40 {
				signed := n.follow(i)
				if i < poisoned {
					names = append(names, signed.Segment.Object.Name)
				}
			}
			for _, name := range names {
				n.buckets[0].CutReads(name, 100, false)
			}
			defer n.start()()
			time.Sleep(time.Hour)
			n.follow(40)
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := n.following(); !slices.Equal(got, upTo(poisoned)) {
				t.Errorf("after an hour the spool holds %v", got)
			}
			if s := n.segments(0); s.Queued != poisoned || s.Acked.Timeline != "" || s.Failures < 10 {
				t.Errorf("status %+v", s)
			}
			if got := n.logged("level=ERROR"); got > 2*poisoned {
				t.Errorf("%d lines are logged:\n%s", got, n.log)
			}
		})
	}
}

// TestPlaintextIsCompared: an object that opens and is not what the manifest says.
func TestPlaintextIsCompared(t *testing.T) {
	n := newNode(t, 1)
	path, signed, key := n.newSegment(0)
	seg := *signed.Segment
	seg.Plain.SHA256 = strings.Repeat("0", 64)
	wrong, err := repo.SignSegment(&seg, n.keys.Signer)
	n.must(err)
	n.must(n.q.EnqueueSegment(t.Context(), path, wrong, key))
	n.must(os.Remove(path))
	stop := n.start()
	n.until("the gap", func() bool { return n.segments(0).Gaps == 1 })
	stop()
	if d := cmp.Diff([]string{"t0 1-10: damaged in the target"}, n.holes()); d != "" {
		t.Error(d)
	}
}

// TestSpooledSegmentRots: no target gets it, each has the gap.
func TestSpooledSegmentRots(t *testing.T) {
	for name, spoil := range map[string]func(payload, record string) error{
		"a bit":         func(payload, _ string) error { return flip(payload) },
		"no payload":    func(payload, _ string) error { return os.Remove(payload) },
		"short payload": func(payload, _ string) error { return os.Truncate(payload, 10) },
		"empty record":  func(_, record string) error { return os.Truncate(record, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 2)
			signed := n.follow(0)
			n.follow(1)
			r := n.q.spool.repo
			n.must(spoil(n.q.spool.path(r.SegmentPayloadKey(signed.Segment)), n.q.spool.path(r.SegmentRecordKey(signed.Segment.Name()))))
			n.drainSegments()
			damaged := 0
			for i := range 2 {
				n.wantArchive(i, 1)
				damaged += n.segments(i).Damaged
			}
			if damaged == 0 {
				t.Error("no fresh snapshot is wanted")
			}
			if got := n.holes(); len(got) != 2 {
				t.Errorf("gaps %v", got)
			}
			n.clean()
		})
	}
}

func flip(path string) error {
	b, err := os.ReadFile(path)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	return err
}

// TestFullDiskForSegments: the error says so, nothing is left, and what waits is not touched.
func TestFullDiskForSegments(t *testing.T) {
	n := newNode(t, 1)
	n.follow(0)
	var own []*storagetest.Faulty
	n.wrap = func(b storage.Bucket) storage.Bucket {
		own = append(own, storagetest.NewFaulty(b))
		return own[len(own)-1]
	}
	n.reopen()
	own[0].FailCall(storagetest.OpCreate, 1, syscall.ENOSPC)
	path, signed, key := n.newSegment(1)
	if err := n.q.EnqueueSegment(t.Context(), path, signed, key); !errors.Is(err, syscall.ENOSPC) || len(hint.Of(err)) == 0 {
		t.Errorf("error %v", err)
	}
	if got := n.following(); !slices.Equal(got, []int{0}) {
		t.Errorf("the spool holds %v", got)
	}
	n.must(n.q.EnqueueSegment(t.Context(), path, signed, key)) // there is room again
	n.must(os.Remove(path))
	own[1].FailCall(storagetest.OpCreate, 1, syscall.ENOSPC)
	n.drainSegments()
	n.wantArchive(0, 0, 1)
	n.clean()
}

// flaky fails one call in eight, before or after it did what it was asked for.
type flaky struct {
	storage.Bucket
	mu     sync.Mutex
	random *rand.Rand
	healed bool
	failed int
}

var errFlaky = errors.New("connection reset by peer")

func (f *flaky) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.healed || f.random.IntN(8) > 0 {
		return false
	}
	f.failed++
	return true
}

func (f *flaky) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	if f.fails() {
		return storage.Object{}, errFlaky
	}
	o, err := f.Bucket.Create(ctx, key, r)
	if err == nil && f.fails() { // the answer is lost
		return storage.Object{}, errFlaky
	}
	return o, err
}

func (f *flaky) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if f.fails() {
		return nil, errFlaky
	}
	return f.Bucket.Open(ctx, key, offset, length)
}

func (f *flaky) Stat(ctx context.Context, key string) (storage.Object, error) {
	if f.fails() {
		return storage.Object{}, errFlaky
	}
	return f.Bucket.Stat(ctx, key)
}

// TestSegmentsThroughFaults of every kind of call, at random: none is lost, and none is late once they are over.
func TestSegmentsThroughFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 2)
		var bad []*flaky
		for i := range n.cfg.Targets {
			f := &flaky{Bucket: n.buckets[i], random: rand.New(rand.NewPCG(uint64(i), 7))}
			r, err := repo.Open(f, cluster)
			n.must(err)
			n.cfg.Targets[i].Repo, bad = r, append(bad, f)
		}
		n.reopen()
		defer n.start()()
		const count = 200
		for i := range count {
			n.follow(i)
			time.Sleep(5 * time.Second)
		}
		for i, f := range bad {
			f.mu.Lock()
			f.healed = true
			if f.failed < count/2 {
				t.Errorf("only %d calls of t%d failed", f.failed, i)
			}
			f.mu.Unlock()
		}
		time.Sleep(longestWait + time.Second)
		synctest.Wait()
		for i := range bad {
			n.wantArchive(i, upTo(count)...)
			if s := n.segments(i); s.Acked.Revision != count*perPiece || s.Damaged != 0 {
				t.Errorf("status %+v", s)
			}
		}
		if got := n.holes(); len(got) != 0 {
			t.Errorf("gaps %v", got)
		}
		n.clean()
	})
}
