package drill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/lock"
)

const (
	// dirPrefix begins the name of every drill's directory. It is short: the path of a unix socket below it may have 107
	// bytes at most.
	dirPrefix = "drill-"
	// lockName is the file whose lock is held while directories are made and leftovers looked for.
	lockName = "lock"
	// prepareTimeout is how long another process may hold that lock before this one gives up. Unlinking takes a second or
	// two for many GiB.
	prepareTimeout = time.Minute
)

// workDir is the directory of one drill. It is locked for as long as the drill lives, so that only what killed drills
// have left is wiped by others. It is wiped through descriptors: whatever becomes of its name, no plaintext stays.
type workDir struct {
	path   string
	inside *os.Root
	held   *os.File // the same directory, with the lock
}

// prepare makes the scratch directory and wipes what is left in it.
func prepare(scratch string) error {
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), prepareTimeout)
	defer cancel()
	return alone(ctx, scratch, sweep)
}

// openScratch opens the scratch directory, unless others could put something else in the place of what lies in it.
func openScratch(path string) (*os.Root, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	if err := private(path, info); err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	if opened, err := root.Stat("."); err != nil || !os.SameFile(info, opened) {
		return nil, errors.Join(fmt.Errorf("scratch directory: %s was replaced while it was opened", path), err, root.Close())
	}
	return root, nil
}

// private refuses a directory in which other users can write, that one of them owns, or to which a link leads.
func private(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return hint.New(fmt.Errorf("%s is no directory of its own (%s)", path, info.Mode().Type()), "name the directory itself, no link to it")
	case !ok || int64(stat.Uid) != int64(os.Geteuid()):
		return hint.New(fmt.Errorf("%s does not belong to user %d", path, os.Geteuid()), "name a directory that drd can make itself")
	case info.Mode().Perm()&0o022 != 0:
		return hint.New(fmt.Errorf("other users can write to %s (%s)", path, info.Mode()), "run `chmod 0700 %s`", path)
	}
	return nil
}

// alone runs f while no other process makes or wipes directories in scratch. That takes moments, except for a wipe of a
// large leftover.
func alone(ctx context.Context, scratch string, f func(root *os.Root) error) error {
	root, err := openScratch(scratch)
	if err != nil {
		return err
	}
	release, err := lock.File(ctx, filepath.Join(scratch, lockName), func() {})
	if err != nil {
		return errors.Join(err, root.Close())
	}
	return errors.Join(f(root), release(), root.Close())
}

// sweep wipes the directories that nobody holds.
func sweep(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("look for leftovers of drills: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if matched, _ := filepath.Match(dirPrefix+"*", e.Name()); !matched || !e.IsDir() {
			continue
		}
		w, err := hold(root, e.Name())
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = w.wipe()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// newWorkDir makes and locks the directory of a drill.
func newWorkDir(ctx context.Context, scratch string) (w *workDir, err error) {
	err = alone(ctx, scratch, func(root *os.Root) (err error) {
		name := dirPrefix + rand.Text()[:10]
		if err := root.Mkdir(name, 0o700); err != nil {
			return fmt.Errorf("make directory of the drill: %w", err)
		}
		w, err = hold(root, name)
		return err
	})
	if err != nil && w != nil {
		return nil, errors.Join(err, w.wipe())
	}
	return w, err
}

// hold opens and locks a directory in scratch, or fails at once.
func hold(scratch *os.Root, name string) (*workDir, error) {
	inside, err := scratch.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open directory of a drill: %w", err)
	}
	held, err := inside.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open directory of a drill: %w", err), inside.Close())
	}
	w := &workDir{path: filepath.Join(scratch.Name(), name), inside: inside, held: held}
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock directory of a drill %s: %w", w.path, err), w.close())
	}
	return w, nil
}

// wipe removes everything in the directory, and then lets go of it. An empty directory is all that may stay, where somebody
// has moved it away.
func (w *workDir) wipe() error {
	return errors.Join(w.empty(), w.close())
}

func (w *workDir) empty() error {
	entries, err := fs.ReadDir(w.inside.FS(), ".")
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, w.inside.RemoveAll(e.Name()))
	}
	if err := unix.Rmdir(w.path); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("wipe directory of a drill %s: %w", w.path, err)
	}
	return nil
}

func (w *workDir) close() error { return errors.Join(w.held.Close(), w.inside.Close()) }

// make makes a directory for one use.
func (w *workDir) make(name string) (string, error) {
	if err := w.inside.Mkdir(name, 0o700); err != nil {
		return "", fmt.Errorf("make directory in scratch: %w", err)
	}
	return filepath.Join(w.path, name), nil
}
