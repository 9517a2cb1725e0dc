package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// readyLimit bounds the wait for a server: seconds are usual, a cold disk beside other builds takes longer.
	readyLimit = 90 * time.Second
	// stopLimit bounds a graceful stop, after which the server is killed and the test fails.
	stopLimit = 30 * time.Second
	// startTries is how often a server is started before another program's hold on its port fails the test.
	startTries = 5
	// tailLines of a server's output are shown when it does not start.
	tailLines = 30
)

// process is one server program: it can be stopped and started again with the same arguments. Its methods are not
// safe for concurrent use, except Logs.
type process struct {
	tb     testing.TB
	name   string
	path   string
	args   []string
	env    []string
	log    string                      // file that takes its output, over all starts
	ready  func(context.Context) error // nil when it answers as it should
	mounts *mount                      // nil: none of its own

	cmd      *exec.Cmd
	exited   chan struct{} // closed when cmd has ended
	logStart int64         // where in log the output of this start begins
}

// newProcess describes a server that is not running yet, and has it killed at the end of the test.
func newProcess(tb testing.TB, tool string, env ...string) *process {
	tb.Helper()
	dir := tb.TempDir()
	p := &process{
		tb:   tb,
		name: tool,
		path: Tool(tb, tool),
		// A server sees nothing of the tester's environment: ETCD_… and MINIO_… there would change what it does.
		env: append([]string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}, env...),
		log: filepath.Join(dir, tool+".log"),
	}
	tb.Cleanup(p.Kill)
	return p
}

// Start runs the server again after Stop or Kill, on the same data and ports, and waits until it is healthy.
func (p *process) Start() {
	p.tb.Helper()
	if p.running() {
		p.tb.Fatalf("start %s: it is running", p.name)
	}
	p.launch(func() {})
}

// launch starts the server and waits until it is ready. When another program has its port it tries again; prepare,
// called before each try, can choose other ports.
func (p *process) launch(prepare func()) {
	p.tb.Helper()
	for try := 1; ; try++ {
		prepare()
		err := p.run()
		if err == nil {
			err = p.waitReady()
		}
		if err == nil {
			return
		}
		p.Kill()
		if try == startTries || !p.portTaken() {
			p.tb.Fatalf("start %s: %v\n%s", p.name, err, p.tail())
		}
	}
}

// run starts the program and a goroutine that waits for its end. Kill waits for both.
func (p *process) run() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open its log: %w", err)
	}
	defer out.Close()
	info, err := out.Stat()
	if err != nil {
		return fmt.Errorf("look at its log: %w", err)
	}
	p.logStart = info.Size()

	cmd := p.command()
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
	}()
	p.cmd, p.exited = cmd, exited
	return nil
}

func (p *process) command() *exec.Cmd {
	if p.mounts != nil {
		return p.mounts.command(p.path, p.args)
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.SysProcAttr = ownGroup()
	return cmd
}

// waitReady polls until the server answers, ends, or has had its time.
func (p *process) waitReady() error {
	ctx, cancel := context.WithTimeout(p.tb.Context(), readyLimit)
	defer cancel()
	last := errors.New("it was not asked yet")
	for {
		select {
		case <-p.exited:
			return fmt.Errorf("it ended before it was ready: %v", p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("it was not ready in time, last answer: %w", last)
		case <-time.After(50 * time.Millisecond):
		}
		if last = p.ask(ctx); last == nil && p.running() {
			return nil
		}
	}
}

// ask bounds one question: a server that accepts connections before it can answer must not use up all the time.
func (p *process) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return p.ready(ctx)
}

// Stop asks the server to end (SIGTERM) and waits until it has. A server that is down already is left alone.
func (p *process) Stop() {
	p.tb.Helper()
	if !p.running() {
		return
	}
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT) // a paused process would not see the first
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		p.Kill()
		p.tb.Errorf("stop %s: still there %v after SIGTERM, killed", p.name, stopLimit)
	}
}

// Kill ends the server at once (SIGKILL), as a power cut would, and waits until it is gone.
func (p *process) Kill() {
	if p.cmd == nil {
		return
	}
	if p.running() {
		p.signal(syscall.SIGKILL)
	}
	<-p.exited
}

// Pause freezes the server (SIGSTOP): its connections stay open and nothing answers. It returns when that is so.
func (p *process) Pause() {
	p.signal(syscall.SIGSTOP)
	// A thread that waits for the disk stops when that has answered.
	for deadline := time.Now().Add(stopLimit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if p.stopped() {
			return
		}
	}
	p.tb.Errorf("%s did not stop", p.name)
}

// stopped reports whether every thread of the server is stopped (proc(5), state T).
func (p *process) stopped() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, t := range threads {
		stat, err := os.ReadFile(t)
		if err != nil {
			return false
		}
		if i := bytes.LastIndexByte(stat, ')'); i < 0 || !bytes.HasPrefix(stat[i:], []byte(") T")) {
			return false
		}
	}
	return true
}

// Resume ends a Pause.
func (p *process) Resume() { p.signal(syscall.SIGCONT) }

// PID is the process ID of the running server.
func (p *process) PID() int { return p.cmd.Process.Pid }

// Logs returns everything that the server wrote, over all its starts.
func (p *process) Logs() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("no output of %s: %v", p.name, err)
	}
	return string(data)
}

// signal reaches the whole process group of the server.
func (p *process) signal(sig syscall.Signal) {
	if err := syscall.Kill(-p.PID(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.tb.Errorf("send %v to %s: %v", sig, p.name, err)
	}
}

// ownGroup puts a server into a process group of its own and has the kernel kill it when this process is gone, even
// by SIGKILL. The kernel in fact watches the thread that started it; Go ends a thread early only when a goroutine
// locked to it returns, so a goroutine that locks its thread must not start servers.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// output is what the server wrote since it was last started.
func (p *process) output() string {
	logs := p.Logs()
	return logs[min(int(p.logStart), len(logs)):]
}

// portTaken tells whether the server failed because something else listens on its port. Go programs say "address
// already in use", MinIO "port is already in use".
func (p *process) portTaken() bool {
	return strings.Contains(p.output(), "already in use")
}

func (p *process) tail() string {
	lines := strings.Split(strings.TrimRight(p.output(), "\n"), "\n")
	return "its last output:\n" + strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
