package dir_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

// tryRoot is set where TestTryWrite runs again with a small file system of its own, and says where it is.
const tryRoot = "DRD_TEST_TRY"

// TestTryWrite: a write is tried for real, leaves nothing, and finds a file system that is full or read-only, which a Create of what is
// there already does not.
func TestTryWrite(t *testing.T) {
	if root := os.Getenv(tryRoot); root != "" {
		tryWrites(t, root)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	const script = `mount -t tmpfs -o size=64k,mode=700 drd-test "$1" && shift && exec "$@"`
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "sh", root, self, "-test.run=^TestTryWrite$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), tryRoot+"="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("with a file system of its own: %v\n%s", err, out)
	}
}

func tryWrites(t *testing.T, root string) {
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	create(t, b, "prod/check", "there")
	if err := b.TryWrite(t.Context(), "prod/try"); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(filepath.Join(root, "prod")); err != nil || len(files) != 1 {
		t.Errorf("left: %v, %v", files, err)
	}

	if err := os.WriteFile(filepath.Join(root, "full"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	wantRefused(t, b, unix.ENOSPC)
	if err := os.Remove(filepath.Join(root, "full")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, b, unix.EROFS)
}

func wantRefused(t *testing.T, b *dir.Bucket, want error) {
	t.Helper()
	if err := b.TryWrite(t.Context(), "prod/try"); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if _, err := b.Create(t.Context(), "prod/check", strings.NewReader("there")); !errors.Is(err, storage.ErrExists) {
		t.Errorf("Create of what is there: %v", err)
	}
}
