// Package histories has a random history happen on a real etcd, for tests of what drd makes of histories: over few keys, so that
// compactions, tombstones, leases, and several changes of one key in one revision are all frequent.
//
// It remembers what the live member had: every change, as a watch tells it, and its hash at many revisions. What is made
// offline must come to the same.
package histories

import (
	"fmt"
	"math/rand/v2"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/test/servers"
)

const (
	keys = 9
	// recordEvery is after how many changes the member is asked for its hash.
	recordEvery = 4
	// back is how many revisions a compaction leaves at most.
	back = 40
)

// History is a real etcd, and what happened on it.
type History struct {
	*Watch
	Random   *rand.Rand
	Granted  map[int64]int64   // seconds, by lease
	Recorded []repo.Checkpoint // hashes that the member gave, all of member "1"

	t         testing.TB
	client    *clientv3.Client
	leases    []clientv3.LeaseID
	compacted int64
}

// New starts an etcd of a version, such as "3.6". The same seed makes the same history.
func New(t testing.TB, version string, seed uint64) *History {
	t.Helper()
	h := &History{
		t: t, client: servers.StartEtcd(t, servers.EtcdConfig{Version: version}).Client(t), compacted: snapshot.NeverCompacted,
		Random: rand.New(rand.NewPCG(seed, uint64(version[2]))), Granted: make(map[int64]int64),
	}
	h.grant()
	// One key lives for ever: in an empty key space etcd's hash also depends on how far a compaction has come.
	if _, err := h.client.Put(t.Context(), "anchor", "x"); err != nil {
		t.Fatal(err)
	}
	h.Watch = NewWatch(t, h.client)
	h.UpTo(h.revision()) // from here on the watch is told of each change at once, and no compaction can overtake it
	return h
}

func (h *History) grant() {
	ttl := 3600 + h.Random.Int64N(1000)
	lease, err := h.client.Grant(h.t.Context(), ttl)
	if err != nil {
		h.t.Fatal(err)
	}
	h.leases = append(h.leases, lease.ID)
	h.Granted[int64(lease.ID)] = ttl
}

// Write makes n changes, and now and then a compaction or a lease.
func (h *History) Write(n int) {
	h.t.Helper()
	for i := range n {
		if err := h.change(); err != nil {
			h.t.Fatal(err)
		}
		if i%recordEvery == 0 {
			h.record()
		}
		switch h.Random.IntN(60) {
		case 0, 1:
			h.compact()
		case 2, 3:
			h.grant()
		}
	}
}

func (h *History) key() string { return fmt.Sprintf("k%d\x00\xff", h.Random.IntN(keys)) }

func (h *History) change() (err error) {
	ctx := h.t.Context()
	leased := clientv3.WithLease(h.leases[h.Random.IntN(len(h.leases))])
	switch d := h.Random.IntN(20); {
	case d < 7:
		_, err = h.client.Put(ctx, h.key(), fmt.Sprint(h.Random.Uint64()))
	case d < 8:
		_, err = h.client.Put(ctx, h.key(), "")
	case d < 11:
		_, err = h.client.Put(ctx, h.key(), "leased", leased)
	case d < 13:
		_, err = h.client.Delete(ctx, h.key())
	case d < 14:
		_, err = h.client.Delete(ctx, "k", clientv3.WithPrefix())
	case d < 17: // several keys in one revision, one of them with a lease
		_, err = h.client.Txn(ctx).Then(clientv3.OpPut("k8", "x"), clientv3.OpPut("k7", "y", leased),
			clientv3.OpDelete("k0", clientv3.WithRange("k4"))).Commit()
	default: // one key twice in one revision
		key := h.key()
		_, err = h.client.Txn(ctx).Then(
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, "twice")}, nil),
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key)}, nil)).Commit()
	}
	return err
}

func (h *History) revision() int64 {
	r, err := h.client.Get(h.t.Context(), "none")
	if err != nil {
		h.t.Fatal(err)
	}
	return r.Header.Revision
}

// record notes the live hash of the newest revision. Nothing is written meanwhile.
func (h *History) record() {
	revision := h.revision()
	live, err := h.client.HashKV(h.t.Context(), h.client.Endpoints()[0], revision)
	if err != nil {
		if revision == h.compacted { // 3.4 has no hash for the compact revision itself
			return
		}
		h.t.Fatal(err)
	}
	if live.CompactRevision == h.compacted { // else it is a hash that was kept from the time before the compaction
		h.Recorded = append(h.Recorded, repo.Checkpoint{Revision: revision, CompactRevision: h.compacted, Hash: live.Hash, Member: "1"})
	}
}

func (h *History) compact() {
	target := max(h.compacted+1, h.revision()-h.Random.Int64N(back))
	if target > h.revision() || target < 1 {
		return
	}
	if _, err := h.client.Compact(h.t.Context(), target, clientv3.WithCompactPhysical()); err != nil {
		h.t.Fatal(err)
	}
	h.compacted = target
}
