package histories

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/mvcc"
)

// Watch is told of every change of an etcd, from its first revision on, until the test ends.
type Watch struct {
	t testing.TB

	mu    sync.Mutex
	more  *sync.Cond
	seen  []mvcc.Entry
	ended error // why the watch is over
}

// NewWatch begins to watch.
func NewWatch(t testing.TB, client *clientv3.Client) *Watch {
	t.Helper()
	w := &Watch{t: t}
	w.more = sync.NewCond(&w.mu)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	events := client.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(1))
	go func() {
		defer close(done)
		var err error
		for r := range events {
			w.take(r.Events)
			err = r.Err()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended = fmt.Errorf("the watch ended: %w", cmp.Or(err, errors.New("without a word")))
		w.more.Broadcast()
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *Watch) take(events []*clientv3.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		sub := int64(0)
		if n := len(w.seen); n > 0 && w.seen[n-1].Main == e.Kv.ModRevision {
			sub = w.seen[n-1].Sub + 1
		}
		w.seen = append(w.seen, mvcc.FromEvent((*mvccpb.Event)(e), sub))
	}
	w.more.Broadcast()
}

// UpTo waits for a revision and returns every change that was seen, in order; later ones may be among them.
func (w *Watch) UpTo(revision int64) []mvcc.Entry {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.seen) == 0 || w.seen[len(w.seen)-1].Main < revision {
		if w.ended != nil {
			w.t.Fatal(w.ended)
		}
		w.more.Wait()
	}
	return w.seen
}
