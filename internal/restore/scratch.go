package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
)

// scratchPrefix begins the name of every working directory, so that one left by a killed run is recognized.
const scratchPrefix = ".drd-restore-"

// Names inside a working directory.
const (
	scratchDB       = "db"       // the store, fetched and edited
	scratchStub     = "stub"     // the store without its keys
	scratchData     = "data"     // the data directory in the making
	scratchSegments = "segments" // sealed, as in a target
	scratchWAL      = "wal"      // the separate WAL directory in the making
)

// workspace is the working directories of one run. A second one exists only when the WAL goes to a directory of its
// own, which may be on another file system.
type workspace struct {
	dir    string
	walDir string
}

func newWorkspace(d destination) (*workspace, error) {
	w := &workspace{}
	var err error
	if w.dir, err = os.MkdirTemp(d.scratch, scratchPrefix+"*"); err != nil {
		return nil, fmt.Errorf("make working directory: %w", err)
	}
	if d.walScratch == "" {
		return w, nil
	}
	if w.walDir, err = os.MkdirTemp(d.walScratch, scratchPrefix+"*"); err != nil {
		return nil, errors.Join(fmt.Errorf("make working directory for the wal: %w", err), w.remove())
	}
	return w, nil
}

func (w *workspace) path(name string) string { return filepath.Join(w.dir, name) }

// wal is the path of the separate WAL directory in the making, "" when there is none.
func (w *workspace) wal() string {
	if w.walDir == "" {
		return ""
	}
	return filepath.Join(w.walDir, scratchWAL)
}

// remove deletes everything that did not get its final name.
func (w *workspace) remove() error {
	var errs []error
	for _, dir := range []string{w.dir, w.walDir} {
		if dir == "" {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove working directory: %w", err))
		}
	}
	return errors.Join(errs...)
}

// moveNew gives old the name of path, which must not exist: it is never replaced, not even by a race.
func moveNew(old, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = moveNewPortable(old, path)
	}
	if err != nil {
		return hint.New(fmt.Errorf("give %s its final name: %w", path, err), "nothing was changed: run the restore again once the cause is gone")
	}
	return nil
}

// moveNewPortable is moveNew for a file system without RENAME_NOREPLACE (some network file systems). A
// file is linked, which fails for a name that exists; a directory is renamed, which replaces nothing but an empty one.
func moveNewPortable(old, path string) error {
	st, err := os.Lstat(old)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		if err := os.Link(old, path); err != nil {
			return err
		}
		return os.Remove(old)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fs.ErrExist, err)
	}
	return unix.Rename(old, path)
}

// syncTree makes every file and directory below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
}

// syncPath makes one file, or the entries of one directory, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
