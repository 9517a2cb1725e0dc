package drill

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

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
// have left is wiped by others.
type workDir struct {
	path string
	held *os.File
}

// prepare makes the scratch directory and wipes what is left in it.
func prepare(scratch string) error {
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), prepareTimeout)
	defer cancel()
	return alone(ctx, scratch, func() error { return sweep(scratch) })
}

// alone runs f while no other process makes or wipes directories in scratch. That takes moments, except for a wipe of a
// large leftover.
func alone(ctx context.Context, scratch string, f func() error) error {
	release, err := lock.File(ctx, filepath.Join(scratch, lockName), func() {})
	if err != nil {
		return err
	}
	return errors.Join(f(), release())
}

// sweep wipes the directories that nobody holds.
func sweep(scratch string) error {
	entries, err := os.ReadDir(scratch)
	if err != nil {
		return fmt.Errorf("look for leftovers of drills: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if matched, _ := filepath.Match(dirPrefix+"*", e.Name()); !matched || !e.IsDir() {
			continue
		}
		w := workDir{path: filepath.Join(scratch, e.Name())}
		err := w.hold()
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
func newWorkDir(ctx context.Context, scratch string) (*workDir, error) {
	w := &workDir{}
	err := alone(ctx, scratch, func() (err error) {
		if w.path, err = os.MkdirTemp(scratch, dirPrefix+"*"); err != nil {
			return fmt.Errorf("make directory of the drill: %w", err)
		}
		return w.hold()
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// hold locks the directory, or fails at once.
func (w *workDir) hold() error {
	f, err := os.Open(w.path)
	if err != nil {
		return fmt.Errorf("lock directory of a drill: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("lock directory of a drill %s: %w", w.path, err), f.Close())
	}
	w.held = f
	return nil
}

// wipe removes the directory with everything in it, and then lets go of it.
func (w *workDir) wipe() error {
	if err := os.RemoveAll(w.path); err != nil {
		return errors.Join(fmt.Errorf("wipe directory of a drill: %w", err), w.held.Close())
	}
	return w.held.Close()
}

// make makes a directory for one use.
func (w *workDir) make(name string) (string, error) {
	path := filepath.Join(w.path, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", fmt.Errorf("make directory in scratch: %w", err)
	}
	return path, nil
}
