package snapshot

import (
	"bytes"
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

// inheritedFile is how the child names the file it was handed as descriptor 3: the working file has no other name.
const inheritedFile = "/proc/self/fd/3"

// ErrKilled is wrapped when the process that read a file was ended from outside, or got no memory: the fault of the
// machine, which says nothing of the file.
var ErrKilled = errors.New("the process reading it was killed")

// Inspector runs Inspect in a child process. What its methods find wrong with a file wraps ErrDamaged; every other
// error says nothing about the file.
type Inspector struct {
	// Command is the child's program and leading arguments, which must end up in InspectMain; the
	// path is appended. In drd it is the binary itself.
	Command []string
	// Program, if set, is started in place of Command[0], which remains its name: "/proc/self/exe" is the program that
	// runs, also after an upgrade has put another one in its place.
	Program string
}

// message is one line of the child's standard output.
type message struct {
	Revision int64    `json:"revision,omitempty"`
	Facts    *Facts   `json:"facts,omitempty"`
	Hash     *Hash    `json:"hash,omitempty"`
	Error    string   `json:"error,omitempty"`
	Damaged  bool     `json:"damaged,omitempty"` // the error is about the file's content
	Hints    []string `json:"hints,omitempty"`
}

// Inspect reads the facts of the snapshot file at path. onRevision may be nil.
func (i Inspector) Inspect(ctx context.Context, path string, onRevision func(int64)) (Facts, error) {
	f, err := os.Open(path)
	if err != nil {
		return Facts{}, fmt.Errorf("open snapshot file: %w", err)
	}
	defer f.Close()
	return i.InspectFile(ctx, f, onRevision)
}

// InspectFile reads the facts of an open snapshot file, which may have no name any more.
func (i Inspector) InspectFile(ctx context.Context, f *os.File, onRevision func(int64)) (Facts, error) {
	var facts *Facts
	err := i.run(ctx, f, nil, func(m message) {
		if m.Facts != nil {
			facts = m.Facts
		} else if m.Revision != 0 && onRevision != nil {
			onRevision(m.Revision)
		}
	})
	if err != nil {
		return Facts{}, err
	}
	if facts == nil {
		return Facts{}, errors.New("inspect snapshot file: the child process said nothing")
	}
	return *facts, nil
}

// HashFile computes HashKV of an open snapshot file at (revision, compact).
func (i Inspector) HashFile(ctx context.Context, f *os.File, revision, compact int64) (Hash, error) {
	var hash *Hash
	args := []string{strconv.FormatInt(revision, 10), strconv.FormatInt(compact, 10)}
	err := i.run(ctx, f, args, func(m message) { hash = m.Hash })
	if err != nil {
		return Hash{}, err
	}
	if hash == nil {
		return Hash{}, errors.New("hash snapshot file: the child process said nothing")
	}
	return *hash, nil
}

// run starts the child on f and hands each of its messages to handle, in order.
func (i Inspector) run(ctx context.Context, f *os.File, args []string, handle func(message)) error {
	argv := append(append([]string{}, i.Command...), inheritedFile)
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], args...)...)
	if i.Program != "" {
		cmd.Path, cmd.Err = i.Program, nil
	}
	cmd.ExtraFiles = []*os.File{f}
	var stderr head
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("inspect snapshot file: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("inspect snapshot file: start the child process: %w", err)
	}
	said := readMessages(out, handle)
	if _, err := io.Copy(io.Discard, out); err != nil && said == nil {
		said = err
	}
	wait := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case said != nil:
		return said
	case wait != nil:
		return explainDeath(wait, stderr.firstLine())
	}
	return nil
}

// explainDeath tells a file that killed its reader from a machine that did. A damaged file makes bbolt panic, which the Go
// runtime ends with exit code 2, or faults in the memory map. The kernel's answer to a lack of memory, and that of
// people and service managers to whatever they dislike, is a signal that no file causes; the runtime's own answer to
// a lack of memory has the exit code of a panic, and says so.
func explainDeath(wait error, said string) error {
	var exit *exec.ExitError
	if !errors.As(wait, &exit) {
		return fmt.Errorf("inspect snapshot file: wait for the child process: %w", wait)
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	outside := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGXCPU}
	killed := ok && status.Signaled() && slices.Contains(outside, status.Signal())
	if killed || strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory") {
		return fmt.Errorf("inspect snapshot file: %w (%w): %s", ErrKilled, wait, said)
	}
	return damaged(fmt.Errorf("the process reading it died (%w): %s", wait, said))
}

// maxSaid bounds what a child may say, in bytes. A store in which every lease of a million lacks its record needs 20 MiB.
const maxSaid = 64 << 20

func readMessages(r io.Reader, handle func(message)) error {
	said := &remembering{r: io.LimitReader(r, maxSaid)}
	messages := json.NewDecoder(said)
	for {
		var m message
		err := messages.Decode(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("inspect snapshot file: the child process said %q: %w", said.first, err)
		}
		if m.Error != "" {
			var err error = &childError{text: m.Error, damaged: m.Damaged}
			for _, h := range m.Hints {
				err = hint.New(err, "%s", h)
			}
			return err
		}
		handle(m)
	}
}

// childError is an error as the child told it: its text, and whether it was about the content of the file.
type childError struct {
	text    string
	damaged bool
}

func (e *childError) Error() string        { return e.text }
func (e *childError) Is(target error) bool { return e.damaged && target == ErrDamaged }

// remembering keeps the beginning of what is read, for the error about it.
type remembering struct {
	r     io.Reader
	first []byte
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.first = append(r.first, p[:min(n, 100-len(r.first))]...)
	return n, err
}

// InspectMain is the body of the child process: args are a path and, for a hash alone, a revision and
// a compact revision. It writes one JSON message a line and returns the exit code.
func InspectMain(ctx context.Context, args []string, stdout io.Writer) int {
	// Half the usual garbage: it was measured to save a third of the memory and to cost no time.
	debug.SetGCPercent(50)
	enc := json.NewEncoder(stdout)
	m, err := inspectArgs(ctx, args, func(rev int64) { _ = enc.Encode(message{Revision: rev}) })
	if err != nil {
		m = message{Error: err.Error(), Damaged: errors.Is(err, ErrDamaged), Hints: hint.Of(err)}
	}
	if enc.Encode(m) != nil || err != nil {
		return 1
	}
	return 0
}

func inspectArgs(ctx context.Context, args []string, onRevision func(int64)) (message, error) {
	switch len(args) {
	case 1:
		facts, err := Inspect(ctx, args[0], onRevision)
		return message{Facts: &facts}, err
	case 3:
		revision, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return message{}, fmt.Errorf("revision: %w", err)
		}
		compact, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return message{}, fmt.Errorf("compact revision: %w", err)
		}
		hash, err := hashFile(ctx, args[0], revision, compact)
		return message{Hash: &hash}, err
	}
	return message{}, fmt.Errorf("want a path, or a path, a revision and a compact revision; got %d arguments", len(args))
}

// head keeps the first bytes a child writes to standard error: a Go crash names its cause in the first line.
type head struct{ buf bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	if room := 4096 - h.buf.Len(); room > 0 {
		h.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (h *head) firstLine() string {
	line, _, _ := strings.Cut(strings.TrimSpace(h.buf.String()), "\n")
	if line == "" {
		return "it left no message"
	}
	return line
}
