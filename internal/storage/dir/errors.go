package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

// explain says in one line what the operating system refused, wraps the error of package storage that it
// amounts to, and adds what can be done about it. Errors that are no system call's pass as they are.
func explain(op, key string, err error) error {
	if _, ok := errors.AsType[*sourceError](err); ok {
		return fmt.Errorf("%s %s: %w", op, key, err)
	}
	var h string
	switch {
	case errors.Is(err, fs.ErrExist) && op == "create":
		return fmt.Errorf("%s %s: %w", op, key, storage.ErrExists)
	case isMissing(err) && slices.Contains([]string{"open", "stat", "read", "delete", opAbort}, op):
		return fmt.Errorf("%s %s: %w", op, key, storage.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w: %w", storage.ErrDenied, cause(err))
		h = "make the directory and what is in it belong to the user that runs drd (see `id` and `ls -ld`)"
	case errors.Is(err, unix.ENOSPC):
		h = "free space on the target's file system, or let `drd prune` remove what retention no longer needs"
	case errors.Is(err, unix.EDQUOT):
		h = "raise the quota of the user that runs drd on the target's file system"
	case errors.Is(err, unix.EROFS):
		h = "remount the file system read-write; after an I/O error the kernel makes it read-only, see `dmesg`"
	case errors.Is(err, unix.ESTALE):
		h = "the file server no longer knows the mount: unmount it and mount it again"
	case errors.Is(err, unix.EIO):
		h = "the disk or the file server failed: see `dmesg`"
	}
	err = fmt.Errorf("%s %s: %w", op, key, cause(err))
	if h == "" {
		return err
	}
	return hint.New(err, "%s", h)
}

// isMissing includes a key below an object, which is a file and not a directory.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// cause drops the system call and the temporary file's name, which mean nothing to an operator.
func cause(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok && err == error(pathErr) { //nolint:errorlint // only the bare one
		return pathErr.Err
	}
	if linkErr, ok := errors.AsType[*os.LinkError](err); ok && err == error(linkErr) { //nolint:errorlint // only the bare one
		return linkErr.Err
	}
	return err
}
