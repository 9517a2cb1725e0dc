package survey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/drd-project/drd/internal/hint"
)

// ErrKilled is wrapped when the file could not be read by no fault of its own: the child could not be started, was killed from
// outside, got no memory from the system, or ended without a word. A child that crashes on the file is no such case.
var ErrKilled = errors.New("the process reading it did not live to answer")

// inheritedFile is how the child names the file it was handed as descriptor 3, which may have no other name.
const inheritedFile = "/proc/self/fd/3"

// maxSaid bounds what a child may say, in bytes: the names and keys of a survey take at most 7 MiB, but for a single sample whose
// key is larger than all may be together.
const maxSaid = 64 << 20

// Reader runs Read in a child process.
type Reader struct {
	// Command is the child's program and leading arguments, which must end up in Main; the file and the seed are
	// appended. In drd it is the binary itself.
	Command []string
	// Program, if set, is started in place of Command[0], which remains its name: "/proc/self/exe" is the program that
	// runs, also after an upgrade has put another one in its place.
	Program string
}

// message is all that the child says.
type message struct {
	Survey      *Survey  `json:"survey,omitempty"`
	Error       string   `json:"error,omitempty"`
	Hints       []string `json:"hints,omitempty"`
	Interrupted bool     `json:"interrupted,omitempty"` // by a signal to the child alone
}

// File surveys the file at path. An error that wraps neither ErrKilled nor the end of ctx is about the file: it is damaged, or no
// etcd store.
func (r Reader) File(ctx context.Context, path string, seed uint64) (*Survey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("survey: %w: %w", ErrKilled, err)
	}
	defer f.Close()
	s, err := r.run(ctx, f, seed)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("survey %s: %w", path, err)
	}
	return s, nil
}

func (r Reader) run(ctx context.Context, f *os.File, seed uint64) (*Survey, error) {
	argv := append(append([]string{}, r.Command...), inheritedFile, strconv.FormatUint(seed, 10))
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if r.Program != "" {
		cmd.Path, cmd.Err = r.Program, nil
	}
	cmd.ExtraFiles = []*os.File{f}
	stdout, stderr := beginning{limit: maxSaid}, beginning{limit: 4096} // a Go crash names its cause in the first line
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: start it: %w", ErrKilled, err)
	}
	err := cmd.Wait()
	if survey, said := answer(stdout.kept); survey != nil || said != nil {
		return survey, said
	}
	return nil, death(err, stderr.firstLine())
}

// answer returns nothing at all when the child left no whole message.
func answer(said []byte) (*Survey, error) {
	var m message
	if json.Unmarshal(said, &m) != nil {
		return nil, nil
	}
	if m.Interrupted {
		return nil, fmt.Errorf("%w: it was interrupted", ErrKilled)
	}
	if m.Error == "" {
		return m.Survey, nil
	}
	err := errors.New(m.Error)
	for _, h := range m.Hints {
		err = hint.New(err, "%s", h)
	}
	return nil, err
}

// death explains a child that gave no answer: err is what waiting for it returned. Only a crash is laid at the file's door.
func death(err error, lastWords string) error {
	if err == nil {
		return fmt.Errorf("%w: it ended without an answer: %s", ErrKilled, lastWords)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && crashed(exit, lastWords) {
		return damaged(fmt.Errorf("the process reading it died (%w): %s", err, lastWords))
	}
	return fmt.Errorf("%w (%w): %s", ErrKilled, err, lastWords)
}

// crashed recognizes a program that brought itself down: by a signal, or as Go's runtime ends it, which exits with 2. That the
// system refused it memory or threads is no crash.
func crashed(exit *exec.ExitError, lastWords string) bool {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		switch status.Signal() {
		case syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGSEGV, syscall.SIGTRAP:
			return true
		}
		return false
	}
	what := strings.TrimPrefix(lastWords, "fatal error: ")
	return exit.ExitCode() == 2 && startsWithAny(lastWords, "panic: ", "fatal error: ", "runtime: ", "unexpected fault address", "SIG") &&
		!startsWithAny(what, "runtime: out of memory", "runtime: cannot allocate memory", "runtime: failed to create new OS thread")
}

func startsWithAny(line string, beginnings ...string) bool {
	return slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(line, b) })
}

// Main is the body of the child: args are a path and a seed. It writes one JSON message and returns the exit code.
func Main(ctx context.Context, args []string, stdout io.Writer) int {
	// Half the usual garbage, as for every child that reads files beside a running etcd.
	debug.SetGCPercent(50)
	survey, err := readArgs(ctx, args)
	m := message{Survey: survey}
	if err != nil {
		m = message{Error: err.Error(), Hints: hint.Of(err), Interrupted: ctx.Err() != nil}
	}
	if json.NewEncoder(stdout).Encode(m) != nil || err != nil {
		return 1
	}
	return 0
}

func readArgs(ctx context.Context, args []string) (*Survey, error) {
	if len(args) != 2 {
		return nil, fmt.Errorf("want a path and a seed, got %d arguments", len(args))
	}
	seed, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	return Read(ctx, args[0], seed)
}

// beginning keeps what is written up to its limit, in bytes, and drops the rest.
type beginning struct {
	kept  []byte
	limit int
}

func (b *beginning) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p[:min(len(p), b.limit-len(b.kept))]...)
	return len(p), nil
}

func (b *beginning) firstLine() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b.kept)), "\n")
	if line == "" {
		return "it left no message"
	}
	return line
}
