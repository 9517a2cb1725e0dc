package child

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// Why is the reason that there is no answer.
type Why int

const (
	// NotStarted: there was no child.
	NotStarted Why = iota
	// Crashed: the child brought itself down, which is what a damaged file does to it.
	Crashed
	// Killed: it was ended from outside, the system refused it memory or threads, or it gave up without a message.
	Killed
	// Garbled: it ended as if all were well, and what it said is no message.
	Garbled
	// Silent: it ended as if all were well, without an answer.
	Silent
)

// NoAnswer is the error about a child that neither answered nor reported an error.
type NoAnswer struct {
	Why Why
	// Err is what starting it, waiting for it, or reading its messages returned; nil for Silent.
	Err error
	// Words are what it left on standard error: the line in which Go names the cause of a crash, or else the first one.
	Words string
}

func (n *NoAnswer) Error() string {
	switch n.Why {
	case NotStarted:
		return fmt.Sprintf("start the child process: %v", n.Err)
	case Garbled:
		return fmt.Sprintf("the child process said %v", n.Err)
	case Silent:
		return "the child process said nothing"
	}
	return fmt.Sprintf("the process reading it died (%v): %s", n.Err, n.Words)
}

func (n *NoAnswer) Unwrap() error { return n.Err }

// died explains the end of a child that gave no answer.
func died(wait error, lastWords string) *NoAnswer {
	n := &NoAnswer{Why: Killed, Err: wait, Words: lastWords}
	var exit *exec.ExitError
	if errors.As(wait, &exit) && crashed(exit, lastWords) {
		n.Why = Crashed
	}
	return n
}

// crashed recognizes a program that brought itself down: by a signal that a program raises in itself, or as Go's runtime ends
// it, which exits with 2 and names the cause.
func crashed(exit *exec.ExitError, lastWords string) bool {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		own := []syscall.Signal{syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGSEGV, syscall.SIGTRAP}
		return slices.Contains(own, status.Signal())
	}
	return exit.ExitCode() == 2 && beginsCrash(lastWords) && !blamesSystem(lastWords)
}

// beginsCrash recognizes the line in which Go's runtime says why it ends the program.
func beginsCrash(line string) bool {
	return slices.ContainsFunc([]string{"panic: ", "fatal error: ", "runtime: ", "unexpected fault address", "SIG"},
		func(b string) bool { return strings.HasPrefix(line, b) })
}

// blamesSystem recognizes among those lines the ones that no file causes: memory or threads that the system refused, a system
// call that a service manager forbids, and SIGQUIT, which somebody sent.
func blamesSystem(line string) bool {
	causes := []string{"out of memory", "cannot allocate memory", "failed to create new OS thread", "SIGSYS", "SIGQUIT"}
	return slices.ContainsFunc(causes, func(cause string) bool { return strings.Contains(line, cause) })
}

// words keep the beginning of what is written to standard error.
type words struct{ kept []byte }

func (w *words) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p[:min(len(p), maxWords-len(w.kept))]...)
	return len(p), nil
}

func (w *words) last() string {
	var first string
	for line := range bytes.Lines(w.kept) {
		said := strings.TrimSpace(string(line))
		if beginsCrash(said) {
			return said
		}
		if first == "" {
			first = said
		}
	}
	if first == "" {
		return "it left no message"
	}
	return first
}
