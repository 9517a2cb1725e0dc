package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// runLimit bounds one run of drd. Seconds are usual; a dead target is tried for half a minute.
const runLimit = 3 * time.Minute

// drd is the path of the program under test. TestMain sets it.
var drd string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "drd-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a directory for drd:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	drd = filepath.Join(dir, "drd")
	build := exec.Command("go", "build", "-trimpath", "-o", drd, "github.com/drd-project/drd/cmd/drd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build drd: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// result is a finished run of drd.
type result struct {
	args           []string
	code           int // exit code, -1 when a signal ended it
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("drd %s: exit code %d\nstdout:\n%s\nstderr:\n%s", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// decode reads the JSON document of a run. The document must be all there is on standard output.
func decode[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("read the JSON document: %v\n%v", err, r)
	}
	return v
}

// wants fails the test unless the run wrote each of the texts to standard error.
func (r result) wants(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("standard error lacks %q\n%v", text, r)
		}
	}
}

// shows fails the test unless the run wrote each of the texts to standard output.
func (r result) shows(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("standard output lacks %q\n%v", text, r)
		}
	}
}

// command is a run of drd under way. Its output may be read at any time.
type command struct {
	cmd            *exec.Cmd
	args           []string
	stdout, stderr output
	exited         chan struct{}
}

// output takes what a program writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start begins a run in dir, without a terminal and with nothing of the tester's environment but what
// is needed to find programs. The run ends with the test at the latest.
func start(t *testing.T, dir string, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	c := &command{args: args, exited: make(chan struct{})}
	c.cmd = exec.CommandContext(ctx, drd, args...)
	c.cmd.Dir = dir
	c.cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL} // no terminal to ask at
	c.cmd.WaitDelay = 10 * time.Second                                                 // for children that keep the output open
	if err := c.cmd.Start(); err != nil {
		cancel()
		t.Fatalf("start drd: %v", err)
	}
	go func() {
		defer close(c.exited)
		defer cancel()
		_ = c.cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(func() {
		cancel()
		<-c.exited
	})
	return c
}

// signal sends a signal to drd alone, and reports whether drd was still there to get it.
func (c *command) signal(t *testing.T, sig os.Signal) bool {
	t.Helper()
	err := c.cmd.Process.Signal(sig)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("send %v to drd: %v", sig, err)
	}
	return err == nil
}

// wait returns when the run has ended.
func (c *command) wait() result {
	<-c.exited
	return result{args: c.args, code: c.cmd.ProcessState.ExitCode(), stdout: c.stdout.String(), stderr: c.stderr.String()}
}

// eventually polls until f is content, and fails the test after limit with what f said last.
func eventually(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
