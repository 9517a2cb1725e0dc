package scratch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/priority"
)

// grant is what a machine may refuse to give to a child.
type grant struct {
	cgroup     bool
	namespaces uintptr
}

// allGrants are tried in this order. A network namespace alone needs CAP_SYS_ADMIN; any user may make one inside a user
// namespace of their own, except where that is forbidden.
var allGrants = []grant{
	{cgroup: true, namespaces: unix.CLONE_NEWNET},
	{cgroup: true, namespaces: unix.CLONE_NEWNET | unix.CLONE_NEWUSER},
	{cgroup: true},
	{namespaces: unix.CLONE_NEWNET},
	{namespaces: unix.CLONE_NEWNET | unix.CLONE_NEWUSER},
	{},
}

// refusals are how kernels and seccomp filters say that a grant is not given.
var refusals = []error{
	unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSYS, unix.E2BIG,
	unix.ENOSPC, unix.EUSERS, unix.EBADF, unix.EBUSY, unix.EOPNOTSUPP,
}

// start starts the command with as much as the machine grants.
func (c *child) start(command func() *exec.Cmd, grants []grant, group *cgroup) (*exec.Cmd, error) {
	refused := errors.New("not asked for")
	for _, g := range grants {
		if g.cgroup && group == nil {
			continue
		}
		cmd := command()
		cmd.SysProcAttr = g.attributes(group)
		err := cmd.Start()
		if err == nil {
			c.note(g, group, refused)
			return cmd, nil
		}
		if !isRefusal(err) {
			return nil, err
		}
		refused = err
	}
	return nil, refused
}

func (c *child) note(got grant, group *cgroup, why error) {
	if got.namespaces == 0 {
		c.notes = append(c.notes, fmt.Sprintf("no network of its own: %v", why))
	}
	if group != nil && !got.cgroup {
		c.notes = append(c.notes, fmt.Sprintf("no memory limit by the kernel: %v", why))
	}
}

func isRefusal(err error) bool {
	for _, r := range refusals {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}

func (g grant) attributes(group *cgroup) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Setpgid:    true, // Ctrl-C is for drd, which then stops it
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: g.namespaces,
	}
	if g.cgroup {
		attr.UseCgroupFD, attr.CgroupFD = true, int(group.dir.Fd())
	}
	if g.namespaces&unix.CLONE_NEWUSER != 0 {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// closeOnExec keeps from the child what this process inherited without that flag; all that Go opens has it.
func closeOnExec() {
	_ = unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC) // kernels before 5.11 cannot
}

// oomScore makes the kernel end the child before anything else when memory runs out. An etcd in production has 0 and
// the share of the memory that it uses, out of 1000.
const oomScore = "800"

// lower gives the child the least of the CPU and of the disk. It leads a process group of its own, so that all its threads
// are reached at once, and new threads inherit it.
func lower(pid int) (notes []string) {
	note := func(what string, err error) {
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s: %v", what, err))
		}
	}
	notes = priority.Lower(pid)
	score := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	note("not the first to end when memory runs out", os.WriteFile(score, []byte(oomScore), 0))
	// The store, in plaintext, must not reach a disk in a core dump.
	note("core dumps are not off", unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil))
	return notes
}
