package restore_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	etcdsnapshot "go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"

	"github.com/drd-project/drd/internal/restore"
)

// TestLikeEtcdutl: the data directory is what etcd's own library makes of the same snapshot: every bucket,
// every WAL and every raft snapshot, byte for byte.
func TestLikeEtcdutl(t *testing.T) {
	const one = "m1=http://127.0.0.1:12380"
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		for name, test := range map[string]struct {
			bump    int64
			cluster string
		}{
			"one member":    {0, one},
			"three members": {0, one + ",m2=http://127.0.0.1:22380,m3=http://127.0.0.1:32380"},
			"bumped":        {5_000_000, one},
		} {
			t.Run(version+" "+name, func(t *testing.T) { likeEtcdutl(t, version, test.bump, test.cluster) })
		}
	}
}

func likeEtcdutl(t *testing.T, version string, bump int64, cluster string) {
	c := capture(t, version, "app/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	by, err := restore.BumpBy(bump)
	if err != nil {
		t.Fatal(err)
	}
	req := restore.Request{
		DataDir: filepath.Join(t.TempDir(), "ours"), Bump: by,
		Name: "m1", InitialCluster: cluster, InitialClusterToken: "after-the-fire", PeerURLs: []string{"http://127.0.0.1:12380"},
	}
	restored(t, k, req, target)
	theirs := filepath.Join(t.TempDir(), "theirs")
	err = etcdsnapshot.NewV3(zap.NewNop()).Restore(etcdsnapshot.RestoreConfig{
		SnapshotPath: c.File, Name: req.Name, OutputDataDir: theirs, PeerURLs: req.PeerURLs,
		InitialCluster: req.InitialCluster, InitialClusterToken: req.InitialClusterToken,
		RevisionBump: uint64(bump), MarkCompacted: bump > 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	members := strings.Count(cluster, "=")
	compareTrees(t, req.DataDir, theirs, members == 1)
	got, want := buckets(t, memberDB(req.DataDir)), buckets(t, memberDB(theirs))
	if len(want["key"]) < 100 || len(want["members"]) != members {
		t.Fatalf("the control holds %d entries and %d members: it proves nothing", len(want["key"]), len(want["members"]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("buckets differ from those of etcdutl (-want +got):\n%s", diff)
	}
}

func memberDB(dataDir string) string { return filepath.Join(dataDir, "member", "snap", "db") }

// compareTrees compares names, modes and, except of the store itself, contents. The content of a raft snapshot depends
// on the order in which the library adds several members, which is random.
func compareTrees(t *testing.T, ours, theirs string, raftSnapshots bool) {
	t.Helper()
	got, want := tree(t, ours, raftSnapshots), tree(t, theirs, raftSnapshots)
	if len(want) < 5 {
		t.Fatalf("the control holds %d names only", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files differ from those of etcdutl (-want +got):\n%s", diff)
	}
}

type file struct {
	Mode    fs.FileMode
	Content []byte // without the zeros at the end: a WAL is preallocated
}

func tree(t *testing.T, dir string, raftSnapshots bool) map[string]file {
	t.Helper()
	found := make(map[string]file)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f := file{Mode: st.Mode()}
		skip := d.Name() == "db" || (!raftSnapshots && strings.HasSuffix(d.Name(), ".snap"))
		if !d.IsDir() && !skip {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.Content = bytes.TrimRight(content, "\x00")
		}
		found[rel] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// buckets reads a whole store.
func buckets(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := make(map[string]map[string]string)
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			entries := make(map[string]string)
			all[string(name)] = entries
			return b.ForEach(func(k, v []byte) error {
				entries[string(k)] = string(v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
