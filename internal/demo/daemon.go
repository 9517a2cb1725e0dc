package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// patience bounds every wait for what the daemon does. On an idle machine none takes longer than ten seconds.
	patience = time.Minute
	// pollEvery is how often it is looked whether it is done.
	pollEvery = 100 * time.Millisecond
)

// daemon is a drd daemon in a process of its own, so that it can be killed as a machine dies: without a last word.
type daemon struct {
	process *os.Process
	exited  chan struct{} // closed when it has ended
	state   string        // how; known then
}

// startDaemon starts the program as drd daemon with the node's configuration. What it logs goes to daemon.log.
func startDaemon(program string, p place) (*daemon, error) {
	log, err := os.OpenFile(p.path("daemon.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start drd daemon: %w", err)
	}
	cmd := &exec.Cmd{
		Path: program, Args: []string{"drd", "--config", p.path("node", "config.yaml"), "daemon"},
		Env: daemonEnv(os.Environ()), Stdout: log, Stderr: log,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}, // ctrl-C is for the demo, which ends it
	}
	d := &daemon{exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel ends the daemon when the thread that started it ends: it must not outlive a demo that was killed, and
		// must have this thread until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		d.process = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait() // its state says how it ended
			d.state = cmd.ProcessState.String()
			close(d.exited)
		}
	}()
	err = <-started
	if err = errors.Join(err, log.Close()); err != nil {
		return nil, fmt.Errorf("start drd daemon: %w", err)
	}
	return d, nil
}

// daemonEnv leaves out what would have it talk to the service manager of whoever runs the demo.
func daemonEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		return strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_")
	})
}

// kill ends it at once, and waits until it is gone.
func (d *daemon) kill() {
	_ = d.process.Kill() // it fails when it has ended already
	<-d.exited
}

// await waits until the daemon has brought something about, which holds then. An error of holds is why it has not yet.
func (d *daemon) await(ctx context.Context, what string, holds func() error) error {
	end := time.Now().Add(patience)
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.exited:
			return fmt.Errorf("drd daemon ended before %s: %s", what, d.state)
		case <-time.After(pollEvery):
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %s it is not so that %s: %w", patience, what, err)
		}
	}
}
