package preflight

import (
	"context"
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

// checkReach looks at each file and directory of the configuration from where the running service is, in its sandbox: this
// command, which is root's, sees and may do more.
func checkReach(ctx context.Context, cfg Config, pid int) []Check {
	const name = "service reach"
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	wanted := wantedBy(cfg)
	refused, err := asProcess(ctx, pid, func() []error {
		found := make([]error, len(wanted))
		for i, w := range wanted {
			found[i] = w.try()
		}
		return found
	})
	if err != nil {
		return []Check{warn(name, hint.New(fmt.Errorf("what %s can read and write is not known: %w", cfg.Unit, err), "run drd check as root"))}
	}
	var checks []Check
	for i, w := range wanted {
		if refused[i] == nil || w.missing() {
			continue // what needs it says that it is not there at all
		}
		verdict := fail
		if w.spared(cfg) {
			verdict = warn
		}
		checks = append(checks, verdict(name, w.explain(cfg.Unit, refused[i])))
	}
	if checks == nil {
		return []Check{ok(name, "%s can read and write what the configuration names: %d files and directories", cfg.Unit, len(wanted))}
	}
	return checks
}

// wanted is a path that the service needs.
type wanted struct {
	config.Path
	mode uint32 // of access(2)
}

func wantedBy(cfg Config) []wanted {
	var all []wanted
	for _, p := range cfg.Settings.Paths() {
		w := wanted{p, unix.R_OK}
		switch {
		case p.Executed():
			w.mode = unix.R_OK | unix.X_OK
		case p.Written() && !p.Directory(): // by renaming
			w.Name, w.mode = filepath.Dir(p.Name), unix.W_OK|unix.X_OK
		case p.Directory() && cfg.ReadOnly && strings.HasPrefix(p.Key, "targets"):
			w.mode = unix.R_OK | unix.X_OK
		case p.Directory():
			w.mode = unix.R_OK | unix.W_OK | unix.X_OK
		}
		all = append(all, w)
	}
	return all
}

// try asks the kernel, which goes by mounts, owners, modes, lists of access and capabilities.
func (w wanted) try() error {
	err := unix.Faccessat2(unix.AT_FDCWD, w.Name, w.mode, unix.AT_EACCESS)
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.8: the same for root, and for who has no capabilities
		err = unix.Faccessat(unix.AT_FDCWD, w.Name, w.mode, 0)
	}
	return err
}

// spared says that the backups go on without, and that nothing may be wrong: drills that the service does not make may be those of a unit
// that can do more.
func (w wanted) spared(cfg Config) bool {
	return strings.HasPrefix(w.Key, "metrics.") || strings.HasPrefix(w.Key, "verify.") && cfg.Settings.Verify.Schedule == ""
}

// missing says that it is not there for this command either.
func (w wanted) missing() bool {
	_, err := os.Lstat(w.Name)
	return errors.Is(err, fs.ErrNotExist)
}

func (w wanted) explain(unit string, why error) error {
	const examples, dropIns = "/usr/share/doc/drd/examples/", "/etc/systemd/system/drd.service.d/"
	const again = "; systemctl daemon-reload; systemctl restart drd"
	does := "read"
	if w.mode&unix.W_OK != 0 {
		does = "write to"
	}
	err := fmt.Errorf("%s cannot %s %s (%s): %w", unit, does, w.Name, w.Key, why)
	switch {
	case errors.Is(why, unix.EROFS):
		return hint.New(err, "name it in a drop-in like %sdirectory-target.conf, below %s, and where AppArmor is on in /etc/apparmor.d/local/drd%s", examples, dropIns, again)
	case errors.Is(why, fs.ErrNotExist) || hidden(w.Name):
		return hint.New(err, "it is there, and the service does not see it: /home, /root and /tmp are hidden from it; move it elsewhere")
	case does == "read" && foreign(w.Name):
		return hint.New(err, "it is another user's, and the service has nothing of root's power: install -D -m 644 %setcd-owned-keys.conf %setcd-owned-keys.conf%s", examples, dropIns, again)
	}
	return hint.New(err, "the service has nothing of root's power: see who owns it, and what lies above it, with `namei -l %s`", quoted(w.Name))
}

// hidden says that a path is below one that ProtectHome= makes a directory of nobody.
func hidden(path string) bool {
	return slices.ContainsFunc([]string{"/home/", "/root/", "/run/user/"}, func(above string) bool { return strings.HasPrefix(path, above) })
}

// foreign says that a file is not root's.
func foreign(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	stat, known := info.Sys().(*syscall.Stat_t)
	return known && stat.Uid != 0
}
