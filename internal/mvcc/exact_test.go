package mvcc_test

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

	gocmp "github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/test/servers"
)

// TestExactRevisions is the claim that drd is about: a store at a chosen revision, made offline, is the one that etcd had. Random
// histories run on a real etcd while its hashes are recorded. From a snapshot taken on the way and the events of a watch every later one
// is rebuilt, and from the last snapshot every earlier one is cut; each must have the hash that the live member gave.
func TestExactRevisions(t *testing.T) {
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			l := newLive(t, version)
			l.write(150)
			base := l.snapshot()
			l.write(450)
			last := l.snapshot()
			events := l.events(last.revision)

			comparePaths(t, events, last)
			replayed := replayAll(t, base, events, l.recorded)
			cut := cutAll(t, last, base, events, l.recorded)
			t.Logf("%d revisions replayed, %d cut, %d events", replayed, cut, len(events))
			if replayed < 60 || cut < 5 {
				t.Errorf("only %d revisions replayed and %d cut: that proves little", replayed, cut)
			}
		})
	}
}

// point is a hash that the live member gave.
type point struct {
	revision, compact int64
	hash              uint32
}

type file struct {
	path              string
	revision, compact int64
}

// live is a real etcd with a watch on everything.
type live struct {
	t         *testing.T
	client    *clientv3.Client
	random    *rand.Rand
	lease     clientv3.LeaseID
	compacted int64
	recorded  []point

	mu    sync.Mutex
	seen  []mvcc.Entry
	ended error // why the watch is over
	more  *sync.Cond
}

func newLive(t *testing.T, version string) *live {
	l := &live{t: t, client: servers.StartEtcd(t, servers.EtcdConfig{Version: version}).Client(t), compacted: snapshot.NeverCompacted}
	l.more = sync.NewCond(&l.mu)
	l.random = rand.New(rand.NewPCG(11, uint64(version[2])))
	granted, err := l.client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	l.lease = granted.ID
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

func (l *live) key() string { return fmt.Sprintf("k%d\x00\xff", l.random.IntN(6)) }

func (l *live) write(n int) {
	for i := range n {
		if err := l.change(); err != nil {
			l.t.Fatal(err)
		}
		if i%4 == 0 {
			l.record()
		}
		if l.random.IntN(60) == 0 {
			l.compact()
		}
	}
}

func (l *live) change() (err error) {
	ctx := l.t.Context()
	switch d := l.random.IntN(20); {
	case d < 8:
		_, err = l.client.Put(ctx, l.key(), fmt.Sprint(l.random.Uint64()))
	case d < 9:
		_, err = l.client.Put(ctx, l.key(), "")
	case d < 11:
		_, err = l.client.Put(ctx, l.key(), "leased", clientv3.WithLease(l.lease))
	case d < 14:
		_, err = l.client.Delete(ctx, l.key())
	case d < 15:
		_, err = l.client.Delete(ctx, "k", clientv3.WithPrefix())
	case d < 17: // several keys in one revision
		_, err = l.client.Txn(ctx).Then(clientv3.OpPut("k8", "x"), clientv3.OpPut("k7", "y"), clientv3.OpDelete("k0", clientv3.WithRange("k4"))).Commit()
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
	h, err := l.client.Maintenance.HashKV(l.t.Context(), l.client.Endpoints()[0], revision)
	if err != nil {
		if revision == l.compacted { // 3.4 has no hash for the compact revision itself
			return
		}
		l.t.Fatal(err)
	}
	if h.CompactRevision != l.compacted { // a hash that was kept from the time before the compaction
		return
	}
	l.recorded = append(l.recorded, point{revision, l.compacted, h.Hash})
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

func (l *live) snapshot() file {
	l.t.Helper()
	f := file{path: filepath.Join(l.t.TempDir(), "db"), revision: l.revision(), compact: l.compacted}
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
	if err := os.WriteFile(f.path, content[:len(content)-trailer], 0o600); err != nil {
		l.t.Fatal(err)
	}
	return f
}

// scratch opens a copy of the file for changes.
func (f file) scratch(t *testing.T) *bolt.DB {
	t.Helper()
	content, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func hashOf(t *testing.T, db *bolt.DB, revision, compact int64) uint32 {
	t.Helper()
	var hash snapshot.Hash
	err := db.View(func(tx *bolt.Tx) (err error) {
		hash, err = snapshot.HashKV(t.Context(), tx, revision, compact)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hash.Value
}

// comparePaths: the watch and the store tell the same history, byte for byte.
func comparePaths(t *testing.T, events []mvcc.Entry, last file) {
	t.Helper()
	var stored []mvcc.Entry
	err := last.scratch(t).View(func(tx *bolt.Tx) error {
		return mvcc.Extract(t.Context(), tx, last.compact, last.revision, func(e mvcc.Entry) error {
			stored = append(stored, mvcc.Entry{Position: e.Position, Value: append([]byte(nil), e.Value...)})
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(stored, between(events, last.compact, last.revision)); diff != "" || len(stored) == 0 {
		t.Fatalf("%d entries; stored and watched differ (-stored +watched):\n%s", len(stored), diff)
	}
}

// between are the entries after one revision and up to another.
func between(events []mvcc.Entry, after, upTo int64) []mvcc.Entry {
	var out []mvcc.Entry
	for _, e := range events {
		if e.Main > after && e.Main <= upTo {
			out = append(out, e)
		}
	}
	return out
}

func replayAll(t *testing.T, base file, events []mvcc.Entry, recorded []point) (compared int) {
	t.Helper()
	for _, p := range recorded {
		if p.revision < base.revision || p.compact < base.compact {
			continue
		}
		db := base.scratch(t)
		replay(t, db, base.revision, between(events, base.revision, p.revision))
		if got := hashOf(t, db, p.revision, p.compact); got != p.hash {
			t.Errorf("replayed to revision %d, compacted at %d: hash %d, the live member had %d", p.revision, p.compact, got, p.hash)
		}
		compared++
	}
	return compared
}

func replay(t *testing.T, db *bolt.DB, revision int64, events []mvcc.Entry) {
	t.Helper()
	a := mvcc.NewAppender(db, revision)
	for _, e := range events {
		if err := a.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

// cutAll compares with the live hash where the last snapshot was compacted as far as the member was then, and with
// the replayed store where it was compacted since.
func cutAll(t *testing.T, last, base file, events []mvcc.Entry, recorded []point) (compared int) {
	t.Helper()
	for _, p := range recorded {
		if p.revision < last.compact || p.revision < base.revision {
			continue
		}
		want := p.hash
		if p.compact != last.compact {
			db := base.scratch(t)
			replay(t, db, base.revision, between(events, base.revision, p.revision))
			want = hashOf(t, db, p.revision, last.compact)
		}
		db := last.scratch(t)
		if _, err := mvcc.Cut(t.Context(), db, p.revision); err != nil {
			t.Fatal(err)
		}
		if got := hashOf(t, db, p.revision, last.compact); got != want {
			t.Errorf("cut to revision %d: hash %d instead of %d", p.revision, got, want)
		}
		compared++
	}
	return compared
}

func TestAppendRefusesGaps(t *testing.T) {
	at := func(main, sub int64) mvcc.Entry {
		return mvcc.Entry{Position: mvcc.Position{Main: main, Sub: sub}, Value: []byte{10, 1, 'k'}}
	}
	tests := map[string][]mvcc.Entry{
		"a revision that is there":         {at(5, 0)},
		"more of a revision that is there": {at(5, 1)},
		"a revision left out":              {at(7, 0)},
		"a change left out":                {at(6, 0), at(6, 2)},
		"the first change left out":        {at(6, 1)},
		"the same change twice":            {at(6, 0), at(6, 0)},
		"going back":                       {at(6, 0), at(7, 0), at(6, 1)},
	}
	for name, entries := range tests {
		t.Run(name, func(t *testing.T) {
			db := emptyStore(t)
			a := mvcc.NewAppender(db, 5)
			var err error
			for _, e := range entries {
				err = a.Append(e)
			}
			if !errors.Is(err, mvcc.ErrGap) {
				t.Errorf("Append: %v", err)
			}
			if err := a.Close(); !errors.Is(err, mvcc.ErrGap) {
				t.Errorf("Close: %v", err)
			}
			if n := count(t, db); n != 0 {
				t.Errorf("%d entries were written all the same", n)
			}
		})
	}
}

func emptyStore(t *testing.T) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket(mvcc.Bucket); return err }); err != nil {
		t.Fatal(err)
	}
	return db
}

func count(t *testing.T, db *bolt.DB) (n int) {
	t.Helper()
	err := db.View(func(tx *bolt.Tx) error {
		n = tx.Bucket(mvcc.Bucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
