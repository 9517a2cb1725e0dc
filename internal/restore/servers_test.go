package restore_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/test/servers"
)

var versions = []string{"3.4", "3.5", "3.6", "3.7"}

// TestServers: a snapshot of every version starts on every version, older ones when asked for, with the same content
// by etcd's own hash; it takes writes, and starts again.
func TestServers(t *testing.T) {
	for i, from := range versions {
		for j, to := range versions {
			t.Run(from+" on "+to, func(t *testing.T) {
				req := restore.Request{}
				if j < i {
					req.ForEtcd = to
				}
				onServer(t, from, to, req)
			})
		}
	}
}

func onServer(t *testing.T, from, to string, req restore.Request) {
	c := capture(t, from, "app/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	server, _ := startRestored(t, k, to, req, target)
	client := server.Client(t)

	answer, err := client.HashKV(t.Context(), server.Endpoint(), c.Revision)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Hash != c.LiveHash || answer.CompactRevision != c.Compact || answer.Header.Revision != c.Revision {
		t.Errorf("hash %d, compacted %d, revision %d; the source had %d, %d, %d",
			answer.Hash, answer.CompactRevision, answer.Header.Revision, c.LiveHash, c.Compact, c.Revision)
	}
	if _, err := client.Put(t.Context(), "after", "restore"); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	server.Start()
	if got := get(t.Context(), t, server.Client(t), "after"); got != "restore" {
		t.Errorf("after a restart: %q", got)
	}
}

// startRestored restores into a new data directory and starts a server on it.
func startRestored(t *testing.T, k *keys, version string, req restore.Request, targets ...*target) (*servers.Etcd, *restore.Result) {
	t.Helper()
	port := servers.FreePort(t)
	req.DataDir = filepath.Join(t.TempDir(), "etcd")
	req.PeerURLs = []string{fmt.Sprintf("http://127.0.0.1:%d", port)}
	result := restored(t, k, req, targets...)
	server := servers.StartEtcd(t, servers.EtcdConfig{Version: version, DataDir: req.DataDir, ExistingDataDir: true, PeerPort: port})
	return server, result
}

// TestThreeMembers: three members restored from one snapshot form a cluster, and have equal content.
func TestThreeMembers(t *testing.T) {
	c := capture(t, "3.6", "app/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	var names, urls, initial []string
	var ports []int
	for i := range 3 {
		port := servers.FreePort(t)
		ports = append(ports, port)
		names = append(names, fmt.Sprintf("m%d", i))
		urls = append(urls, fmt.Sprintf("http://127.0.0.1:%d", port))
		initial = append(initial, names[i]+"="+urls[i])
	}
	members := make([]*servers.Etcd, 3)
	var wg sync.WaitGroup
	for i := range members {
		dir := filepath.Join(t.TempDir(), "etcd")
		restored(t, k, restore.Request{
			DataDir: dir, Name: names[i], PeerURLs: urls[i : i+1], InitialCluster: strings.Join(initial, ","),
		}, target)
		cfg := servers.EtcdConfig{
			Version: "3.6", Name: names[i], DataDir: dir, ExistingDataDir: true,
			PeerPort: ports[i], InitialCluster: strings.Join(initial, ","),
		}
		wg.Go(func() { members[i] = servers.StartEtcd(t, cfg) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, m := range members {
		answer, err := m.Client(t).HashKV(t.Context(), m.Endpoint(), c.Revision)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Hash != c.LiveHash {
			t.Errorf("%s: hash %d, the source had %d", m.Name(), answer.Hash, c.LiveHash)
		}
	}
	list, err := members[0].Client(t).MemberList(t.Context())
	if err != nil || len(list.Members) != 3 {
		t.Errorf("members: %v, %v", list, err)
	}
}

// TestKubernetes: a store with Kubernetes keys is moved forward without being asked, on every server, and all
// that was before is compacted.
func TestKubernetes(t *testing.T) {
	c := capture(t, "3.5", "/registry/pods/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	for _, version := range versions[1:] {
		t.Run(version, func(t *testing.T) {
			server, result := startRestored(t, k, version, restore.Request{}, target)
			client := server.Client(t)
			if want := c.Revision + 1_000_000_000; result.Bumped != 1_000_000_000 || result.Facts.Revision != want {
				t.Fatalf("bumped by %d to %d, want %d", result.Bumped, result.Facts.Revision, want)
			}
			all, err := client.Get(t.Context(), "/registry/", clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
			if all.Header.Revision != result.Facts.Revision || all.Count != c.Facts.Keys {
				t.Errorf("revision %d with %d keys, want %d with %d", all.Header.Revision, all.Count, result.Facts.Revision, c.Facts.Keys)
			}
			answer, err := client.HashKV(t.Context(), server.Endpoint(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Hash != result.Facts.HashKV || answer.CompactRevision != result.Facts.CompactRevision {
				t.Errorf("hash %d at compact revision %d, the result says %d at %d",
					answer.Hash, answer.CompactRevision, result.Facts.HashKV, result.Facts.CompactRevision)
			}
			wantCompacted(t, client, c.Revision)
			wantCompacted(t, client, result.Facts.Revision-1)
		})
	}
}

// wantCompacted checks that a read and a watch from a revision both say that it is gone.
func wantCompacted(t *testing.T, client *clientv3.Client, revision int64) {
	t.Helper()
	if _, err := client.Get(t.Context(), "/registry/pods/key-001", clientv3.WithRev(revision)); !strings.Contains(fmt.Sprint(err), "compacted") {
		t.Errorf("read at revision %d: %v", revision, err)
	}
	answer, open := <-client.Watch(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithRev(revision))
	if !open || answer.CompactRevision == 0 {
		t.Errorf("watch from revision %d: %+v", revision, answer)
	}
}

// TestFileOnServer: the file output with edits is a standard snapshot: etcdutl takes it with its hash check.
func TestFileOnServer(t *testing.T) {
	c := capture(t, "3.5", "/registry/pods/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	out := filepath.Join(t.TempDir(), "snapshot.db")
	result := restored(t, k, restore.Request{Output: out}, target)
	dir := filepath.Join(t.TempDir(), "etcd")
	run(t, servers.Tool(t, "etcdutl-3.6"), "snapshot", "restore", out, "--data-dir", dir)
	server := servers.StartEtcd(t, servers.EtcdConfig{Version: "3.6", DataDir: dir, ExistingDataDir: true})
	answer, err := server.Client(t).HashKV(t.Context(), server.Endpoint(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Hash != result.Facts.HashKV || answer.Header.Revision != result.Facts.Revision {
		t.Errorf("hash %d at %d, the result says %d at %d", answer.Hash, answer.Header.Revision, result.Facts.HashKV, result.Facts.Revision)
	}
}

// TestMissingLeases: keys whose lease has no record would crash the server on the first put with --ignore-lease.
func TestMissingLeases(t *testing.T) {
	for _, version := range []string{"3.5", "3.7"} {
		t.Run(version, func(t *testing.T) {
			c := capture(t, version, "app/")
			var gone []int64
			file := rewrite(t, c.File, func(tx *bolt.Tx) error {
				b := tx.Bucket([]byte("lease"))
				for _, k := range bucketKeys(b) {
					gone = append(gone, int64(binary.BigEndian.Uint64(k)))
					if err := b.Delete(k); err != nil {
						return err
					}
				}
				return nil
			})
			k, target := newKeys(t), newTarget(t)
			publish(t, k, file, inspect(t, file), captureTime, nil, target)
			server, result := startRestored(t, k, version, restore.Request{}, target)
			if len(gone) == 0 || result.LeasesAdded != len(gone) {
				t.Fatalf("%d leases were dropped, %d added", len(gone), result.LeasesAdded)
			}
			client := server.Client(t)
			if _, err := client.Put(t.Context(), "app/key-007", "kept", clientv3.WithIgnoreLease()); err != nil {
				t.Fatalf("put --ignore-lease: %v\n%s", err, server.Logs())
			}
			for _, id := range gone {
				ttl, err := client.TimeToLive(t.Context(), clientv3.LeaseID(id), clientv3.WithAttachedKeys())
				if err != nil {
					t.Fatal(err)
				}
				if ttl.GrantedTTL != 3600 || len(ttl.Keys) == 0 {
					t.Errorf("lease %x: granted %d s, %d keys", id, ttl.GrantedTTL, len(ttl.Keys))
				}
			}
		})
	}
}

// TestAlarm: a store that was full when it was captured takes writes after the restore.
func TestAlarm(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	source := servers.StartEtcd(t, servers.EtcdConfig{Version: "3.6", Args: []string{"--quota-backend-bytes=2097152"}})
	client := source.Client(t)
	var err error
	for i := 0; i < 200 && err == nil; i++ {
		_, err = client.Put(t.Context(), fmt.Sprint("fill-", i), strings.Repeat("x", 100_000))
	}
	if !strings.Contains(fmt.Sprint(err), "database space exceeded") {
		t.Fatalf("the store never filled up: %v", err)
	}
	file := filepath.Join(t.TempDir(), "full.db")
	save(t, source, file)
	publish(t, k, file, inspect(t, file), captureTime, nil, target)

	server, result := startRestored(t, k, "3.6", restore.Request{}, target)
	if len(result.AlarmsCleared) != 1 || len(result.Facts.Alarms) != 0 {
		t.Errorf("alarms cleared %q, left %q", result.AlarmsCleared, result.Facts.Alarms)
	}
	if _, err := server.Client(t).Put(t.Context(), "after", "restore"); err != nil {
		t.Errorf("write after the restore: %v", err)
	}
}

// TestSeparateWAL: the member runs with its WAL in a directory of its own, which existed before.
func TestSeparateWAL(t *testing.T) {
	c := capture(t, "3.7", "app/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	elsewhere, err := os.MkdirTemp("/dev/shm", "drd-restore-test-*") // on a file system of its own
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(elsewhere)
	for name, wal := range map[string]string{
		"new": filepath.Join(t.TempDir(), "wal"), "empty": t.TempDir(), "other file system": filepath.Join(elsewhere, "wal"),
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			result := restored(t, k, restore.Request{DataDir: data, WALDir: wal}, target)
			if result.WALDir != wal || result.Path != data {
				t.Errorf("result names %s and %s", result.Path, result.WALDir)
			}
			wantOnly(t, data, "member")
			wantOnly(t, filepath.Join(data, "member"), "snap")
			server := servers.StartEtcd(t, servers.EtcdConfig{Version: "3.7", DataDir: data, ExistingDataDir: true, Args: []string{"--wal-dir", wal}})
			if answer, err := server.Client(t).HashKV(t.Context(), server.Endpoint(), c.Revision); err != nil || answer.Hash != c.LiveHash {
				t.Errorf("hash %+v, %v; the source had %d", answer, err, c.LiveHash)
			}
		})
	}
}

// TestRunningEtcd: a data directory that a server uses is refused first, by its process, even when its files were moved away.
func TestRunningEtcd(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	c := capture(t, "3.7", "app/")
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	server := servers.StartEtcd(t, servers.EtcdConfig{Version: "3.7"})
	want := fmt.Sprintf("is in use by a running etcd (process %d)", server.PID())
	for _, moved := range []bool{false, true} {
		if moved {
			if err := os.Rename(server.DataDir(), server.DataDir()+".old"); err != nil {
				t.Fatal(err)
			}
		}
		_, err := tryRestore(t, k, restore.Request{DataDir: server.DataDir()}, nil, target)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("moved %v: %v, want %q", moved, err, want)
		}
	}
	server.Kill()
	if _, err := tryRestore(t, k, restore.Request{DataDir: server.DataDir()}, nil, target); err != nil {
		t.Errorf("after the server ended: %v", err)
	}
}

// TestUnknownStorageVersion: a schema from the future is refused when the plan is made.
func TestUnknownStorageVersion(t *testing.T) {
	c := capture(t, "3.7", "app/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, func(m *repo.Manifest) { m.StorageVersion = "3.8.0" }, target)
	_, err := tryRestore(t, k, restore.Request{Output: filepath.Join(t.TempDir(), "f")}, nil, target)
	if err == nil || !strings.Contains(err.Error(), "storage version 3.8.0") {
		t.Error(err)
	}
}

func bucketKeys(b *bolt.Bucket) [][]byte {
	var keys [][]byte
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		keys = append(keys, slices.Clone(k))
	}
	return keys
}
