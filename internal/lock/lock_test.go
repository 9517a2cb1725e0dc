package lock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	release, err := File(t.Context(), path, func() { t.Error("a free lock is busy") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told := 0
	if _, err := File(ctx, path, func() { told++; cancel() }); !errors.Is(err, context.Canceled) || told != 1 {
		t.Errorf("a held lock: %v, told %d times", err, told)
	}
	released := make(chan error, 1)
	again, err := File(t.Context(), path, func() {
		told++
		time.AfterFunc(2*poll, func() { released <- release() })
	})
	if err != nil || told != 2 {
		t.Fatalf("after the release: %v, told %d times", err, told)
	}
	if err := <-released; err != nil {
		t.Error(err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

func TestNoDirectory(t *testing.T) {
	if _, err := File(t.Context(), filepath.Join(t.TempDir(), "missing", "lock"), func() {}); err == nil {
		t.Error("locks a file that cannot be")
	}
}

func TestLink(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(dir, "elsewhere")
	if err := os.Symlink(elsewhere, filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := File(t.Context(), filepath.Join(dir, "lock"), func() {}); !errors.Is(err, unix.ELOOP) {
		t.Errorf("lock through a link: %v", err)
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made elsewhere: %v", err)
	}
}
