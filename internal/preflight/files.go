package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
)

// checkFiles looks for files and directories of drd that somebody else than root and this user could change or, where that
// matters, read. Modes of the files that the configuration names were checked when it was read; their owners were not.
// etcd's own files are not looked at: they belong to whom etcd's package says.
func checkFiles(cfg Config) []Check {
	const name = "files"
	var checks []Check
	seen := make(map[string]bool)
	look := func(path string, private bool) {
		info, err := os.Stat(path)
		if seen[path] || errors.Is(err, fs.ErrNotExist) { // what needs it says so
			return
		}
		seen[path] = true
		if err == nil {
			err = ownedAlone(path, info, private)
		}
		if err != nil {
			checks = append(checks, warn(name, err))
		}
	}
	for _, path := range append(auditFiles(cfg.AuditFile), cfg.StateDir, cfg.Settings.RuntimeDir) {
		if path != "" {
			look(path, true)
		}
	}
	for _, path := range filesOf(cfg) {
		look(path, false)
		look(filepath.Dir(path), false)
	}
	for _, path := range targetDirs(cfg) {
		look(path, false)
	}
	if len(checks) == 0 && len(seen) > 0 {
		return []Check{ok(name, "nobody else can change drd's files and directories or enter its state")}
	}
	return checks
}

// filesOf are the configuration and the files that it names and that are drd's.
func filesOf(cfg Config) []string {
	var paths []string
	if cfg.ConfigFile != "" {
		paths = append(paths, cfg.ConfigFile)
	}
	for _, p := range cfg.Settings.Paths() {
		if !p.Written() && !etcds(p) {
			paths = append(paths, p.Name)
		}
	}
	return paths
}

// etcds says that a file is etcd's own.
func etcds(p config.Path) bool {
	return slices.Contains([]string{"etcd.ca_file", "etcd.cert_file", "etcd.key_file"}, p.Key)
}

// auditFiles are the newest file of the audit log and those before it, which lie beside it and have names that begin like its own.
func auditFiles(newest string) []string {
	if newest == "" {
		return nil
	}
	entries, err := os.ReadDir(filepath.Dir(newest))
	if err != nil {
		return nil // what needs the directory says so
	}
	var paths []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), strings.TrimSuffix(filepath.Base(newest), ".jsonl")) {
			paths = append(paths, filepath.Join(filepath.Dir(newest), e.Name()))
		}
	}
	return paths
}

// checkAppend opens the audit log as its writer does. A log that is not there yet is made.
func checkAppend(newest string) error {
	file, err := os.OpenFile(newest, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return hint.New(fmt.Errorf("nothing can be recorded, so that nothing is pruned either: %w", err),
			"it has to be a file of root's own, and no link, in a directory that can be written: `ls -l %s`", quoted(newest))
	}
	return file.Close()
}

// targetDirs are those of directory targets, and in them those of the cluster: who may write there may delete backups.
func targetDirs(cfg Config) []string {
	var paths []string
	for _, t := range cfg.Settings.Targets {
		if t.Dir != "" {
			paths = append(paths, t.Dir, filepath.Join(t.Dir, cfg.Settings.Cluster))
		}
	}
	return paths
}

// ownedAlone returns what is wrong with the owner or the mode of path; private: nobody else may look into it either.
func ownedAlone(path string, info fs.FileInfo, private bool) error {
	if stat, known := info.Sys().(*syscall.Stat_t); known && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return hint.New(fmt.Errorf("%s belongs to user %d, who can change it", path, stat.Uid), "chown root:root %s", quoted(path))
	}
	mode := info.Mode()
	sticky := info.IsDir() && mode&fs.ModeSticky != 0
	switch {
	case private && mode.Perm()&0o077 != 0:
		return hint.New(fmt.Errorf("%s is open to other users (mode %04o)", path, mode.Perm()), "chmod go= %s", quoted(path))
	case mode.Perm()&0o022 != 0 && !sticky:
		return hint.New(fmt.Errorf("other users can change %s (mode %04o)", path, mode.Perm()), "chmod go-w %s", quoted(path))
	}
	return nil
}

// quoted makes one word of a shell command out of a path.
func quoted(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }
