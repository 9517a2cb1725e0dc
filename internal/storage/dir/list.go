package dir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/drd-project/drd/internal/storage"
)

// tempIDLength is what stands between TempPrefix and the base name: rand.Text and a dash.
const tempIDLength = 26 + 1

// List implements storage.Bucket. It holds one directory per level in memory, never the whole tree.
// What is no object is passed over: symbolic links, special files, temporary files, names that are no valid keys.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		err := b.walk(ctx, prefix, func(key string, entry fs.DirEntry) error {
			if storage.CheckKey(key) != nil {
				return nil
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // deleted since the directory was read
			}
			if err == nil && !yield(object(key, info), nil) {
				return fs.SkipAll
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.SkipAll) {
			yield(storage.Object{}, explain("list", prefix, err))
		}
	}
}

// Incomplete implements storage.Incompleter: the temporary files of Create calls that run or were killed.
// Upload.ID is the path of the file under the root.
func (b *Bucket) Incomplete(ctx context.Context, prefix string) ([]storage.Upload, error) {
	var found []storage.Upload
	err := b.walk(ctx, path.Dir(prefix+"x")+"/", func(name string, entry fs.DirEntry) error {
		key, ok := finalKey(name)
		if !ok || !strings.HasPrefix(key, prefix) {
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // finished since the directory was read
		}
		if err == nil {
			found = append(found, storage.Upload{Key: key, ID: name, Started: info.ModTime().UTC()})
		}
		return err
	})
	if err != nil {
		return nil, explain("list unfinished files of", prefix, err)
	}
	return found, nil
}

// finalKey returns the key that the temporary file name was meant for.
func finalKey(name string) (string, bool) {
	parent, base := path.Split(name)
	rest, ok := strings.CutPrefix(base, storage.TempPrefix)
	if !ok || len(rest) <= tempIDLength {
		return "", false
	}
	return parent + rest[tempIDLength:], true
}

// walk calls visit with every regular file whose path starts with prefix, in byte order of the paths.
func (b *Bucket) walk(ctx context.Context, prefix string, visit func(name string, entry fs.DirEntry) error) error {
	prefix = strings.TrimPrefix(prefix, "./")
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return err
	}
	root, err := b.open()
	if err != nil {
		return err
	}
	defer root.Close()
	w := walker{ctx: ctx, root: root, prefix: prefix, visit: visit}
	start := ""
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		start = prefix[:i+1]
		if !isDir(root, prefix[:i]) {
			return nil
		}
	}
	return w.dir(start)
}

// isDir is false for a symbolic link anywhere on the path: what lies behind one is not in the bucket.
func isDir(root *os.Root, name string) bool {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if info, err := root.Lstat(name[:i]); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

type walker struct {
	ctx    context.Context
	root   *os.Root
	prefix string
	visit  func(name string, entry fs.DirEntry) error
}

// dir visits one directory; name is "" or ends with a slash.
func (w *walker) dir(name string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := w.read(name)
	if err != nil {
		return err
	}
	storage.Moved(w.ctx)
	for _, e := range entries {
		full := name + sortName(e)
		matches := strings.HasPrefix(full, w.prefix)
		switch {
		case e.IsDir() && (matches || strings.HasPrefix(w.prefix, full)):
			err = w.dir(full)
		case e.Type().IsRegular() && matches:
			err = w.visit(full, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) read(name string) ([]fs.DirEntry, error) {
	d, err := w.root.Open(path.Clean(name))
	if errors.Is(err, fs.ErrNotExist) && name != "" {
		return nil, nil // deleted since its parent was read
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if errors.Is(err, fs.ErrNotExist) && name != "" {
		return nil, nil // deleted since it was opened
	}
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	return entries, nil
}

// sortName is the entry's name as it goes on in keys: a directory's with the slash. So "a-b" comes before
// what is in "a", as it does in a flat name space.
func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}
