package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// interrupted is a bucket in which something happens just after an object was created, or when its location is asked for.
type interrupted struct {
	storage.Bucket
	created func(key string)
	located func()
}

func (b *interrupted) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	o, err := b.Bucket.Create(ctx, key, r)
	if err == nil && b.created != nil {
		b.created(key)
	}
	return o, err
}

func (b *interrupted) Location() string {
	if do := b.located; do != nil {
		b.located = nil
		do()
	}
	return b.Bucket.Location()
}

// TestWorkerIsFaster: every target has the snapshot, and it has left the spool, before the commit that enqueued it has looked at what
// it wrote.
func TestWorkerIsFaster(t *testing.T) {
	n := newNode(t, 1)
	n.wrap = func(b storage.Bucket) storage.Bucket {
		return &interrupted{Bucket: b, created: func(key string) {
			if key == n.q.spool.repo.ManifestKey(idOf(0)) {
				n.q.workers[0].attempt(t.Context(), idOf(0))
			}
		}}
	}
	n.reopen()
	d := n.enqueue(0)
	if o := d.Wait(t.Context()); o[0].Err != nil || o[0].Proved == 0 || d.Spooled() {
		t.Errorf("outcomes %+v, spooled %v", o, d.Spooled())
	}
	n.wantHeld(0, 0)
	if n.logged("level=ERROR") != 0 {
		t.Errorf("the log says:\n%s", n.log)
	}
	n.clean()
}

// TestSpoolIsRemoved: somebody removes the snapshot before it has a manifest. No worker knew of it, so it is lost, and Commit says so.
func TestSpoolIsRemoved(t *testing.T) {
	n := newNode(t, 1)
	n.wrap = func(b storage.Bucket) storage.Bucket {
		return &interrupted{Bucket: b, created: func(key string) {
			if key == n.q.spool.repo.SignatureKey(idOf(0)) {
				n.must(os.RemoveAll(n.q.spool.home(idOf(0))))
			}
		}}
	}
	n.reopen()
	p, key, signed := n.sealed(0)
	d, err := n.q.Begin(p, key, time.Now())
	n.must(err)
	if err := d.Commit(t.Context(), signed); err == nil || !strings.Contains(err.Error(), "gone when it was read back") {
		t.Errorf("committed: %v", err)
	}
	n.wantHeld(0)
}

// TestFinishedMeanwhile: another process brings something, and forgets it, between this one's look at the spool and that at the marks.
func TestFinishedMeanwhile(t *testing.T) {
	for name, enqueue := range map[string]func(*node) ref{
		"snapshot": func(n *node) ref { return snapshotRef(n.enqueue(0).ID) },
		"segment":  func(n *node) ref { return segmentRef(n.follow(0).Segment.Name()) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1)
			target := &interrupted{Bucket: n.buckets[0]}
			r, err := repo.Open(target, cluster)
			n.must(err)
			n.cfg.Targets[0].Repo = r
			n.reopen()
			what, deliver := enqueue(n), func(q *Queue, what ref) error {
				_, err := q.lanes(what)[0].deliver(t.Context(), what, &attempt{began: time.Now()})
				return err
			}
			other, err := open(n.cfg, n.wrap)
			n.must(err)
			calls := 0
			target.located = func() {
				n.must(deliver(other, what))
				calls = n.buckets[0].Calls(storagetest.OpCreate)
			}
			if err := deliver(n.q, what); !errors.Is(err, errVanished) {
				t.Errorf("what another process has finished with: %v", err)
			}
			if got := n.buckets[0].Calls(storagetest.OpCreate); calls == 0 || got != calls {
				t.Errorf("%d writes, then %d more", calls, got-calls)
			}
			n.clean()
		})
	}
}

// TestLossesAtOnce: whoever reads the totals last, the status has all of them.
func TestLossesAtOnce(t *testing.T) {
	n := newNode(t, 2)
	const each = 20
	var all sync.WaitGroup
	for i := range 2 * each {
		all.Go(func() {
			if err := n.q.loseSnapshot(t.Context(), fmt.Sprintf("t%d", i%2), idOf(i), "a test"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, s := range n.q.Status() {
		if s.Lost != each {
			t.Errorf("status %+v, want %d lost", s, each)
		}
	}
}
