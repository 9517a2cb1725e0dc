package cache_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/cache"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// store is a directory that counts what is read from it.
type store struct {
	storage.Bucket
	root string
	read atomic.Int64
}

func (s *store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	s.read.Add(1)
	return s.Bucket.Open(ctx, key, offset, length)
}

func newStore(t *testing.T) *store {
	t.Helper()
	root := t.TempDir()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &store{Bucket: b, root: root}
}

func (s *store) put(t *testing.T, key, content string) {
	t.Helper()
	if _, err := s.Create(t.Context(), key, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

// pass lists, reads the keys, and saves. It returns what was read.
func pass(t *testing.T, s *store, files, prefix string, keys ...string) []string {
	t.Helper()
	c := cache.Open(s, files)
	for _, err := range c.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, key := range keys {
		src, err := c.Open(t.Context(), key, 0, 1<<20)
		if err != nil {
			got = append(got, "")
			continue
		}
		content, err := io.ReadAll(src)
		if err != nil || src.Close() != nil {
			t.Fatal(err)
		}
		got = append(got, string(content))
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestConformance(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) storage.Bucket { return cache.Open(newStore(t), t.TempDir()) })
}

func TestReadOnce(t *testing.T) {
	s, files := newStore(t), t.TempDir()
	keys := []string{"c/snapshots/a/manifest.json", "c/snapshots/a/manifest.json.sig", "c/archive/t/s.signed", "c/snapshots/a/snapshot.db.zst.age"}
	for _, key := range keys {
		s.put(t, key, "of "+key)
	}
	for round, want := range []int{4, 5, 6} { // the payload is read each time
		got := pass(t, s, files, "c/", keys...)
		for i, key := range keys {
			if got[i] != "of "+key {
				t.Errorf("round %d: %s is %q", round, key, got[i])
			}
		}
		if got := s.read.Load(); got != int64(want) {
			t.Errorf("round %d: %d reads of the store, want %d", round, got, want)
		}
	}
	info, err := filepath.Glob(filepath.Join(files, "*.records"))
	if err != nil || len(info) != 1 {
		t.Fatalf("%v, %v", info, err)
	}
	if st, err := os.Stat(info[0]); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// TestOnlyWhatIsListed: what the store does not list any more, or lists with another time, is not taken from the file.
func TestOnlyWhatIsListed(t *testing.T) {
	s, files := newStore(t), t.TempDir()
	const key, other = "c/drills/x.json", "c/drills/y.json"
	s.put(t, key, "one")
	s.put(t, other, "two")
	pass(t, s, files, "c/", key, other)
	if err := os.WriteFile(filepath.Join(s.root, key), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(filepath.Join(s.root, key), later, later); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.root, other)); err != nil {
		t.Fatal(err)
	}
	if got := pass(t, s, files, "c/", key, other); got[0] != "two" || got[1] != "" {
		t.Errorf("read %q", got)
	}
	s.read.Store(0)
	if got := pass(t, s, files, "c/elsewhere/", key); got[0] != "two" || s.read.Load() != 1 {
		t.Errorf("what was not listed: %q with %d reads", got, s.read.Load())
	}
	if got := pass(t, s, files, "c/", key); got[0] != "two" || s.read.Load() != 1 {
		t.Errorf("a listing of something else made it forget: %q with %d reads", got, s.read.Load())
	}
}

// TestDamagedFile: each way in which a file may be damaged makes it worth nothing, and it is made anew.
func TestDamagedFile(t *testing.T) {
	s, files := newStore(t), t.TempDir()
	const key = "c/drills/x.json"
	s.put(t, key, strings.Repeat("record ", 1000))
	pass(t, s, files, "c/", key)
	found, err := filepath.Glob(filepath.Join(files, "*.records"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	good, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		check(t, s, files, found[0], key, bad)
		check(t, s, files, found[0], key, good[:i])
	}
	check(t, s, files, found[0], key, []byte("not one of ours"))
}

func check(t *testing.T, s *store, files, file, key string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := pass(t, s, files, "c/", key); got[0] != strings.Repeat("record ", 1000) {
		t.Fatalf("read %q", got)
	}
}

// TestNowhereToWrite: the bucket works all the same, and Save says why.
func TestNowhereToWrite(t *testing.T) {
	s := newStore(t)
	s.put(t, "c/drills/x.json", "one")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := cache.Open(s, file)
	for _, err := range c.List(t.Context(), "c/") {
		if err != nil {
			t.Fatal(err)
		}
	}
	src, err := c.Open(t.Context(), "c/drills/x.json", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(src); string(b) != "one" || err != nil || src.Close() != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := c.Save(); err == nil || !strings.Contains(err.Error(), "remember what was read") {
		t.Errorf("saved: %v", err)
	}
}
