package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/test/servers"
)

// live is a real etcd on which a random history happens, with a watch on everything.
type live struct {
	t         *testing.T
	client    *clientv3.Client
	random    *rand.Rand
	leases    []clientv3.LeaseID
	granted   map[int64]int64 // seconds
	compacted int64
	recorded  []repo.Checkpoint

	mu    sync.Mutex
	seen  []mvcc.Entry
	ended error // why the watch is over
	more  *sync.Cond
}

func newLive(t *testing.T, version string) *live {
	l := &live{
		t: t, client: servers.StartEtcd(t, servers.EtcdConfig{Version: version}).Client(t), compacted: snapshot.NeverCompacted,
		random: rand.New(rand.NewPCG(5, uint64(version[2]))), granted: map[int64]int64{},
	}
	l.more = sync.NewCond(&l.mu)
	l.grant()
	// One key lives for ever: in an empty key space etcd's hash also depends on how far a compaction has come.
	if _, err := l.client.Put(t.Context(), "anchor", "x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	events := l.client.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(1))
	go func() {
		defer close(done)
		var err error
		for r := range events {
			l.take(r.Events)
			err = r.Err()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended = fmt.Errorf("the watch ended: %w", cmp.Or(err, errors.New("without a word")))
		l.more.Broadcast()
	}()
	t.Cleanup(func() { cancel(); <-done })
	l.events(l.revision()) // from here on the watch is told of each change at once, and no compaction can overtake it
	return l
}

func (l *live) take(events []*clientv3.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		sub := int64(0)
		if n := len(l.seen); n > 0 && l.seen[n-1].Main == e.Kv.ModRevision {
			sub = l.seen[n-1].Sub + 1
		}
		l.seen = append(l.seen, mvcc.FromEvent((*mvccpb.Event)(e), sub))
	}
	l.more.Broadcast()
}

// events waits until the watch has delivered a revision and returns everything up to it.
func (l *live) events(revision int64) []mvcc.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.seen) == 0 || l.seen[len(l.seen)-1].Main < revision {
		if l.ended != nil {
			l.t.Fatal(l.ended)
		}
		l.more.Wait()
	}
	return l.seen
}

func (l *live) grant() {
	ttl := 3600 + l.random.Int64N(1000)
	lease, err := l.client.Grant(l.t.Context(), ttl)
	if err != nil {
		l.t.Fatal(err)
	}
	l.leases = append(l.leases, lease.ID)
	l.granted[int64(lease.ID)] = ttl
}

func (l *live) write(n int) {
	for i := range n {
		if err := l.change(); err != nil {
			l.t.Fatal(err)
		}
		if i%5 == 0 {
			l.record()
		}
		switch l.random.IntN(60) {
		case 0, 1:
			l.compact()
		case 2, 3:
			l.grant()
		}
	}
}

func (l *live) key() string { return fmt.Sprintf("k%d\x00\xff", l.random.IntN(9)) }

func (l *live) change() (err error) {
	ctx := l.t.Context()
	lease := l.leases[l.random.IntN(len(l.leases))]
	switch d := l.random.IntN(20); {
	case d < 7:
		_, err = l.client.Put(ctx, l.key(), fmt.Sprint(l.random.Uint64()))
	case d < 11:
		_, err = l.client.Put(ctx, l.key(), "leased", clientv3.WithLease(lease))
	case d < 13:
		_, err = l.client.Delete(ctx, l.key())
	case d < 14:
		_, err = l.client.Delete(ctx, "k", clientv3.WithPrefix())
	case d < 17: // several keys in one revision, one of them with a lease
		_, err = l.client.Txn(ctx).Then(clientv3.OpPut("k8", "x"), clientv3.OpPut("k7", "y", clientv3.WithLease(lease)),
			clientv3.OpDelete("k0", clientv3.WithRange("k4"))).Commit()
	default: // one key twice in one revision
		key := l.key()
		_, err = l.client.Txn(ctx).Then(
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, "twice")}, nil),
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key)}, nil)).Commit()
	}
	return err
}

func (l *live) revision() int64 {
	r, err := l.client.Get(l.t.Context(), "none")
	if err != nil {
		l.t.Fatal(err)
	}
	return r.Header.Revision
}

// record notes the live hash of the newest revision. Nothing is written meanwhile.
func (l *live) record() {
	revision := l.revision()
	h, err := l.client.HashKV(l.t.Context(), l.client.Endpoints()[0], revision)
	if err != nil {
		if revision == l.compacted { // 3.4 has no hash for the compact revision itself
			return
		}
		l.t.Fatal(err)
	}
	if h.CompactRevision == l.compacted { // else it is a hash that was kept from the time before the compaction
		l.recorded = append(l.recorded, repo.Checkpoint{Revision: revision, CompactRevision: l.compacted, Hash: h.Hash, Member: "1"})
	}
}

func (l *live) compact() {
	target := max(l.compacted+1, l.revision()-l.random.Int64N(40))
	if target > l.revision() || target < 1 {
		return
	}
	if _, err := l.client.Compact(l.t.Context(), target, clientv3.WithCompactPhysical()); err != nil {
		l.t.Fatal(err)
	}
	l.compacted = target
}

// store is a snapshot as the catalogue shows it, and its file.
type store struct {
	repo.Entry
	path string
}

func (l *live) snapshot() *store {
	l.t.Helper()
	s := &store{path: filepath.Join(l.t.TempDir(), "db"), Entry: snap(l.compacted, l.revision(), 0)}
	r, err := l.client.Snapshot(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		l.t.Fatal(err)
	}
	const trailer = 32 // SHA-256, which is no part of the store
	if err := os.WriteFile(s.path, content[:len(content)-trailer], 0o600); err != nil {
		l.t.Fatal(err)
	}
	s.Manifest.CaptureStart, s.Manifest.CaptureEnd = time.Now().UTC(), time.Now().UTC()
	s.Payload = storage.Object{Key: s.path, Size: s.Manifest.Object.Size}
	return s
}

// scratch opens a copy of the store for changes.
func (s *store) scratch(tb testing.TB) *bolt.DB {
	tb.Helper()
	content, err := os.ReadFile(s.path)
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}
