package follow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/test/servers"
)

var allVersions = []string{"3.4", "3.5", "3.6", "3.7"}

const timeline = "0123456789abcdef"

// owner is who signs and keeps the segments of a follower, and remembers the position.
type owner struct {
	t    *testing.T
	keys *sealtest.Keys
	dir  string

	mu       sync.Mutex
	at       follow.Position
	segments []*archive.Sealed
	changed  []string
	ready    func() error // called before a segment is taken; nil: nothing
}

func newOwner(t *testing.T) *owner {
	return &owner{t: t, keys: sealtest.New(t), dir: t.TempDir(), at: follow.Position{Timeline: timeline}}
}

func (o *owner) take(_ context.Context, s *archive.Sealed) (string, error) {
	if o.ready != nil {
		if err := o.ready(); err != nil {
			return "", err
		}
	}
	signed, err := repo.SignSegment(s.Segment, o.keys.Signer)
	if err != nil {
		return "", err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	path := filepath.Join(o.dir, fmt.Sprint(len(o.segments)))
	if err := os.Rename(s.Path, path); err != nil {
		return "", err
	}
	s.Path = path
	o.segments = append(o.segments, s)
	o.at = follow.After(s.Segment, signed.Digest())
	return signed.Digest(), nil
}

func (o *owner) config() follow.Config {
	return follow.Config{
		Cluster: "prod", Dir: filepath.Join(o.dir, "drafts"), Recipients: o.keys.Recipients, Build: repo.Build{Version: "1.0.0"},
		Ready: o.take, FlushInterval: 100 * time.Millisecond, Silence: time.Hour, Poll: 200 * time.Millisecond,
		Changed: func(what string) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.changed = append(o.changed, what)
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func (o *owner) position() follow.Position {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.at
}

func (o *owner) taken() []*archive.Sealed {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.segments)
}

func (o *owner) follower(changes ...func(*follow.Config)) *follow.Follower {
	o.t.Helper()
	cfg := o.config()
	for _, change := range changes {
		change(&cfg)
	}
	f, err := follow.New(cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	return f
}

// running is a follower at work.
type running struct {
	t    *testing.T
	stop context.CancelFunc
	done chan struct{}
	err  error
	at   follow.Position
}

// start runs a follower from the owner's position.
func (o *owner) start(f *follow.Follower, c *etcd.Client) *running {
	ctx, stop := context.WithCancel(o.t.Context())
	r := &running{t: o.t, stop: stop, done: make(chan struct{})}
	from := o.position()
	go func() {
		defer close(r.done)
		r.at, r.err = f.Run(ctx, c, from)
	}()
	o.t.Cleanup(func() { stop(); <-r.done })
	return r
}

// end stops it, which is no error.
func (r *running) end() follow.Position {
	r.t.Helper()
	r.stop()
	if err := r.wait(); err != nil {
		r.t.Fatal(err)
	}
	return r.at
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(time.Minute):
		r.t.Fatal("the follower goes on")
		return nil
	}
}

// until waits for the archive to have a revision.
func (o *owner) until(r *running, revision int64) {
	o.t.Helper()
	o.untilWithin(r, revision, time.Minute)
}

// untilWithin is until with its own patience.
func (o *owner) untilWithin(r *running, revision int64, limit time.Duration) {
	o.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		alive := r.alive() // what is handed over at the end counts too
		switch {
		case o.position().Revision >= revision:
			return
		case !alive:
			o.t.Fatalf("it ended at %+v: %v", r.at, r.err)
		case time.Now().After(end):
			o.t.Fatalf("the archive came to revision %d, not %d, within %s", o.position().Revision, revision, limit)
		}
	}
}

func (r *running) alive() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// content is what a segment holds.
type content struct {
	entries []mvcc.Entry
	stamps  []archive.Stamp
	leases  map[int64]int64
}

func (o *owner) read(s *archive.Sealed) content {
	o.t.Helper()
	file, err := s.Open()
	if err != nil {
		o.t.Fatal(err)
	}
	defer file.Close()
	plain, err := seal.Default().Open(file, []age.Identity{s.Key.Identity()})
	if err != nil {
		o.t.Fatal(err)
	}
	defer plain.Close()
	c := content{leases: map[int64]int64{}}
	for r := archive.NewReader(plain); ; {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return c
		}
		if err != nil {
			o.t.Fatal(err)
		}
		switch record.Kind {
		case archive.KindEntry:
			record.Entry.Value = slices.Clone(record.Entry.Value)
			c.entries = append(c.entries, record.Entry)
		case archive.KindStamp:
			c.stamps = append(c.stamps, record.Stamp)
		case archive.KindLease:
			c.leases[record.Lease.ID] = record.Lease.TTL
		}
	}
}

// union is the history that the segments tell together: where they overlap they must agree.
func (o *owner) union() (entries []mvcc.Entry, leases map[int64]int64) {
	o.t.Helper()
	at := make(map[mvcc.Position]int)
	leases = make(map[int64]int64)
	for _, s := range o.taken() {
		c := o.read(s)
		for id, ttl := range c.leases {
			leases[id] = ttl
		}
		for _, e := range c.entries {
			if i, known := at[e.Position]; !known {
				at[e.Position] = len(entries)
				entries = append(entries, e)
			} else if !same(entries[i], e) {
				o.t.Fatalf("two segments tell revision %s differently", e.Position)
			}
		}
	}
	return entries, leases
}

func same(a, b mvcc.Entry) bool { return a.Position == b.Position && bytes.Equal(a.Value, b.Value) }

// sameHistory compares what a store holds with what was archived.
func sameHistory(t *testing.T, stored, archived []mvcc.Entry) {
	t.Helper()
	for i := range min(len(stored), len(archived)) {
		if !same(stored[i], archived[i]) {
			t.Fatalf("change %d: the store has %s, the archive %s", i, stored[i].Position, archived[i].Position)
		}
	}
	if len(stored) != len(archived) || len(stored) == 0 {
		t.Fatalf("the store has %d changes, the archive %d", len(stored), len(archived))
	}
}

// store is a snapshot of the member, its own SHA-256 cut off, opened for changes.
func store(t *testing.T, kv *clientv3.Client) *bolt.DB {
	t.Helper()
	r, err := kv.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	const trailer = 32
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, content[:len(content)-trailer], 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // scratch
	return db
}

// scratch opens a copy of a store.
func scratch(t *testing.T, path string) *bolt.DB {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(to, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // scratch
	return db
}

func extract(t *testing.T, db *bolt.DB, after, upTo int64) (entries []mvcc.Entry) {
	t.Helper()
	err := db.View(func(tx *bolt.Tx) error {
		return mvcc.Extract(t.Context(), tx, after, upTo, func(e mvcc.Entry) error {
			entries = append(entries, mvcc.Entry{Position: e.Position, Value: slices.Clone(e.Value)})
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// cluster is a live member with a random history.
type cluster struct {
	t       *testing.T
	server  *servers.Etcd
	kv      *clientv3.Client
	drd     *etcd.Client
	random  *rand.Rand
	leases  []clientv3.LeaseID
	granted map[int64]int64
	compact int64
	hashes  []repo.Checkpoint
}

func newCluster(t *testing.T, version string, args ...string) *cluster {
	server := servers.StartEtcd(t, servers.EtcdConfig{Version: version, Args: append([]string{"--max-txn-ops", "10000"}, args...)})
	return newClusterOf(t, server)
}

func newClusterOf(t *testing.T, server *servers.Etcd) *cluster {
	return &cluster{
		t: t, server: server, kv: server.Client(t), drd: connect(t, server), compact: snapshot.NeverCompacted,
		random: rand.New(rand.NewPCG(3, uint64(server.Version()[2]))), granted: map[int64]int64{},
	}
}

func connect(t *testing.T, member *servers.Etcd) *etcd.Client {
	t.Helper()
	c, err := etcd.Connect(t.Context(), etcd.Config{Endpoints: []string{member.Endpoint()}, DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // nothing was written
	return c
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// insist makes a request, and makes it again while the member refuses it: it may be starting, electing a leader, or too busy to answer in
// time. What a change that is made twice leaves is a history like any other.
func (c *cluster) insist(request func() error) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if err := request(); err == nil || time.Now().After(end) {
			c.must(err)
			return
		}
	}
}

func (c *cluster) status() (s etcd.Status) {
	c.t.Helper()
	c.insist(func() (err error) {
		s, err = c.drd.Status(c.t.Context())
		return err
	})
	return s
}

func (c *cluster) revision() int64 {
	c.t.Helper()
	return c.status().Revision
}

func (c *cluster) put(key, value string, opts ...clientv3.OpOption) {
	c.t.Helper()
	c.insist(func() error {
		_, err := c.kv.Put(c.t.Context(), key, value, opts...)
		return err
	})
}

func (c *cluster) grant() {
	seconds := 3600 + c.random.Int64N(1000)
	var l *clientv3.LeaseGrantResponse
	c.insist(func() (err error) {
		l, err = c.kv.Grant(c.t.Context(), seconds)
		return err
	})
	c.leases = append(c.leases, l.ID)
	c.granted[int64(l.ID)] = seconds
}

// write makes n random changes.
func (c *cluster) write(n int) {
	c.t.Helper()
	if len(c.leases) == 0 {
		c.put("anchor", "x") // in an empty key space the hash depends on how far a compaction has come
		c.grant()
	}
	for i := range n {
		c.insist(c.change)
		if c.random.IntN(40) == 0 {
			c.grant()
		}
		if i%7 == 0 {
			c.hash()
		}
	}
}

func (c *cluster) change() (err error) {
	ctx, key := c.t.Context(), fmt.Sprintf("k%d\x00\xff", c.random.IntN(9))
	if c.random.IntN(20) == 0 {
		return c.rare(key)
	}
	switch d := c.random.IntN(20); {
	case d < 9:
		_, err = c.kv.Put(ctx, key, fmt.Sprint(c.random.Uint64()))
	case d < 12:
		_, err = c.kv.Put(ctx, key, "", clientv3.WithLease(c.leases[c.random.IntN(len(c.leases))]))
	case d < 15:
		_, err = c.kv.Delete(ctx, key)
	case d < 16:
		_, err = c.kv.Delete(ctx, "k", clientv3.WithPrefix())
	case d < 18:
		_, err = c.kv.Txn(ctx).Then(clientv3.OpPut("k8", "x"), clientv3.OpPut("k7", "y"), clientv3.OpDelete("k0", clientv3.WithRange("k4"))).Commit()
	default: // one key twice in one revision
		_, err = c.kv.Txn(ctx).Then(
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, "twice")}, nil),
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key)}, nil)).Commit()
	}
	return err
}

// rare are changes that few clients make.
func (c *cluster) rare(key string) (err error) {
	ctx := c.t.Context()
	switch c.random.IntN(3) {
	case 0: // a lease ends with its keys, and another one begins
		i := c.random.IntN(len(c.leases))
		_, err = c.kv.Revoke(ctx, c.leases[i])
		c.leases = slices.Delete(c.leases, i, i+1)
		c.grant()
	case 1: // a key is made, and deleted with all like it further down
		_, err = c.kv.Txn(ctx).Then(
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, "once", clientv3.WithLease(c.leases[0]))}, nil),
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("k", clientv3.WithPrefix())}, nil)}, nil)).Commit()
	case 2: // every byte
		b := make([]byte, 1+c.random.IntN(60))
		for i := range b {
			b[i] = byte(c.random.Uint32())
		}
		_, err = c.kv.Put(ctx, "b"+string(b), string(b))
	}
	return err
}

// hash records what the member says of its newest revision.
func (c *cluster) hash() {
	revision := c.revision()
	if revision == c.compact { // 3.4 has no hash for the compact revision itself
		return
	}
	h, err := c.kv.HashKV(c.t.Context(), c.kv.Endpoints()[0], revision)
	c.must(err)
	c.hashes = append(c.hashes, repo.Checkpoint{Revision: revision, CompactRevision: h.CompactRevision, Hash: h.Hash, Member: "1"})
}

func (c *cluster) compactTo(revision int64) {
	c.t.Helper()
	_, err := c.kv.Compact(c.t.Context(), revision, clientv3.WithCompactPhysical())
	c.must(err)
	c.compact = revision
}
