package targets_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/internal/targets"
)

// TestReopening: every call says why the target is not there, and the first one after it came back works.
func TestReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mount")
	b := targets.Reopening(config.Target{Name: "nas", Dir: path})
	calls := map[string]func() error{
		"create": func() error { _, err := b.Create(t.Context(), "k", strings.NewReader("v")); return err },
		"open":   func() error { _, err := b.Open(t.Context(), "k", 0, -1); return err },
		"stat":   func() error { _, err := b.Stat(t.Context(), "k"); return err },
		"delete": func() error { return b.Delete(t.Context(), "k") },
		"list": func() error {
			for _, err := range b.List(t.Context(), "") {
				return err
			}
			return nil
		},
	}
	for name, call := range calls {
		if err := call(); err == nil || !strings.Contains(err.Error(), "does not exist") || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the directory was made: a share that is not mounted has become a local one")
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := calls["create"](); err != nil {
		t.Errorf("after it came back: %v", err)
	}
	if err := calls["stat"](); err != nil {
		t.Errorf("after it came back: %v", err)
	}
	if b.Location() != "file://"+path {
		t.Errorf("location %q", b.Location())
	}
}

// TestReopeningIsABucket: once it is there it is a bucket like any other.
func TestReopeningIsABucket(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) storage.Bucket {
		return targets.Reopening(config.Target{Name: "nas", Dir: t.TempDir()})
	})
}
