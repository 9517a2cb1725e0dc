package scratch

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/drd-project/drd/internal/hint"
)

// How an etcd can fail that was started on data which is there.
var (
	// ErrKilled: a signal from outside, be it a polite one, the kernel for lack of memory, or a full disk ended it. The
	// machine is to blame, and nothing is known about the backup.
	ErrKilled = errors.New("ended by the machine, not by what it read")
	// ErrRefused: it gave up by itself. Its own words follow.
	ErrRefused = errors.New("it gave up")
	// ErrStalled: it did not come to serve in time. That may be the data's fault or the machine's.
	ErrStalled = errors.New("it did not come up")
)

// crashes are the signals that a process brings upon itself.
var crashes = map[syscall.Signal]bool{
	syscall.SIGSEGV: true, syscall.SIGBUS: true, syscall.SIGABRT: true,
	syscall.SIGILL: true, syscall.SIGFPE: true, syscall.SIGTRAP: true,
}

// exhausted are the words of the kernel and of Go's runtime when the machine has no more of something.
var exhausted = []string{
	syscall.ENOSPC.Error(), syscall.EDQUOT.Error(), syscall.ENOMEM.Error(), syscall.EMFILE.Error(), syscall.ENFILE.Error(),
	syscall.EIO.Error(), "runtime: out of memory", "failed to create new OS thread",
}

// verdict is how the child ended: nil when we had asked it to. It must have ended.
func (c *child) verdict() error {
	status, words := c.status, c.log.words()
	signal := syscall.Signal(0)
	if status.Signaled() {
		signal = status.Signal()
	}
	switch {
	case signal != 0 && c.wasAsked(signal):
		return nil
	case signal == 0 && c.wasAsked(syscall.SIGTERM) && !c.log.crashed():
		return nil
	case signal == syscall.SIGKILL && c.oomKills > 0:
		err := fmt.Errorf("%w: killed at its memory limit of %d MiB", ErrKilled, c.memory>>20)
		return hint.New(err, "raise verify.memory_limit, or run drills where there is more memory")
	case signal != 0 && !crashes[signal]:
		return fmt.Errorf("%w: signal: %s", ErrKilled, signal)
	case signal == 0 && status.ExitStatus() == 0 && !c.log.crashed():
		// An etcd that gives up exits with another status: somebody else has asked it to end, and it obeyed.
		return fmt.Errorf("%w: it ended as if it had been asked to (%s): %s", ErrKilled, describe(status), words)
	case ofTheMachine(words):
		return fmt.Errorf("%w: %s", ErrKilled, words)
	}
	return fmt.Errorf("%w (%s): %s", ErrRefused, describe(status), words)
}

func ofTheMachine(words string) bool {
	for _, w := range exhausted {
		if strings.Contains(words, w) {
			return true
		}
	}
	return false
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
