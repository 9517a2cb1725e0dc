package servers

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// mount is a file system in memory that one process sees and nobody else. It goes with the process, whatever ends it.
type mount struct {
	dir  string
	size int64 // bytes
}

// mount has the process find a file system of so many bytes at dir, empty at each start.
func (p *process) mount(dir string, size int64) { p.mounts = &mount{dir, size} }

// command runs a program in namespaces of its own. A user namespace makes a mount there possible for who is not root.
func (m *mount) command(path string, args []string) *exec.Cmd {
	const script = `mount -t tmpfs -o "size=$1,mode=700" drd-test "$2" && shift 2 && exec "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh", fmt.Sprint(m.size), m.dir, path}, args...)...)
	cmd.SysProcAttr = ownGroup()
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	return cmd
}
