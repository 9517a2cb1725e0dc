package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// TestConformanceWithoutHardLinks runs the suite as on a file system that has none, with the rename that is left.
func TestConformanceWithoutHardLinks(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) storage.Bucket {
		b, err := Open(t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		b.publish = func(root *os.Root, _ *os.File, temp, name string) error { return renameNoReplace(root, temp, name) }
		return b
	})
}

func TestLacksLinks(t *testing.T) {
	for errno, want := range map[syscall.Errno]bool{unix.EPERM: true, unix.EOPNOTSUPP: true, unix.ENOSYS: true, unix.EMLINK: true, unix.EEXIST: false, unix.EACCES: false, unix.EIO: false} {
		if got := lacksLinks(&os.LinkError{Op: "linkat", Old: "a", New: "b", Err: errno}); got != want {
			t.Errorf("%v: %v", errno, got)
		}
	}
	if lacksLinks(nil) {
		t.Error("success counts as a lack")
	}
}

// TestLostAnswerOfLink: over NFS a link can be refused because it was made already.
func TestLostAnswerOfLink(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	temp, err := root.Create("temp")
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Close()
	if err := root.Link("temp", "final"); err != nil {
		t.Fatal(err)
	}
	if err := publish(root, temp, "temp", "final"); err != nil {
		t.Errorf("the name is this file's own: %v", err)
	}
	other, err := root.Create("other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := publish(root, other, "other", "final"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the name is another file's: %v", err)
	}
}

// TestFailedPublish: whatever step fails, neither name is left.
func TestFailedPublish(t *testing.T) {
	for name, publish := range map[string]func(*os.Root, *os.File, string, string) error{
		"refused": func(*os.Root, *os.File, string, string) error { return &os.LinkError{Op: "link", Err: unix.EIO} },
		"published, and the directories cannot be synced": func(root *os.Root, f *os.File, temp, name string) error {
			if err := publish(root, f, temp, name); err != nil {
				return err
			}
			return root.Rename("a", "moved")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Open(t.TempDir(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			b.publish = publish
			if _, err := b.Create(t.Context(), "a/key", strings.NewReader("x")); err == nil {
				t.Fatal("Create succeeds")
			}
			if _, err := b.Stat(t.Context(), "a/key"); !errors.Is(err, storage.ErrNotExist) {
				t.Errorf("Stat: %v", err)
			}
			if left, err := b.Incomplete(t.Context(), ""); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestDeletedAtOnce: a Delete that comes before the directories are synced leaves nothing to fail for.
func TestDeletedAtOnce(t *testing.T) {
	b, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.publish = func(root *os.Root, f *os.File, temp, name string) error {
		return errors.Join(publish(root, f, temp, name), b.Delete(t.Context(), name))
	}
	if o, err := b.Create(t.Context(), "a/key", strings.NewReader("x")); err != nil || o.Size != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := b.Stat(t.Context(), "a/key"); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
}

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		err   error
		want  string
		is    error
		hints bool
	}{
		{&fs.PathError{Op: "write", Path: ".drd-tmp-x", Err: unix.ENOSPC}, "create k: no space left on device", unix.ENOSPC, true},
		{&fs.PathError{Op: "openat", Path: ".drd-tmp-x", Err: unix.EROFS}, "create k: read-only file system", unix.EROFS, true},
		{&fs.PathError{Op: "openat", Path: "x", Err: unix.EACCES}, "create k: access denied: permission denied", storage.ErrDenied, true},
		{&os.LinkError{Op: "linkat", Old: "x", New: "y", Err: unix.EPERM}, "create k: access denied: operation not permitted", storage.ErrDenied, true},
		{&os.LinkError{Op: "linkat", Old: "x", New: "y", Err: unix.EEXIST}, "create k: object exists already", storage.ErrExists, false},
		{&fs.PathError{Op: "write", Path: "x", Err: unix.EDQUOT}, "create k: disk quota exceeded", unix.EDQUOT, true},
		{&fs.PathError{Op: "fsync", Path: "x", Err: unix.EIO}, "create k: input/output error", unix.EIO, true},
		{&fs.PathError{Op: "openat", Path: "x", Err: unix.ESTALE}, "create k: stale file handle", unix.ESTALE, true},
		{&fs.PathError{Op: "mkdirat", Path: "x", Err: unix.ENOTDIR}, "create k: not a directory", unix.ENOTDIR, false},
		{&sourceError{fmt.Errorf("gone: %w", fs.ErrExist)}, "create k: read the content: gone: file already exists", fs.ErrExist, false},
	} {
		err := explain("create", "k", test.err)
		if err.Error() != test.want || !errors.Is(err, test.is) || (len(hint.Of(err)) > 0) != test.hints {
			t.Errorf("%v: %q, hints %q, want %q", test.err, err, hint.Of(err), test.want)
		}
	}
	if err := explain("stat", "a/b", &fs.PathError{Op: "statat", Path: "a/b", Err: unix.ENOTDIR}); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("a key below an object: %v", err)
	}
}
