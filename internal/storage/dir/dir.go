// Package dir keeps a bucket in a directory: a local disk, an NFS or SMB mount, a USB disk in a drawer.
//
// An object is a file whose path under the root is its key, so that cp, rsync and a person with ls can use the
// repository. What makes a plain file system write-once is the way a file gets its name: it is
// written and synced under a temporary name and then linked to the final one, which the kernel refuses when that
// name is taken. A crash leaves a temporary file at most, which no listing shows.
//
// Nothing outside the root is ever read or written, whatever symbolic links it contains: they are not objects.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

var (
	_ storage.Bucket      = (*Bucket)(nil)
	_ storage.Incompleter = (*Bucket)(nil)
	_ storage.Trier       = (*Bucket)(nil)
)

// parallel is how many files one caller should read or write at once: enough to hide the latency of a
// network file system, few enough not to make a disk seek.
const parallel = 4

// Options for Open.
type Options struct {
	// Create makes the root (0700) when it is missing. Without it a missing root is an error, because an unmounted
	// network disk must not silently become a directory on the local one.
	Create bool
}

// Bucket is a directory. It keeps no file open between calls, so that a file system
// mounted again under the same path is used at once.
type Bucket struct {
	root string
	// publish gives the finished temporary file its final name unless that is taken (fs.ErrExist).
	publish func(root *os.Root, temp *os.File, tempName, name string) error
}

// ParseURL returns the absolute path in "file:///abs/path".
func ParseURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("parse directory URL: %w", err)
	case u.Scheme != "file":
		return "", fmt.Errorf("parse directory URL %q: the scheme is not file://", s)
	case u.Host != "" || u.User != nil || !path.IsAbs(u.Path):
		return "", hint.New(fmt.Errorf("parse directory URL %q: not an absolute path", s), "write three slashes: file:///mnt/backup")
	case u.RawQuery != "" || u.Fragment != "":
		return "", hint.New(fmt.Errorf("parse directory URL %q: a directory takes no options", s), "write ? as %%3F and # as %%23 in the path")
	}
	return path.Clean(u.Path), nil
}

// Open returns the bucket in the directory root. A relative root is taken from the working directory.
func Open(root string, opts Options) (*Bucket, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", root, err)
	}
	b := &Bucket{root: abs, publish: publish}
	if opts.Create {
		if err := os.MkdirAll(abs, 0o700); err != nil {
			return nil, explain("create directory", abs, err)
		}
	}
	r, err := b.open()
	if err != nil {
		return nil, err
	}
	return b, r.Close()
}

// open opens the root for one operation.
func (b *Bucket) open() (*os.Root, error) {
	r, err := os.OpenRoot(b.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.New(fmt.Errorf("open directory %s: it does not exist", b.root), "mount the file system, or create the directory with `mkdir -m 0700 %s`", b.root)
	}
	if err != nil {
		return nil, explain("open directory", b.root, err)
	}
	return r, nil
}

// begin is the start of every operation on a key.
func (b *Bucket) begin(ctx context.Context, key string) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	return b.open()
}

// Location implements storage.Bucket.
func (b *Bucket) Location() string { return (&url.URL{Scheme: "file", Path: b.root}).String() }

// Properties implements storage.Bucket.
func (b *Bucket) Properties() storage.Properties { return storage.Properties{Parallel: parallel} }

// Open implements storage.Bucket.
func (b *Bucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	root, err := b.begin(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	defer root.Close()
	if offset < 0 {
		return nil, fmt.Errorf("open %s: negative offset %d", key, offset)
	}
	f, size, err := openRegular(root, key)
	if err != nil {
		return nil, explain("open", key, err)
	}
	left := max(0, size-offset)
	if length >= 0 {
		left = min(left, length)
	}
	return &reader{ctx: ctx, file: f, section: io.NewSectionReader(f, offset, left), left: left, key: key}, nil
}

// openRegular opens a regular file and nothing else: opening a FIFO would block, a symbolic link is not an object.
func openRegular(root *os.Root, key string) (*os.File, int64, error) {
	if _, err := lstat(root, key); err != nil {
		return nil, 0, err
	}
	f, err := root.Open(key)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// lstat describes the object under key; anything but a regular file is not there.
func lstat(root *os.Root, key string) (fs.FileInfo, error) {
	info, err := root.Lstat(key)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	return info, err
}

// Stat implements storage.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (storage.Object, error) {
	root, err := b.begin(ctx, key)
	if err != nil {
		return storage.Object{}, fmt.Errorf("stat %s: %w", key, err)
	}
	defer root.Close()
	info, err := lstat(root, key)
	if err != nil {
		return storage.Object{}, explain("stat", key, err)
	}
	return object(key, info), nil
}

func object(key string, info fs.FileInfo) storage.Object {
	return storage.Object{Key: key, Size: info.Size(), Modified: info.ModTime().UTC()}
}

// Delete implements storage.Bucket. Directories that it leaves empty go too.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	root, err := b.begin(ctx, key)
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	defer root.Close()
	if _, err := lstat(root, key); err != nil {
		return explain("delete", key, err)
	}
	if err := root.Remove(key); err != nil {
		return explain("delete", key, err)
	}
	parent := path.Dir(key)
	for parent != "." && root.Remove(parent) == nil { // fails on the first one that is not empty
		parent = path.Dir(parent)
	}
	if err := syncDir(root, parent); err != nil && !errors.Is(err, fs.ErrNotExist) { // gone: another Delete emptied it and synced
		return explain("delete", key, err)
	}
	return nil
}

// reader hands out one range of a file. A file that ends before the range does was truncated under us.
type reader struct {
	ctx     context.Context
	file    *os.File
	section *io.SectionReader
	left    int64
	key     string
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("read %s: %w", r.key, err)
	}
	n, err := r.section.Read(p)
	r.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && r.left > 0:
		return n, fmt.Errorf("read %s: %w", r.key, io.ErrUnexpectedEOF)
	case err != nil && !errors.Is(err, io.EOF):
		return n, explain("read", r.key, err)
	}
	return n, err
}

func (r *reader) Close() error { return r.file.Close() }
