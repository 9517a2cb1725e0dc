package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

// openTries bounds how often Create makes its directories again when a concurrent Delete removes them as
// empty between their making and the temporary file's. One retry is rare, a second hardly ever seen.
const openTries = 10

// syncEvery bytes: half a minute at 1 MB/s, and no burden for a fast disk.
const syncEvery = 32 << 20

// Create implements storage.Bucket: write, sync, link, remove the temporary name, sync the directories.
func (b *Bucket) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	root, err := b.begin(ctx, key)
	if err != nil {
		return storage.Object{}, fmt.Errorf("create %s: %w", key, err)
	}
	defer root.Close()
	if _, err := root.Lstat(key); err == nil { // spares writing what link would refuse
		return storage.Object{}, explain("create", key, fs.ErrExist)
	}
	obj, err := b.create(ctx, root, key, r)
	if err != nil {
		return storage.Object{}, explain("create", key, err)
	}
	return obj, nil
}

func (b *Bucket) create(ctx context.Context, root *os.Root, key string, r io.Reader) (obj storage.Object, err error) {
	f, temp, err := openTemp(root, key)
	if err != nil {
		return obj, err
	}
	published := false
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			return
		}
		if published && root.Remove(key) != nil {
			err = fmt.Errorf("%w (and the file could not be taken back)", err)
		}
		_ = root.Remove(temp) // one left behind is never listed, and Incomplete tells of it
	}()
	size, err := copySynced(f, &source{ctx: ctx, r: r})
	if err != nil {
		return obj, err
	}
	if err := ctx.Err(); err != nil {
		return obj, err
	}
	if err := b.publish(root, f, temp, key); err != nil {
		return obj, err
	}
	published = true
	if err := syncParents(root, key); err != nil && !(errors.Is(err, fs.ErrNotExist) && deleted(f)) {
		return obj, err
	}
	info, err := f.Stat()
	if err != nil {
		return obj, err
	}
	if info.Size() != size {
		return obj, fmt.Errorf("the file has %d bytes, %d were written", info.Size(), size)
	}
	return object(key, info), nil
}

// copySynced writes all of r to the disk. It syncs as it goes: one sync of gigabytes at the end would take
// minutes on a slow disk, in which nothing seems to move.
func copySynced(f *os.File, r io.Reader) (size int64, err error) {
	for {
		n, err := io.CopyN(f, r, syncEvery)
		size += n
		if err != nil && err != io.EOF { //nolint:errorlint // io.CopyN's contract: a wrapped EOF is an error
			return size, err
		}
		if syncErr := f.Sync(); syncErr != nil || err != nil {
			return size, syncErr
		}
	}
}

// openTemp creates the temporary file beside the final one, and the directories on the way.
func openTemp(root *os.Root, key string) (*os.File, string, error) {
	parent, base := path.Split(key)
	temp := parent + tempName(base)
	var err error
	for range openTries {
		err = makeDirs(root, path.Clean(parent))
		if err == nil {
			var f *os.File
			if f, err = root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
				return f, temp, nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if errors.Is(err, fs.ErrExist) { // not by a concurrent Delete: a file is where a directory has to be
		err = unix.ENOTDIR
	}
	return nil, "", err
}

func makeDirs(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	return root.MkdirAll(name, 0o700)
}

// tempName is TempPrefix, 26 random characters, "-" and the final name: 236 bytes at most.
func tempName(base string) string { return storage.TempPrefix + rand.Text() + "-" + base }

// publish links the temporary file to its final name and removes the temporary one. Where the file system
// has no hard links it renames without replacing, which is as atomic.
func publish(root *os.Root, temp *os.File, tempName, name string) error {
	err := root.Link(tempName, name)
	if errors.Is(err, fs.ErrExist) && linked(temp) {
		err = nil // NFS: the first answer was lost and the kernel asked again; see link(2), "BUGS"
	}
	if lacksLinks(err) {
		return renameNoReplace(root, tempName, name)
	}
	if err != nil {
		return err
	}
	_ = root.Remove(tempName) // a second name does no harm: it is never listed
	return nil
}

// linked tells whether the file has a second name: nobody else knows of the first.
func linked(f *os.File) bool {
	n, known := names(f)
	return known && n > 1
}

// deleted tells whether a published file has no name any more: a concurrent Delete had its turn after Create, and took the directories, too.
func deleted(f *os.File) bool {
	n, known := names(f)
	return known && n == 0
}

// names counts the names of a file.
func names(f *os.File) (n uint64, known bool) {
	info, err := f.Stat()
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return uint64(st.Nlink), true //nolint:unconvert // 32 bits on arm64
}

// lacksLinks recognizes how file systems say that they have no hard links: vfat and exfat EPERM, FUSE ENOSYS
// or EPERM, some SMB servers EOPNOTSUPP.
func lacksLinks(err error) bool {
	for _, no := range []error{unix.EPERM, unix.ENOSYS, unix.EOPNOTSUPP, unix.EMLINK} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

func renameNoReplace(root *os.Root, from, to string) error {
	parent, err := root.Open(path.Dir(to))
	if err != nil {
		return err
	}
	defer parent.Close()
	fd := int(parent.Fd())
	err = unix.Renameat2(fd, path.Base(from), fd, path.Base(to), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return hint.New(fmt.Errorf("the file system has neither hard links nor a rename that does not replace: %w", err),
			"use a file system that can write an object exactly once: ext4, xfs, zfs, nfs")
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// syncParents makes the name durable: the file's directory, and every one above it, for any of them may be new and
// made by a concurrent Create that has not synced yet. Syncing a clean directory costs nothing.
func syncParents(root *os.Root, key string) error {
	for parent := path.Dir(key); ; parent = path.Dir(parent) {
		if err := syncDir(root, parent); err != nil {
			return err
		}
		if parent == "." {
			return nil
		}
	}
}

func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // SMB and some FUSE file systems cannot sync a directory; their server does it
	}
	return errors.Join(err, d.Close())
}

// source is the reader given to Create. It ends with ctx, and marks its errors as its own, so that
// a source that does not exist is not mistaken for an object that does not.
type source struct {
	ctx context.Context
	r   io.Reader
}

type sourceError struct{ err error }

func (e *sourceError) Error() string { return "read the content: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		err = &sourceError{err}
	}
	return n, err
}
