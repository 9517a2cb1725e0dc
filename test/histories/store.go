package histories

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// trailer is the SHA-256 behind a snapshot, in bytes, which is no part of the store.
const trailer = 32

// Store is a database file of etcd.
type Store struct {
	Path                      string
	Revision, CompactRevision int64 // snapshot.NeverCompacted for the second where it never was
}

// Snapshot is what the etcd holds now.
func (h *History) Snapshot() Store {
	h.t.Helper()
	s := Store{Path: filepath.Join(h.t.TempDir(), "db"), Revision: h.revision(), CompactRevision: h.compacted}
	r, err := h.client.Snapshot(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(s.Path, content[:len(content)-trailer], 0o600); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// Scratch opens a copy of the store for changes.
func (s Store) Scratch(t testing.TB) *bolt.DB {
	t.Helper()
	content, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
