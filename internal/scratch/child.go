package scratch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// child is the process, and the goroutine that waits for its end.
type child struct {
	process *os.Process
	log     *speech
	memory  int64 // its limit, in bytes
	notes   []string

	mu    sync.Mutex
	asked map[syscall.Signal]bool

	exited   chan struct{} // closed when it has ended; the rest is known then
	status   syscall.WaitStatus
	oomKills int64
}

// spawn starts the program in dir. What it cannot be given is noted.
func (l Launcher) spawn(dir string, s settings) (*child, error) {
	argv, err := l.argv(s)
	if err != nil {
		return nil, err
	}
	c := &child{log: new(speech), memory: s.memory, asked: make(map[syscall.Signal]bool), exited: make(chan struct{})}
	group, err := systemCgroups().make(s.memory)
	if err != nil {
		c.notes = append(c.notes, fmt.Sprintf("no memory limit by the kernel: %v", err))
	}
	grants := l.grants
	if grants == nil {
		grants = allGrants
	}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that started it ends, so that it cannot outlive a daemon that was
		// killed. Threads of Go come and go: this one stays until the child has gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		closeOnExec()
		cmd, err := c.start(func() *exec.Cmd { return l.command(dir, argv, s.memory, c.log) }, grants, group)
		if err == nil {
			c.process = cmd.Process
			c.notes = append(c.notes, lower(cmd.Process.Pid)...)
		}
		started <- err
		if err == nil {
			c.wait(cmd, group)
		}
	}()
	if err := <-started; err != nil {
		group.remove()
		return nil, fmt.Errorf("start the child process: %w", err)
	}
	return c, nil
}

// command is the program without what only some machines grant. A command can be started once, hence a new one each time.
func (l Launcher) command(dir string, argv []string, memory int64, log *speech) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	if l.Binary == "" && l.Program != "" {
		cmd.Path, cmd.Err = l.Program, nil
	}
	cmd.Dir = dir
	// A tenth is left for what Go's runtime does not count: the stacks of the system, and pages that the kernel keeps for it.
	cmd.Env = []string{
		fmt.Sprintf("GOMEMLIMIT=%d", memory/10*9),
		"ETCD_UNSUPPORTED_ARCH=" + runtime.GOARCH, // old etcds want to be asked twice where they were never tried
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = time.Second // what still holds its output has nothing more to say
	return cmd
}

func (l Launcher) argv(s settings) ([]string, error) {
	if l.Binary != "" {
		return append([]string{l.Binary}, s.flags()...), nil
	}
	if len(l.Command) == 0 {
		return nil, errors.New("neither a program nor a command is set")
	}
	arg, err := s.argument()
	return append(append([]string{}, l.Command...), arg), err
}

// wait waits for the end.
func (c *child) wait(cmd *exec.Cmd, group *cgroup) {
	defer close(c.exited)
	_ = cmd.Wait() // how it ended is in its state
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		c.status = status
	}
	c.oomKills = group.oomKills()
	group.remove()
}

// ask sends a signal to the child, unless it has ended.
func (c *child) ask(signal syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.exited:
	default:
		c.asked[signal] = true
		_ = c.process.Signal(signal) // it fails when it has just ended: there is nobody to ask
	}
}

func (c *child) wasAsked(signal syscall.Signal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[signal]
}
