// Package program builds drd and runs it, and the servers around it, the way a service manager or an operator does: as a process of its
// own, without a terminal, with nothing of the tester's environment. What a program wrote is looked through for secrets when it has
// ended, so that no test has to think of it.
package program

import (
	"bytes"
	"context"
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

	"github.com/drd-project/drd/test/planted"
)

// endLimit is how long a program has from SIGTERM to its end: a daemon finishes what it has begun to upload.
const endLimit = 30 * time.Second

// Main is what TestMain of a package that runs drd exits with. It builds drd, puts its path into *path, runs the tests, and removes it.
func Main(m *testing.M, path *string) int {
	dir, err := os.MkdirTemp("", "drd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a directory for drd:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	*path = filepath.Join(dir, "drd")
	build := exec.Command("go", "build", "-trimpath", "-o", *path, "github.com/drd-project/drd/cmd/drd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build drd: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Program is a program that was started. Its output may be read at any time.
type Program struct {
	Stdout, Stderr Output
	Exited         chan struct{} // closed when it has ended

	name string // with its arguments
	cmd  *exec.Cmd
}

// Output takes what a program writes. It is safe for concurrent use.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is what was written until now.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Start runs a program in dir, which is its home too. It is killed after limit, and with the test at the latest; limit 0 is none.
func Start(tb testing.TB, limit time.Duration, dir, path string, args ...string) *Program {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Program{Exited: make(chan struct{}), name: strings.Join(append([]string{filepath.Base(path)}, args...), " ")}
	p.cmd = exec.CommandContext(ctx, path, args...)
	p.cmd.Dir = dir
	p.cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	p.cmd.Stdout, p.cmd.Stderr = &p.Stdout, &p.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL} // no terminal to ask at
	p.cmd.WaitDelay = 10 * time.Second                                                 // for children that keep the output open
	if err := p.cmd.Start(); err != nil {
		cancel()
		tb.Fatalf("start %s: %v", path, err)
	}
	if limit > 0 { // from when it runs: a program that was slow to start would not be started at all
		late := time.AfterFunc(limit, cancel)
		tb.Cleanup(func() { late.Stop() })
	}
	go func() {
		defer close(p.Exited)
		defer cancel()
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	tb.Cleanup(func() {
		cancel()
		<-p.Exited
		p.wantNoSecret(tb)
	})
	return p
}

func (p *Program) wantNoSecret(tb testing.TB) {
	tb.Helper()
	for stream, out := range map[string]*Output{"output": &p.Stdout, "error": &p.Stderr} {
		for _, found := range planted.New().Find(out.String()) {
			tb.Errorf("line %d of the standard %s of %s holds %s", found.Line, stream, p.name, found.Kind)
		}
	}
}

// Signal sends a signal to the program alone, and reports whether it was still there to get it.
func (p *Program) Signal(tb testing.TB, sig os.Signal) bool {
	tb.Helper()
	err := p.cmd.Process.Signal(sig)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Fatalf("send %v to %s: %v", sig, p.name, err)
	}
	return err == nil
}

// Stop ends it as a service manager does.
func (p *Program) Stop(tb testing.TB) {
	tb.Helper()
	p.Signal(tb, syscall.SIGTERM)
	select {
	case <-p.Exited:
	case <-time.After(endLimit):
		tb.Fatalf("%s is still there %v after SIGTERM", p.name, endLimit)
	}
}

// Wait returns the exit code when it has ended, -1 when a signal ended it.
func (p *Program) Wait() int {
	<-p.Exited
	return p.cmd.ProcessState.ExitCode()
}

// Eventually polls until f is content, and fails the test after limit with what f said last.
func Eventually(tb testing.TB, limit time.Duration, f func() error) {
	tb.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %v", limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
