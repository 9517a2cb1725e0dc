package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
)

// lostAndFound is what a fresh ext4 file system has at its root: a data directory that is a mount point holds it from birth.
const lostAndFound = "lost+found"

// destination is where a restore ends, after every check that needs no network.
type destination struct {
	output  string
	dataDir string
	walDir  string

	dataDirExists bool // it is there and empty: it keeps its owner, mode and mount
	walDirExists  bool

	scratch    string // the working directory is made in here
	walScratch string // as scratch, for a separate WAL directory

	leftovers []string // working directories of runs that were killed
}

// checkDestination refuses every destination that a restore could damage. It changes nothing.
func checkDestination(r Request) (destination, error) {
	d := destination{output: r.Output, dataDir: r.DataDir, walDir: r.WALDir}
	check := d.checkFile
	switch {
	case r.InScratch:
		check = d.checkScratch
	case r.DataDir != "":
		check = d.checkDirs
	}
	if err := check(r); err != nil {
		return d, err
	}
	for _, dir := range []string{d.scratch, d.walScratch} {
		if dir == "" {
			continue
		}
		found, err := filepath.Glob(filepath.Join(globEscape(dir), scratchPrefix+"*"))
		if err != nil {
			return d, fmt.Errorf("look for leftovers in %s: %w", dir, err)
		}
		d.leftovers = append(d.leftovers, found...)
	}
	slices.Sort(d.leftovers)
	d.leftovers = slices.Compact(d.leftovers)
	return d, nil
}

func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func (d *destination) checkScratch(r Request) (err error) {
	d.scratch, err = scratchParent("", r.Scratch)
	return err
}

func (d *destination) checkFile(r Request) error {
	if _, err := os.Lstat(r.Output); err == nil {
		return hint.New(fmt.Errorf("output %s exists already", r.Output), "choose another file, or move this one aside: drd never overwrites")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at output: %w", err)
	}
	var err error
	d.scratch, err = scratchParent(r.Scratch, filepath.Dir(r.Output))
	return err
}

func (d *destination) checkDirs(r Request) error {
	if err := checkNotInUse(r.DataDir, "/proc"); err != nil {
		return err
	}
	var err error
	if d.dataDirExists, err = emptyDir("data directory", r.DataDir); err != nil {
		return err
	}
	if d.scratch, err = scratchParent(r.Scratch, besideOrIn(r.DataDir, d.dataDirExists)); err != nil {
		return err
	}
	if r.WALDir == "" {
		return nil
	}
	if d.walDirExists, err = emptyDir("wal directory", r.WALDir); err != nil {
		return err
	}
	d.walScratch, err = scratchParent("", besideOrIn(r.WALDir, d.walDirExists))
	return err
}

// besideOrIn is the directory that is surely on the file system of dir: dir itself, which may be a
// mount point, or its parent while dir is still to be made.
func besideOrIn(dir string, exists bool) string {
	if exists {
		return dir
	}
	return filepath.Dir(dir)
}

// emptyDir reports whether dir exists. A directory with anything in it is an error, and so is a file
// or a symbolic link: renaming onto a link would replace the link.
func emptyDir(what, dir string) (exists bool, err error) {
	st, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", what, err)
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		return false, hint.New(fmt.Errorf("%s %s is a symbolic link", what, dir), "give the path that it points to")
	}
	if !st.IsDir() {
		return false, fmt.Errorf("%s %s is not a directory", what, dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", what, err)
	}
	for _, e := range entries {
		if e.Name() == lostAndFound || strings.HasPrefix(e.Name(), scratchPrefix) {
			continue
		}
		return false, hint.New(fmt.Errorf("%s %s is not empty: it holds %q", what, dir, e.Name()),
			"stop etcd and move the old data aside: mv %s %s.old", dir, dir)
	}
	return true, nil
}

// scratchParent returns the directory for the working directory: wanted, or home when none was wanted. The two
// must be on one file system.
func scratchParent(wanted, home string) (string, error) {
	homeDev, err := device(home)
	if errors.Is(err, fs.ErrNotExist) {
		return "", hint.New(fmt.Errorf("directory %s does not exist", home), "make it first, or mount what belongs there")
	}
	if err != nil {
		return "", err
	}
	if wanted == "" {
		return home, writable(home)
	}
	dev, err := device(wanted)
	if err != nil {
		return "", err
	}
	if dev != homeDev {
		return "", hint.New(fmt.Errorf("scratch directory %s is on another file system than %s", wanted, home),
			"the last step of a restore is a rename: choose a scratch directory on the same file system, or none")
	}
	return wanted, writable(wanted)
}

// walApart reports whether the WAL goes to another file system than the store.
func (d *destination) walApart() (bool, error) {
	if d.walScratch == "" {
		return false, nil
	}
	store, err := device(d.scratch)
	if err != nil {
		return false, err
	}
	wal, err := device(d.walScratch)
	return wal != store, err
}

func device(dir string) (uint64, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return 0, fmt.Errorf("look at directory: %w", err)
	}
	if !st.IsDir() {
		return 0, fmt.Errorf("%s is not a directory", dir)
	}
	var raw unix.Stat_t
	if err := unix.Stat(dir, &raw); err != nil {
		return 0, fmt.Errorf("look at directory %s: %w", dir, err)
	}
	return raw.Dev, nil
}

func writable(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return hint.New(fmt.Errorf("directory %s cannot be written to: %w", dir, err), "run as root or as the owner of %s", dir)
	}
	return nil
}
