package snapshot_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/snapshot/snapshottest"
	"github.com/drd-project/drd/test/servers"
)

// TestInspect reads the facts of real snapshots of every version and compares them with what the live member says.
func TestInspect(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version, Name: "first"})
			client, ctx := member.Client(t), t.Context()
			awaitVersions(t, member)
			lease, err := client.Grant(ctx, 3600)
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range []clientv3.Op{
				clientv3.OpPut("/registry/pods/a", "1"), clientv3.OpPut("/registry/pods/b", "2", clientv3.WithLease(lease.ID)),
				clientv3.OpPut("/registry/pods/a", "3"), clientv3.OpPut("gone", "4"), clientv3.OpDelete("gone"),
			} {
				if _, err := client.Do(ctx, op); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := client.Compact(ctx, 3, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
			live, err := client.Maintenance.HashKV(ctx, client.Endpoints()[0], 6)
			if err != nil {
				t.Fatal(err)
			}
			path := servers.SaveSnapshot(t, client)
			var early int64
			got, err := snapshottest.Inspector(t).Inspect(ctx, path, func(rev int64) { early = rev })
			if err != nil {
				t.Fatal(err)
			}
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			want := snapshot.Facts{
				Revision: 6, CompactRevision: 3, Keys: 2, Revisions: 5, DBSize: st.Size() - 32, HashKV: live.Hash,
				Leases: 1, Members: []string{"first"}, Kubernetes: true,
				// Whatever the version writes; that it was read is seen below.
				StorageVersion: got.StorageVersion, ClusterVersion: got.ClusterVersion, ConsistentIndex: got.ConsistentIndex, Term: got.Term,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if early != 6 {
				t.Errorf("the revision was announced as %d", early)
			}
			if got.ConsistentIndex == 0 || !strings.HasPrefix(got.ClusterVersion, version) {
				t.Errorf("consistent index %d, cluster version %q", got.ConsistentIndex, got.ClusterVersion)
			}
			if has := got.StorageVersion != ""; has != (version >= "3.6") {
				t.Errorf("storage version %q of etcd %s", got.StorageVersion, version)
			}
		})
	}
}

// awaitVersions returns when a new member has written down the version of its cluster and, since 3.6, of its data. It does that by itself
// after it has begun to serve, at the latest after some seconds.
func awaitVersions(t *testing.T, member *servers.Etcd) {
	t.Helper()
	client := member.Client(t)
	decided := func() bool {
		text := pageOf(t, member.Endpoint()+"/version")
		if strings.Contains(text, "not_decided") || !strings.Contains(text, `"etcdcluster":"`+member.Version()+`.`) {
			return false
		}
		status, err := client.Status(t.Context(), member.Endpoint())
		if err != nil {
			t.Fatal(err)
		}
		return member.Version() < "3.6" || status.StorageVersion != ""
	}
	for end := time.Now().Add(time.Minute); !decided(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the member does not write down its version")
		}
	}
}

func pageOf(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(text)
}

func TestInspectFreshStore(t *testing.T) {
	client := servers.StartEtcd(t, servers.EtcdConfig{}).Client(t)
	got, err := snapshottest.Inspector(t).Inspect(t.Context(), servers.SaveSnapshot(t, client), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Revision != 1 || got.CompactRevision != snapshot.NeverCompacted || got.Keys != 0 || got.Revisions != 0 {
		t.Errorf("an empty store: %+v", got)
	}
}

// TestInspectMissingLease: a live key that names a lease without a record is found.
func TestInspectMissingLease(t *testing.T) {
	client := servers.StartEtcd(t, servers.EtcdConfig{}).Client(t)
	for id := clientv3.LeaseID(7); id < 10; id++ {
		if _, err := client.Lease.Grant(t.Context(), 3600); err != nil {
			t.Fatal(err)
		}
	}
	lease, err := client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "k", "v", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	path := servers.SaveSnapshot(t, client)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		return errors.Join(tx.DeleteBucket([]byte("lease")), func() error { _, err := tx.CreateBucket([]byte("lease")); return err }())
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := snapshottest.Inspector(t).Inspect(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{int64(lease.ID)}, got.MissingLeases); diff != "" || got.Leases != 0 {
		t.Errorf("%s (%d lease records)", diff, got.Leases)
	}
}

// TestInspectDamage: whatever is wrong with a file, the caller gets an error that says so, and lives.
func TestInspectDamage(t *testing.T) {
	client := servers.StartEtcd(t, servers.EtcdConfig{}).Client(t)
	for range 300 {
		if _, err := client.Put(t.Context(), "k", strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(servers.SaveSnapshot(t, client))
	if err != nil {
		t.Fatal(err)
	}
	i := snapshottest.Inspector(t)
	cases := map[string][]byte{
		"empty":          {},
		"one byte":       whole[:1],
		"text":           []byte(strings.Repeat("not a database ", 1000)),
		"half":           whole[:len(whole)/2],
		"a page missing": whole[:len(whole)-32-8192],
	}
	const page = 4096
	for _, p := range []int{2, 3, 5, 20, 60} {
		zeroed := append([]byte{}, whole...)
		clear(zeroed[p*page : (p+1)*page])
		cases["page zeroed "+string(rune('0'+p/10))+string(rune('0'+p%10))] = zeroed
	}
	found := 0
	for name, content := range cases {
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := i.Inspect(t.Context(), path, nil)
		if err == nil {
			if strings.HasPrefix(name, "page zeroed") {
				continue // a free page: its content is nobody's
			}
			t.Errorf("%s: no error", name)
			continue
		}
		found++
		if !strings.Contains(err.Error(), "damaged") || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v (hints %q)", name, err, hint.Of(err))
		}
	}
	if found < 7 {
		t.Errorf("only %d of %d damaged files were found out", found, len(cases))
	}
}

// TestInspectManyMissingLeases: what the child has to say may be long.
func TestInspectManyMissingLeases(t *testing.T) {
	client := servers.StartEtcd(t, servers.EtcdConfig{}).Client(t)
	path := servers.SaveSnapshot(t, client)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	const leases = 100_000
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("key"))
		for i := range int64(leases) {
			kv := &mvccpb.KeyValue{Key: fmt.Append(nil, "k", i), CreateRevision: 2, ModRevision: 2, Version: 1, Lease: 1<<60 + i}
			v, err := proto.Marshal(kv)
			if err != nil {
				return err
			}
			if err := b.Put(mvcc.RevToBytes(mvcc.Revision{Main: 2, Sub: i}, mvcc.NewRevBytes()), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := snapshottest.Inspector(t).Inspect(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.MissingLeases) != leases || got.Keys != leases {
		t.Errorf("%d leases missing, %d keys", len(got.MissingLeases), got.Keys)
	}
}

// TestInspectorChildDies: a child that crashes or babbles is an error, not a hang. The file is at fault when the child brought
// itself down, and not when something else ended it.
func TestInspectorChildDies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		script, want    string
		damaged, killed bool
	}{
		"killed":     {script: `kill -9 $$`, want: "signal: killed", killed: true},
		"terminated": {script: `kill -15 $$`, want: "signal: terminated", killed: true},
		"no memory":  {script: `echo "fatal error: runtime: out of memory" >&2; exit 2`, want: "out of memory", killed: true},
		"fault":      {script: `kill -7 $$`, want: "signal: bus error", damaged: true},
		"panic":      {script: `echo "panic: page 7 already freed" >&2; exit 2`, want: "panic: page 7 already freed", damaged: true},
		"complains":  {script: `echo '{"error":"page 7","damaged":true}'; exit 1`, want: "page 7", damaged: true},
		"cannot":     {script: `echo '{"error":"context canceled"}'; exit 1`, want: "context canceled"},
		"silent":     {script: `exit 0`, want: "said nothing"},
		"babbles":    {script: `echo hello`, want: `said "hello`},
	} {
		i := snapshot.Inspector{Command: []string{"/bin/sh", "-c", tc.script, "sh"}}
		_, err := i.Inspect(t.Context(), path, nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q in it", name, err, tc.want)
		}
		if errors.Is(err, snapshot.ErrDamaged) != tc.damaged || errors.Is(err, snapshot.ErrKilled) != tc.killed {
			t.Errorf("%s: %v; damaged %v, killed %v", name, err, errors.Is(err, snapshot.ErrDamaged), errors.Is(err, snapshot.ErrKilled))
		}
	}
}
