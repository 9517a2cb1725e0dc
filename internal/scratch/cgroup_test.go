package scratch

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The control groups here are plain directories: which controllers a machine has, and to whom it gives them, is not for a
// test to choose.

// tree is a hierarchy in which this process is in own, and the directories in delegated are left to it.
func tree(tb testing.TB, own string, delegated ...string) cgroups {
	tb.Helper()
	root := tb.TempDir()
	c := cgroups{root: root, self: filepath.Join(tb.TempDir(), "cgroup"), is: func(string, int64) error { return nil }}
	write(tb, c.self, "4:memory:/elsewhere\n0::"+own+"\n")
	if err := os.MkdirAll(filepath.Join(root, own), 0o700); err != nil {
		tb.Fatal(err)
	}
	c.delegated = func(dir string) bool {
		for _, d := range delegated {
			if dir == filepath.Join(root, d) {
				return true
			}
		}
		return false
	}
	return c
}

func write(tb testing.TB, path, content string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestUnit(t *testing.T) {
	const service = "/system.slice/drd.service"
	for _, tc := range []struct {
		name      string
		own       string
		delegated []string
		want      string // "": there is none
	}{
		{"delegated", service, []string{service}, service},
		{"in a subgroup", service + "/main", []string{service}, service},
		{"not delegated", service, nil, ""},
		{"a subgroup of a subgroup", service + "/a/b", []string{service}, ""},
		{"another's", service, []string{"/system.slice/etcd.service"}, ""},
		{"the root of a container", "/", []string{"/"}, "/"},
		{"above the root", "/", []string{"/.."}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := tree(t, tc.own, tc.delegated...)
			got, err := c.unit()
			if tc.want == "" {
				if err == nil || !strings.Contains(err.Error(), "no control group is delegated") {
					t.Errorf("%s, %v", got, err)
				}
			} else if err != nil || got != filepath.Join(c.root, tc.want) {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

func TestUnitOnOldHierarchies(t *testing.T) {
	c := tree(t, "/own", "/own")
	write(t, c.self, "4:memory:/own\n")
	if got, err := c.unit(); err == nil {
		t.Errorf("a process in no group of version 2 has %s", got)
	}
	c.self += "-none"
	if got, err := c.unit(); err == nil {
		t.Errorf("nobody knows the own group, and it is %s", got)
	}
	c = tree(t, "/own", "/own")
	c.is = isFileSystem
	if got, err := c.unit(); err == nil || !strings.Contains(err.Error(), "does not hold control groups") {
		t.Errorf("%s, %v", got, err)
	}
}

func TestDelegateMark(t *testing.T) {
	dir := t.TempDir()
	if hasDelegateMark(dir) || hasDelegateMark(dir+"-none") {
		t.Error("nobody has delegated it")
	}
	for value, want := range map[string]bool{"0": false, "1": true} {
		if err := unix.Setxattr(dir, "user.delegate", []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		if got := hasDelegateMark(dir); got != want {
			t.Errorf("mark %s: %t", value, got)
		}
	}
}

// TestMakeLeavesNothing: a group that cannot be limited is removed again.
func TestMakeLeavesNothing(t *testing.T) {
	c := tree(t, "/own", "/own")
	unit := filepath.Join(c.root, "own")
	if _, err := c.make(1 << 30); err == nil || !strings.Contains(err.Error(), "processes of the control group") {
		t.Errorf("what is no control group: %v", err)
	}
	write(t, filepath.Join(unit, "cgroup.procs"), "")
	if _, err := c.make(1 << 30); err == nil || !strings.Contains(err.Error(), "set cgroup.subtree_control") {
		t.Errorf("a group that cannot be divided: %v", err)
	}
	write(t, filepath.Join(unit, "cgroup.subtree_control"), "")
	if _, err := c.make(1 << 30); err == nil || !strings.Contains(err.Error(), "set memory.max") {
		t.Errorf("a group without the memory controller: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(unit, groupPrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestVacate(t *testing.T) {
	unit := t.TempDir()
	write(t, filepath.Join(unit, "cgroup.procs"), "")
	if err := vacate(unit); err != nil {
		t.Errorf("an empty group: %v", err)
	}
	if _, err := os.Stat(filepath.Join(unit, ownGroup)); err == nil {
		t.Error("a group was made for nobody")
	}
	write(t, filepath.Join(unit, "cgroup.procs"), "42\n")
	if err := vacate(unit); err == nil {
		t.Error("a process moved into what is no group")
	}
	moved := filepath.Join(unit, ownGroup, "cgroup.procs")
	write(t, moved, "")
	if err := vacate(unit); err == nil || !strings.Contains(err.Error(), "always has processes") {
		t.Errorf("a process that stays: %v", err)
	}
	if got := text(t, moved); got != "42" {
		t.Errorf("moved: %q", got)
	}
}

func TestLimited(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{"memory.max": "1073741824", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.weight": "1", "io.weight": "1"}
	for file := range want {
		write(t, filepath.Join(dir, file), "")
	}
	g, err := limited(dir, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for file, value := range want {
		if got := text(t, filepath.Join(dir, file)); got != value {
			t.Errorf("%s is %q, want %q", file, got, value)
		}
	}
	for events, kills := range map[string]int64{
		"": 0,
		"low 0\nhigh 0\nmax 7\noom 0\noom_kill 0\n":                   0,
		"low 0\nhigh 0\nmax 7\noom 1\noom_kill 3\noom_group_kill 1\n": 3,
	} {
		write(t, filepath.Join(dir, "memory.events"), events)
		if got := g.oomKills(); got != kills {
			t.Errorf("%q: %d kills", events, got)
		}
	}
	g.remove()
}

func TestNoGroup(t *testing.T) {
	var none *cgroup
	if none.oomKills() != 0 {
		t.Error("kills in no group")
	}
	none.remove()
}

// TestRemove: a group goes when its last process has gone.
func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "group")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	(&cgroup{dir}).remove()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestGroupRefused: a kernel that cannot start a process in a group starts it outside.
func TestGroupRefused(t *testing.T) {
	dir, err := os.Open(t.TempDir()) // no control group
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	c := new(child)
	cmd, err := c.start(func() *exec.Cmd { return exec.Command("true") }, allGrants, &cgroup{dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if notes := strings.Join(c.notes, "\n"); !strings.Contains(notes, "no memory limit by the kernel: ") {
		t.Errorf("notes: %q", notes)
	}
}
