package priority_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/priority"
)

// TestLower: every thread of the group is behind all others, and nobody outside of it is.
func TestLower(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/bin/sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	before := niceOf(t, os.Getpid())
	if refused := priority.Lower(cmd.Process.Pid); refused != nil {
		t.Fatal(refused)
	}
	if got := niceOf(t, cmd.Process.Pid); got != "19" {
		t.Errorf("nice %s", got)
	}
	const whoProcess, idle = 1, 3 << 13
	class, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(cmd.Process.Pid), 0)
	if errno != 0 || class != idle {
		t.Errorf("I/O priority %#x, %v", class, errno)
	}
	if got := niceOf(t, os.Getpid()); got != before {
		t.Errorf("this process has nice %s, and had %s", got, before)
	}
}

func TestNobody(t *testing.T) {
	if refused := priority.Lower(1 << 30); len(refused) != 2 {
		t.Errorf("a group that is not there: %q", refused)
	}
}

// niceOf reads field 19 of proc_pid_stat(5).
func niceOf(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[19-3]
}
