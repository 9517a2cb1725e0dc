package restore_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/restore"
)

// TestRefusedBeforeAnySource: what is wrong with the request or the destination is said before a source is asked, and
// nothing changes on disk. Without any source the next complaint would be another one.
func TestRefusedBeforeAnySource(t *testing.T) {
	home := t.TempDir()
	mkdir := func(name string, mode os.FileMode) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	full := mkdir("full", 0o700)
	touch(t, filepath.Join(full, "name"))
	empty := mkdir("empty", 0o700)
	link := filepath.Join(home, "link")
	if err := os.Symlink(empty, link); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(home, "fresh")
	for _, test := range []struct {
		name string
		req  restore.Request
		want string
	}{
		{"no destination", restore.Request{}, "no destination given"},
		{"two destinations", restore.Request{Output: fresh, DataDir: fresh}, "exclude each other"},
		{"wal without data dir", restore.Request{Output: fresh, WALDir: empty}, "needs a data directory"},
		{"wal in data dir", restore.Request{DataDir: fresh, WALDir: filepath.Join(fresh, "wal")}, "contain each other"},
		{"data dir in wal", restore.Request{DataDir: filepath.Join(empty, "d"), WALDir: empty}, "contain each other"},
		{"output exists", restore.Request{Output: filepath.Join(full, "name")}, "exists already"},
		{"output is a directory", restore.Request{Output: empty}, "exists already"},
		{"output is a link", restore.Request{Output: link}, "exists already"},
		{"no parent of output", restore.Request{Output: filepath.Join(home, "no", "f")}, filepath.Join(home, "no") + " does not exist"},
		{"data dir not empty", restore.Request{DataDir: full}, `is not empty: it holds "name"`},
		{"data dir is a file", restore.Request{DataDir: filepath.Join(full, "name")}, "is not a directory"},
		{"data dir is a link", restore.Request{DataDir: link}, "is a symbolic link"},
		{"no parent of data dir", restore.Request{DataDir: filepath.Join(home, "no", "d")}, filepath.Join(home, "no") + " does not exist"},
		{"wal dir not empty", restore.Request{DataDir: fresh, WALDir: full}, "wal directory " + full + " is not empty"},
		{"scratch elsewhere", restore.Request{Output: fresh, Scratch: "/proc"}, "another file system"},
		{"no scratch", restore.Request{Output: fresh, Scratch: filepath.Join(home, "no")}, "no such file"},
		{"etcd 4", restore.Request{Output: fresh, ForEtcd: "4.0"}, `unknown etcd version "4.0": known are 3.4, 3.5, 3.6, 3.7`},
		{"fraction of a second", restore.Request{Output: fresh, LeaseTTL: 1500 * time.Millisecond}, "whole, positive number of seconds"},
		{"name not in cluster", restore.Request{DataDir: fresh, Name: "m1", InitialCluster: "m2=http://10.0.0.2:2380"}, `couldn't find local name "m1"`},
		{"other url in cluster", restore.Request{
			DataDir: fresh, Name: "m1", InitialCluster: "m1=http://10.0.0.1:2380", PeerURLs: []string{"http://10.0.0.9:2380"},
		}, "--initial-cluster has m1=http://10.0.0.1:2380 but missing from --initial-advertise-peer-urls"},
		{"same url twice", restore.Request{
			DataDir: fresh, Name: "m1", InitialCluster: "m1=http://10.0.0.1:2380,m2=http://10.0.0.1:2380", PeerURLs: []string{"http://10.0.0.1:2380"},
		}, "duplicate url"},
		{"no url", restore.Request{DataDir: fresh, PeerURLs: []string{"10.0.0.1"}}, "peer urls [10.0.0.1]"},
		{"no cluster", restore.Request{DataDir: fresh, InitialCluster: "m1"}, `initial cluster "m1"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newKeys(t)
			_, err := restore.MakePlan(t.Context(), nil, k.trust, test.req, captureTime)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			wantOnly(t, home, "empty", "full", "link")
			wantOnly(t, empty)
		})
	}
	_, err := restore.MakePlan(t.Context(), nil, newKeys(t).trust, restore.Request{Output: fresh}, captureTime)
	if err == nil || !strings.Contains(err.Error(), "no target") {
		t.Errorf("a good request without a source: %v", err)
	}
}

// TestMovedAside: the hint is a command that works as it stands.
func TestMovedAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	if err := os.MkdirAll(filepath.Join(dir, "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	k, target := newKeys(t), newTarget(t)
	c := capture(t, "3.7", "app/")
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	_, err := tryRestore(t, k, restore.Request{DataDir: dir}, nil, target)
	_, command, found := strings.Cut(strings.Join(hint.Of(err), "\n"), "aside: ")
	if err == nil || !found {
		t.Fatalf("%v, hints %q", err, hint.Of(err))
	}
	run(t, "sh", "-c", command)
	restored(t, k, restore.Request{DataDir: dir}, target)
}

// TestLockedDatabase: a locked database is in use, by whomever.
func TestLockedDatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	if err := os.MkdirAll(filepath.Dir(memberDB(dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(memberDB(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	_, err = restore.MakePlan(t.Context(), nil, newKeys(t).trust, restore.Request{DataDir: dir}, captureTime)
	if err == nil || !strings.Contains(err.Error(), "locked by a running process") {
		t.Error(err)
	}
}

// TestFreshVolume: a data directory may be the root of a new file system, keeps its mode and owner, and hands the owner down.
func TestFreshVolume(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	const uid, gid = 4711, 4712
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	k, target := newKeys(t), newTarget(t)
	c := capture(t, "3.7", "app/")
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	restored(t, k, restore.Request{DataDir: dir}, target)
	wantOnly(t, dir, "lost+found", "member")
	for path, mode := range map[string]os.FileMode{dir: 0o750, filepath.Join(dir, "member"): 0o700, memberDB(dir): 0o600} {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		if os.FileMode(st.Mode&0o777) != mode || (root && (st.Uid != uid || st.Gid != gid)) {
			t.Errorf("%s: mode %o, owner %d:%d", path, st.Mode&0o777, st.Uid, st.Gid)
		}
	}
}

// TestOfflineFlags: member flags that agree in writing are not looked up in any name service.
func TestOfflineFlags(t *testing.T) {
	const host = "etcd-1.no-such-domain.invalid"
	if _, err := net.DefaultResolver.LookupHost(t.Context(), host); err == nil {
		t.Fatalf("%s exists here: the test proves nothing", host)
	}
	k, target := newKeys(t), newTarget(t)
	c := capture(t, "3.7", "app/")
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	restored(t, k, restore.Request{
		DataDir: filepath.Join(t.TempDir(), "etcd"), Name: "etcd-1", PeerURLs: []string{"https://" + host + ":2380"},
	}, target)
}
