package scratch

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Control groups, version 2, as systemd delegates them (https://systemd.io/CGROUP_DELEGATION/): a service with Delegate=
// may make groups below its own, and nobody else may make any. A group with processes cannot give controllers to groups
// below it, so the service's own processes move into one of them first.

const (
	// ownGroup is where the processes of the service move, and groupPrefix begins the name of a scratch etcd's group.
	ownGroup    = "drd"
	groupPrefix = "scratch-"
	// leastWeight is the smallest share of the CPU and of the disk; everybody else has 100.
	leastWeight = "1"
	// groupRemoval bounds the wait until the kernel has forgotten the last process of a group.
	groupRemoval = time.Second
)

// cgroups is where to look, for tests to choose.
type cgroups struct {
	root      string                               // of the hierarchy
	self      string                               // proc_pid_cgroup(5) of this process
	delegated func(dir string) bool                // whether systemd leaves the group to its processes
	is        func(path string, magic int64) error // whether a file system is what it should be
}

func systemCgroups() cgroups {
	return cgroups{root: "/sys/fs/cgroup", self: "/proc/self/cgroup", delegated: hasDelegateMark, is: isFileSystem}
}

// cgroup is the group of one child. A nil one is none.
type cgroup struct{ dir *os.File }

// make makes a group with a memory limit in bytes.
func (c cgroups) make(memory int64) (*cgroup, error) {
	unit, err := c.unit()
	if err != nil {
		return nil, err
	}
	if err := vacate(unit); err != nil {
		return nil, err
	}
	if err := setFile(unit, "cgroup.subtree_control", "+memory"); err != nil {
		return nil, err
	}
	for _, controller := range []string{"+cpu", "+io"} {
		_ = setFile(unit, "cgroup.subtree_control", controller) // not delegated: its priorities are lowered anyway
	}
	path := filepath.Join(unit, groupPrefix+rand.Text())
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	g, err := limited(path, memory)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return g, nil
}

func limited(path string, memory int64) (*cgroup, error) {
	if err := setFile(path, "memory.max", strconv.FormatInt(memory, 10)); err != nil {
		return nil, err
	}
	// What follows is a kernel's choice to have: swap may be off, and weights need their controllers.
	for file, value := range map[string]string{
		"memory.swap.max": "0", "memory.oom.group": "1", "cpu.weight": leastWeight, "io.weight": leastWeight,
	} {
		_ = setFile(path, file, value)
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the control group: %w", err)
	}
	return &cgroup{dir}, nil
}

// unit is the directory of the service's group, below which it may do as it likes.
func (c cgroups) unit() (string, error) {
	if err := c.is(c.root, unix.CGROUP2_SUPER_MAGIC); err != nil {
		return "", err
	}
	own, err := c.own()
	if err != nil {
		return "", err
	}
	if c.delegated(own) {
		return own, nil
	}
	// systemd's DelegateSubgroup=, or a scratch etcd before this one, has put this process one below.
	if parent := filepath.Dir(own); own != c.root && c.delegated(parent) {
		return parent, nil
	}
	return "", errors.New("no control group is delegated to this process")
}

// own is the directory of the group that this process is in.
func (c cgroups) own() (string, error) {
	text, err := os.ReadFile(c.self)
	if err != nil {
		return "", fmt.Errorf("find the own control group: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return filepath.Join(c.root, path), nil
		}
	}
	return "", errors.New("find the own control group: there is none of version 2")
}

// vacate moves the processes of a group into one below it.
func vacate(unit string) error {
	for range 100 { // processes may be started at the same time; there are a few, for seconds
		text, err := os.ReadFile(filepath.Join(unit, "cgroup.procs"))
		if err != nil {
			return fmt.Errorf("processes of the control group: %w", err)
		}
		pids := bytes.Fields(text)
		if len(pids) == 0 {
			return nil
		}
		own := filepath.Join(unit, ownGroup)
		if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make a control group: %w", err)
		}
		for _, pid := range pids {
			if err := setFile(own, "cgroup.procs", string(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return fmt.Errorf("control group %s always has processes", unit)
}

// setFile writes one value, as the files of a control group want it: in one write.
func setFile(group, file, value string) error {
	f, err := os.OpenFile(filepath.Join(group, file), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set %s: %w", file, err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set %s to %s: %w", file, value, err)
	}
	return nil
}

// oomKills is how many processes of the group were killed for lack of memory.
func (g *cgroup) oomKills() int64 {
	if g == nil {
		return 0
	}
	text, err := os.ReadFile(filepath.Join(g.dir.Name(), "memory.events"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == "oom_kill" {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// remove removes the group, whose processes have ended. One that stays is empty, and goes with the service.
func (g *cgroup) remove() {
	if g == nil {
		return
	}
	defer g.dir.Close()
	for begin := time.Now(); time.Since(begin) < groupRemoval; time.Sleep(10 * time.Millisecond) {
		if err := unix.Rmdir(g.dir.Name()); !errors.Is(err, unix.EBUSY) {
			return
		}
	}
}

// hasDelegateMark looks for the mark that systemd leaves on what it has delegated: the first is for everybody to read.
func hasDelegateMark(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(dir, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

func isFileSystem(path string, magic int64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if int64(fs.Type) != magic {
		return fmt.Errorf("%s does not hold control groups of version 2", path)
	}
	return nil
}
