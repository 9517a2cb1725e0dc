package restore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/drd-project/drd/internal/restore"
)

// TestFileUnchanged: a snapshot that needs no edit comes back as the bytes that the etcd member sent.
func TestFileUnchanged(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	c := capture(t, "3.7", "app/")
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	out := filepath.Join(t.TempDir(), "snapshot.db")

	result := restored(t, k, restore.Request{Output: out}, target)

	want, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the file differs from what etcdctl saved: %d and %d bytes", len(got), len(want))
	}
	if result.Facts.HashKV != c.LiveHash || result.Facts.Revision != c.Revision || result.Bumped != 0 {
		t.Errorf("result %+v, the live server had revision %d, hash %d", result, c.Revision, c.LiveHash)
	}
	wantOnly(t, filepath.Dir(out), "snapshot.db")
}

// wantOnly checks that a directory holds exactly these names: no working directory is left.
func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(names) {
		t.Fatalf("%s holds %q, want %q", dir, got, names)
	}
	for i := range names {
		if got[i] != names[i] {
			t.Errorf("%s holds %q, want %q", dir, got, names)
		}
	}
}
