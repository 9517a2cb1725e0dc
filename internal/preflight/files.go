package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
)

// checkFiles looks for files and directories of drd that somebody else than root and this user could change or, where that
// matters, read. Modes of the files that the configuration names were checked when it was read; their owners were not.
// etcd's own files are not looked at: they belong to whom etcd's package says.
func checkFiles(cfg Config) []Check {
	const name = "files"
	var checks []Check
	seen := 0
	look := func(path string, private bool) {
		if path == "" {
			return
		}
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return // what needs it says so
		}
		seen++
		if err == nil {
			err = ownedAlone(path, info, private)
		}
		if err != nil {
			checks = append(checks, warn(name, err))
		}
	}
	for _, path := range filesOf(cfg) {
		look(path, false)
		if path != "" {
			look(filepath.Dir(path), false)
		}
	}
	look(cfg.StateDir, true)
	look(cfg.Settings.RuntimeDir, true)
	if len(checks) == 0 && seen > 0 {
		return []Check{ok(name, "nobody else can change drd's files and directories or enter its state")}
	}
	return checks
}

// filesOf are the configuration and what it names that is drd's.
func filesOf(cfg Config) []string {
	s := cfg.Settings
	paths := []string{cfg.ConfigFile, s.Seal.RecipientsFile, s.Signing.KeyFile, s.Trust.File, s.Etcd.PasswordFile, s.Verify.IdentityFile, s.Metrics.WebConfigFile}
	for _, t := range s.Targets {
		if t.S3 != nil {
			paths = append(paths, t.S3.CredentialsFile, t.S3.CAFile)
		}
	}
	if s.Verify != (config.Verify{}) {
		paths = append(paths, s.Verify.EtcdBinary)
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
