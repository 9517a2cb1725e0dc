package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/test/servers"
)

// content is what a member says of its own data.
type content struct {
	Revision int64 // of the whole store
	Compact  int64
	Hash     uint32 // HashKV at Revision
	Keys     int64
	KeyData  string          // hash over every key with its value, revisions, version and lease
	Leases   map[int64]int64 // granted TTL in seconds, by ID
}

func contentOf(t *testing.T, e *servers.Etcd) content {
	t.Helper()
	return contentBy(t, e.Client(t), e.Endpoint())
}

func contentBy(t *testing.T, client *clientv3.Client, endpoint string) content {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all, err := client.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatalf("read all keys: %v", err)
	}
	hash, err := client.HashKV(ctx, endpoint, all.Header.Revision)
	if err != nil {
		t.Fatalf("ask for HashKV: %v", err)
	}
	sum := sha256.New()
	for _, kv := range all.Kvs {
		fmt.Fprintf(sum, "%q %q %d %d %d %d\n", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
	}
	return content{
		Revision: all.Header.Revision, Compact: hash.CompactRevision, Hash: hash.Hash, Keys: all.Count,
		KeyData: hex.EncodeToString(sum.Sum(nil)), Leases: leasesOf(ctx, t, client),
	}
}

func leasesOf(ctx context.Context, t *testing.T, client *clientv3.Client) map[int64]int64 {
	t.Helper()
	list, err := client.Leases(ctx)
	if err != nil {
		t.Fatalf("list leases: %v", err)
	}
	granted := make(map[int64]int64)
	for _, lease := range list.Leases {
		ttl, err := client.TimeToLive(ctx, lease.ID)
		if err != nil {
			t.Fatalf("ask for lease %x: %v", lease.ID, err)
		}
		if ttl.TTL <= 0 {
			t.Errorf("lease %x has %d s to live", lease.ID, ttl.TTL)
		}
		granted[int64(lease.ID)] = ttl.GrantedTTL
	}
	return granted
}

// load gives a member a past: keys under prefix with two leases, changes, deletions, a compaction, and changes after it.
func load(t *testing.T, e *servers.Etcd, prefix, value string) {
	t.Helper()
	client := e.Client(t)
	write(t, client, prefix, value, 60)
	for i := range 10 {
		if _, err := client.Delete(t.Context(), fmt.Sprintf("%s%04d", prefix, 5*i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, ttl := range []int64{3600, 86400} {
		lease, err := client.Grant(t.Context(), ttl)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Put(t.Context(), fmt.Sprintf("%sleased-%d", prefix, i), value, clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
	}
	last, err := client.Put(t.Context(), prefix+"0001", value+" changed")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), last.Header.Revision-5, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	write(t, client, prefix+"later-", value, 20)
}

// write puts n keys.
func write(t *testing.T, client *clientv3.Client, prefix, value string, n int) {
	t.Helper()
	for i := range n {
		if _, err := client.Put(t.Context(), fmt.Sprintf("%s%04d", prefix, i), fmt.Sprintf("%s %d", value, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// member is where a restored member will be: its directory, and what drd and etcd need to agree on.
type member struct {
	name    string
	dir     string
	port    int    // for peers
	initial string // cluster; "" is this member alone
}

func (s *site) newMember(name string) member {
	return member{name: name, dir: filepath.Join(s.dir, "restored-"+name), port: servers.FreePort(s.t)}
}

func (m member) url() string { return fmt.Sprintf("http://127.0.0.1:%d", m.port) }

// flags are for drd restore.
func (m member) flags() []string {
	flags := []string{"--data-dir", m.dir, "--name", m.name, "--initial-advertise-peer-urls", m.url()}
	if m.initial != "" {
		flags = append(flags, "--initial-cluster", m.initial)
	}
	return flags
}

// patient are arguments for a member of several: it does not take another for dead when the machine stands still for a moment, and so the
// leader stays, and no request is lost with it.
func patient() []string { return []string{"--heartbeat-interval", "500", "--election-timeout", "5000"} }

// start starts an etcd on the restored directory.
func (m member) start(t *testing.T, version string) *servers.Etcd {
	t.Helper()
	cfg := servers.EtcdConfig{Version: version, Name: m.name, DataDir: m.dir, ExistingDataDir: true, PeerPort: m.port, InitialCluster: m.initial}
	if m.initial != "" {
		cfg.Args = patient()
	}
	return servers.StartEtcd(t, cfg)
}

// wantContent compares a restored member with what the lost one said.
func wantContent(t *testing.T, e *servers.Etcd, want content) {
	t.Helper()
	if diff := cmp.Diff(want, contentOf(t, e)); diff != "" {
		t.Errorf("the restored %s has other content than the lost one (-lost +restored):\n%s", e.Name(), diff)
	}
}

// wantBumped compares a member that was moved forward: the same keys, and a past that is closed.
func wantBumped(t *testing.T, e *servers.Etcd, lost content, by int64) {
	t.Helper()
	got := contentOf(t, e)
	if got.Revision != lost.Revision+by || got.Keys != lost.Keys || got.KeyData != lost.KeyData {
		t.Errorf("revision %d with %d keys (%s), want %d with %d (%s)", got.Revision, got.Keys, got.KeyData, lost.Revision+by, lost.Keys, lost.KeyData)
	}
	if diff := cmp.Diff(lost.Leases, got.Leases); diff != "" {
		t.Errorf("leases (-lost +restored):\n%s", diff)
	}
	for _, old := range []int64{lost.Revision, lost.Revision + by - 1} {
		_, err := e.Client(t).Get(t.Context(), "x", clientv3.WithRev(old))
		if !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("a read at revision %d answers %v, want compacted", old, err)
		}
	}
	put, err := e.Client(t).Put(t.Context(), "after", "restore")
	if err != nil || put.Header.Revision != lost.Revision+by+1 {
		t.Errorf("the next write: %v, %v", put, err)
	}
}
