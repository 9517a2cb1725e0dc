package restore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
)

// checkNotInUse refuses a data directory that a running etcd has open, or was started with: the files
// may have been moved aside while the process still runs, and it would write into what we restore.
// What this user may not see of other users' processes is not found.
func checkNotInUse(dataDir, proc string) error {
	locked, err := lockedDB(filepath.Join(dataDir, "member", "snap", "db"))
	if err != nil {
		return err
	}
	pid, found := etcdProcess(canonical(dataDir), proc)
	switch {
	case found:
		err = fmt.Errorf("data directory %s is in use by a running etcd (process %d)", dataDir, pid)
	case locked:
		err = fmt.Errorf("data directory %s is in use: its database is locked by a running process", dataDir)
	default:
		return nil
	}
	return hint.New(err, "stop etcd on this machine, then move the old data aside: mv %s %s.old", dataDir, dataDir)
}

// canonical resolves the symbolic links on the way to a directory, as /proc names open files. The directory itself need
// not exist; where its parent does not either, there is nothing to resolve.
func canonical(dir string) string {
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return filepath.Clean(dir)
	}
	return filepath.Join(parent, filepath.Base(dir))
}

// lockedDB reports whether someone holds bbolt's lock (flock) on the database.
func lockedDB(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the old database: %w", err)
	}
	defer f.Close()
	// Closing the file releases the lock. A starting etcd that meets it waits and tries again.
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("test the lock of %s: %w", path, err)
	}
	return false, nil
}

// etcdProcess returns a process that has a file below dataDir open, or an etcd started with it. dataDir is canonical.
func etcdProcess(dataDir, proc string) (pid int, found bool) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return 0, false // no /proc: the lock alone decides
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		root := filepath.Join(proc, e.Name())
		if holdsFile(root, dataDir) || startedWith(root, proc, dataDir) {
			return pid, true
		}
	}
	return 0, false
}

// holdsFile reports whether the process has member/… of dataDir open.
func holdsFile(root, dataDir string) bool {
	member := filepath.Join(dataDir, "member") + string(filepath.Separator)
	fds, err := os.ReadDir(filepath.Join(root, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(root, "fd", fd.Name())); err == nil && strings.HasPrefix(to, member) {
			return true
		}
	}
	return false
}

// startedWith reports whether the process is an etcd whose flags or environment name dataDir. The name
// counts as the process sees it: in a container it may be another directory of the same name.
func startedWith(root, proc, dataDir string) bool {
	if comm, err := os.ReadFile(filepath.Join(root, "comm")); err != nil || !strings.HasPrefix(string(comm), "etcd") {
		return false
	}
	named := namedDataDir(root)
	if named == "" {
		return false
	}
	if !filepath.IsAbs(named) {
		cwd, err := os.Readlink(filepath.Join(root, "cwd"))
		if err != nil {
			return false
		}
		named = filepath.Join(cwd, named)
	}
	theirs, err1 := os.Stat(filepath.Join(root, "root", named))
	ours, err2 := os.Stat(dataDir)
	if err1 == nil && err2 == nil {
		return os.SameFile(theirs, ours)
	}
	return canonical(named) == dataDir && sameMounts(root, proc)
}

// namedDataDir reads --data-dir or ETCD_DATA_DIR; a flag beats the environment, as in etcd.
func namedDataDir(root string) string {
	args := nulSeparated(filepath.Join(root, "cmdline"))
	for i, arg := range args {
		flag, value, has := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if flag != "data-dir" || !strings.HasPrefix(arg, "-") {
			continue
		}
		if has {
			return value
		}
		if i+1 < len(args) {
			return args[i+1]
		}
	}
	for _, v := range nulSeparated(filepath.Join(root, "environ")) {
		if dir, ok := strings.CutPrefix(v, "ETCD_DATA_DIR="); ok {
			return dir
		}
	}
	return ""
}

func nulSeparated(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(string(bytes.TrimRight(b, "\x00")), "\x00")
}

func sameMounts(root, proc string) bool {
	theirs, err1 := os.Readlink(filepath.Join(root, "ns", "mnt"))
	ours, err2 := os.Readlink(filepath.Join(proc, "self", "ns", "mnt"))
	return err1 == nil && err2 == nil && theirs == ours
}
