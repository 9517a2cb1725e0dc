package archive

import (
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/test/histories"
)

// store is a snapshot as the catalogue shows it, and its file.
type store struct {
	repo.Entry
	path string
}

// catalogued is a snapshot taken just now.
func catalogued(f histories.Store) *store {
	s := &store{path: f.Path, Entry: snap(f.CompactRevision, f.Revision, 0)}
	s.Manifest.CaptureStart, s.Manifest.CaptureEnd = time.Now().UTC(), time.Now().UTC()
	s.Payload = storage.Object{Key: s.path, Size: s.Manifest.Object.Size}
	return s
}

// scratch opens a copy of the store for changes.
func (s *store) scratch(tb testing.TB) *bolt.DB {
	tb.Helper()
	return histories.Store{Path: s.path}.Scratch(tb)
}
