package restore_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/test/servers"
)

// moment is what a live server answered about one of its revisions.
type moment struct {
	revision int64
	hash     repo.HashKV // Revision 0: none can be compared, as that of the compact revision itself
	keys     []*mvccpb.KeyValue
}

// taken is a snapshot of a server and the moments that lie in it.
type taken struct {
	file     string
	facts    snapshot.Facts
	manifest *repo.Manifest
	moments  []moment
}

// historian is a real server with a random history.
type historian struct {
	t      *testing.T
	server *servers.Etcd
	client *clientv3.Client
	random *rand.Rand
	leases []clientv3.LeaseID
}

func newHistorian(t *testing.T, version string, seed uint64) *historian {
	t.Helper()
	server := servers.StartEtcd(t, servers.EtcdConfig{Version: version, Args: []string{"--max-txn-ops", "10000"}})
	h := &historian{t: t, server: server, client: server.Client(t), random: rand.New(rand.NewPCG(seed, uint64(version[2])))}
	for range 3 {
		lease, err := h.client.Grant(t.Context(), 3600)
		if err != nil {
			t.Fatal(err)
		}
		h.leases = append(h.leases, lease.ID)
	}
	// One key lives for ever: in an empty key space etcd's hash also depends on how far a compaction has come.
	h.must(h.client.Put(t.Context(), "anchor", "x"))
	return h
}

func (h *historian) must(_ any, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *historian) key() string { return fmt.Sprintf("k%02d\x00\xff", h.random.IntN(30)) }

func (h *historian) lease() clientv3.OpOption {
	return clientv3.WithLease(h.leases[h.random.IntN(len(h.leases))])
}

// write makes n changes of every kind that a client can make.
func (h *historian) write(n int) {
	h.t.Helper()
	ctx := h.t.Context()
	for range n {
		key := h.key()
		if h.random.IntN(50) == 0 {
			h.extreme(key)
			continue
		}
		switch d := h.random.IntN(20); {
		case d < 8:
			h.must(h.client.Put(ctx, key, fmt.Sprint(h.random.Uint64())))
		case d < 9:
			h.must(h.client.Put(ctx, key, ""))
		case d < 12:
			h.must(h.client.Put(ctx, key, "leased", h.lease()))
		case d < 15:
			h.must(h.client.Delete(ctx, key))
		case d < 16:
			h.must(h.client.Delete(ctx, key[:2], clientv3.WithPrefix()))
		case d < 18:
			h.must(h.client.Txn(ctx).Then(clientv3.OpPut("pair/a", key, h.lease()), clientv3.OpPut("pair/b", key), clientv3.OpDelete(key)).Commit())
		default: // put and deleted in one revision
			h.must(h.client.Txn(ctx).Then(
				clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, "twice")}, nil),
				clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key)}, nil)).Commit())
		}
	}
}

// extreme is a change that few clients make.
func (h *historian) extreme(key string) {
	h.t.Helper()
	ctx := h.t.Context()
	switch h.random.IntN(12) {
	case 0: // ten thousand changes, half of them nested
		var flat, nested []clientv3.Op
		for i := range 5000 {
			flat = append(flat, clientv3.OpPut(fmt.Sprintf("many/%05d", i), key))
			nested = append(nested, clientv3.OpPut(fmt.Sprintf("nested/%05d", i), key))
		}
		h.must(h.client.Txn(ctx).Then(append(flat[:4999], clientv3.OpTxn(nil, nested, nil))...).Commit())
	case 1: // all of them in one call
		h.must(h.client.Delete(ctx, "many/", clientv3.WithPrefix()))
	case 2: // as large as etcd takes by default
		h.must(h.client.Put(ctx, "large", strings.Repeat(key, (3<<19-1000)/len(key))))
	case 3, 4, 5: // a key is made, deleted with all like it, and none is left
		h.must(h.client.Txn(ctx).Then(
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, "once", h.lease())}, nil),
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key[:1], clientv3.WithPrefix())}, nil)}, nil)).Commit())
	case 6, 7, 8: // keys and values of every byte
		b := make([]byte, 1+h.random.IntN(60))
		for i := range b {
			b[i] = byte(h.random.Uint32())
		}
		h.must(h.client.Put(ctx, "b"+string(b), string(b)))
	default:
		h.churn(h.leases[h.random.IntN(len(h.leases))])
	}
}

// churn revokes a lease, with its keys, and grants one with the same ID for as long.
func (h *historian) churn(id clientv3.LeaseID) {
	h.t.Helper()
	ttl, err := h.client.TimeToLive(h.t.Context(), id)
	h.must(ttl, err)
	h.must(h.client.Revoke(h.t.Context(), id))
	h.must(pb.NewLeaseClient(h.client.ActiveConnection()).LeaseGrant(h.t.Context(), &pb.LeaseGrantRequest{ID: int64(id), TTL: ttl.GrantedTTL}))
}

func (h *historian) revision() int64 {
	h.t.Helper()
	r, err := h.client.Get(h.t.Context(), "anchor")
	h.must(r, err)
	return r.Header.Revision
}

func (h *historian) compact(revision int64) {
	h.t.Helper()
	h.must(h.client.Compact(h.t.Context(), revision, clientv3.WithCompactPhysical()))
}

// take saves a snapshot and asks the server for n of the revisions in it: the oldest, the newest and others.
func (h *historian) take(n int) taken {
	h.t.Helper()
	out := taken{file: filepath.Join(h.t.TempDir(), "taken.db")}
	save(h.t, h.server, out.file)
	var err error
	if out.facts, err = inspector(h.t).Inspect(h.t.Context(), out.file, nil); err != nil {
		h.t.Fatal(err)
	}
	first, last := max(1, out.facts.CompactRevision), out.facts.Revision
	for i := range int64(n) {
		revision := first + h.random.Int64N(last-first+1)
		switch i {
		case 0:
			revision = first
		case 1:
			revision = last
		case 2:
			revision = last - 1
		}
		m := h.ask(revision)
		if m.hash.CompactRevision != out.facts.CompactRevision {
			m.hash = repo.HashKV{} // one that was kept from the time before the compaction
		}
		out.moments = append(out.moments, m)
	}
	return out
}

func (h *historian) ask(revision int64) moment {
	h.t.Helper()
	m := moment{revision: revision}
	all, err := h.client.Get(h.t.Context(), "", clientv3.WithFromKey(), clientv3.WithRev(revision))
	h.must(all, err)
	m.keys = all.Kvs
	answer, err := h.client.Maintenance.HashKV(h.t.Context(), h.server.Endpoint(), revision)
	switch {
	case err == nil:
		m.hash = repo.HashKV{Hash: answer.Hash, Revision: revision, CompactRevision: answer.CompactRevision}
	case h.server.Version() != "3.4":
		h.t.Fatal(err)
	}
	return m
}

// publish puts the snapshot into targets, as if it had been taken so long after captureTime.
func (s *taken) publish(t *testing.T, k *keys, after time.Duration, change func(*repo.Manifest), targets ...*target) {
	t.Helper()
	s.manifest = publish(t, k, s.file, s.facts, captureTime.Add(after), change, targets...)
}
