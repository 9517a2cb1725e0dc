package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/seal"
)

const segment = "prod/archive/5f3a/000000000001-000000000042-9d3c1f00.zst.age"

func newRing(t *testing.T) (*seal.KeyRing, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run", "keys")
	ring, err := seal.OpenKeyRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ring, dir
}

func newKey(t *testing.T) (seal.FileKey, []byte) {
	t.Helper()
	_, recipients := newIdentity(t, false)
	var b bytes.Buffer
	return sealTo(t, &b, recipients, []byte("content")), b.Bytes()
}

// TestKeyRingSurvivesRestart opens the same directory twice, as a restarted daemon does.
func TestKeyRingSurvivesRestart(t *testing.T) {
	ring, dir := newRing(t)
	key, object := newKey(t)
	if _, ok := ring.Get(segment); ok {
		t.Error("found a key in an empty ring")
	}
	if err := ring.Put(segment, key); err != nil {
		t.Fatal(err)
	}
	again, err := seal.OpenKeyRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*seal.KeyRing{"same": ring, "restarted": again} {
		got, ok := r.Get(segment)
		if !ok {
			t.Fatalf("%s: the key is lost", name)
		}
		if plain, err := open(object, got.Identity()); err != nil || string(plain) != "content" {
			t.Errorf("%s: got %q, %v", name, plain, err)
		}
	}
	for range 2 {
		if err := again.Forget(segment); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := again.Get(segment); ok {
		t.Error("a forgotten key is still there")
	}
	if files := list(t, dir); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestKeyRingFilesArePrivate(t *testing.T) {
	ring, dir := newRing(t)
	key, _ := newKey(t)
	for _, object := range []string{segment, "../../escape", "/etc/passwd", strings.Repeat("long/", 200), "", "a\x00b"} {
		if err := ring.Put(object, key); err != nil {
			t.Fatalf("%q: %v", object, err)
		}
	}
	if mode := stat(t, dir).Mode(); mode != os.ModeDir|0o700 {
		t.Errorf("the directory has mode %v", mode)
	}
	files := list(t, dir)
	if len(files) != 6 {
		t.Errorf("%d files for 6 objects: %v", len(files), files)
	}
	for _, name := range files {
		if mode := stat(t, filepath.Join(dir, name)).Mode(); mode != 0o600 {
			t.Errorf("%s has mode %v", name, mode)
		}
		if strings.Contains(name, "archive") {
			t.Errorf("%s tells the name of its object", name)
		}
	}
}

func TestKeyRingRefusesOpenDirectories(t *testing.T) {
	for _, mode := range []os.FileMode{0o710, 0o701, 0o750, 0o755, 0o777} {
		dir := t.TempDir()
		chmod(t, dir, mode)
		_, err := seal.OpenKeyRing(dir)
		if err == nil {
			t.Errorf("mode %v was accepted", mode)
			continue
		}
		checkError(t, err, "accessible to others", "chmod 0700 "+dir)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.OpenKeyRing(link); err == nil {
		t.Error("a symbolic link was accepted")
	}
	if _, err := seal.OpenKeyRing(writeFile(t, "file", "")); err == nil {
		t.Error("a file was accepted")
	}
}

// TestKeyRingRefusesForeignDirectory gives a directory away when it may, or takes the root directory.
func TestKeyRingRefusesForeignDirectory(t *testing.T) {
	dir := "/"
	if os.Geteuid() == 0 {
		dir = t.TempDir()
		chmod(t, dir, 0o700)
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	_, err := seal.OpenKeyRing(dir)
	if err == nil {
		t.Fatal("accepted")
	}
	checkError(t, err, "belongs to user", "run as user")
}

// TestKeyRingLosesItsDirectory: memory still serves, and the caller learns that a restart will not.
func TestKeyRingLosesItsDirectory(t *testing.T) {
	ring, dir := newRing(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	key, _ := newKey(t)
	err := ring.Put(segment, key)
	if err == nil {
		t.Fatal("no error")
	}
	checkError(t, err, "beyond a restart", segment)
	if got, ok := ring.Get(segment); !ok || !got.Equal(key) {
		t.Error("the key is not kept in memory")
	}
	if ring.OnTmpfs() {
		t.Error("a missing directory is said to be in memory")
	}
	if err := ring.Put(segment, seal.FileKey{}); err == nil {
		t.Error("kept no key")
	}
}

// TestKeyRingDamage: a damaged file counts as missing, and what a killed process left is swept.
func TestKeyRingDamage(t *testing.T) {
	ring, dir := newRing(t)
	key, _ := newKey(t)
	if err := ring.Put(segment, key); err != nil {
		t.Fatal(err)
	}
	for _, name := range list(t, dir) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("DRD-FILE"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left, long := filepath.Join(dir, ".new-123"), time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(left, key.Encode(), 0o600), os.Chtimes(left, long, long)); err != nil {
		t.Fatal(err)
	}
	again, err := seal.OpenKeyRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := again.Get(segment); ok {
		t.Error("got a key from a damaged file")
	}
	if files := list(t, dir); len(files) != 1 {
		t.Errorf("not swept: %v", files)
	}
}

// TestKeyRingOpenedBesideAWriter: a command opens the ring of a daemon that is keeping keys at this moment. Neither disturbs the other.
func TestKeyRingOpenedBesideAWriter(t *testing.T) {
	ring, dir := newRing(t)
	key, _ := newKey(t)
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 500 {
			if err := ring.Put(fmt.Sprint("object-", i), key); err != nil {
				t.Error(err)
			}
		}
	})
	for range 500 {
		if _, err := seal.OpenKeyRing(dir); err != nil {
			t.Error(err)
		}
	}
	writer.Wait()
	if files := list(t, dir); len(files) != 500 {
		t.Errorf("%d files", len(files))
	}
}

// TestOnTmpfs asks stat(1) too.
func TestOnTmpfs(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "drd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) }) //nolint:errcheck // best effort
	for _, dir := range []string{shm, filepath.Join(t.TempDir(), "keys")} {
		ring, err := seal.OpenKeyRing(dir)
		if err != nil {
			t.Fatal(err)
		}
		kind, err := exec.CommandContext(t.Context(), "stat", "-f", "-c", "%T", dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSpace(string(kind)) == "tmpfs"; ring.OnTmpfs() != want {
			t.Errorf("%s is on %s, but OnTmpfs says %v", dir, kind, ring.OnTmpfs())
		}
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
