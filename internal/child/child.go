// Package child has a file read by a process of its own, because reading it may end whoever reads it: on a damaged file
// bbolt panics in goroutines where nobody can recover, and a memory map of a file that is too short faults.
//
// The child is this same program under another command. It is handed the file as an open descriptor, which needs no name any
// more, and answers on standard output with JSON messages, of which the caller says what they mean. When no answer comes, this
// package tells a child that the file may have brought down from one that the machine did: only the first says anything about
// the file, and a backup must not be called damaged because memory was short.
package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/drd-project/drd/internal/priority"
)

const (
	// inheritedFile is how the child names the file it was handed, as descriptor 3.
	inheritedFile = "/proc/self/fd/3"
	// maxSaid bounds what a child may say, in bytes, unless its Reader says otherwise. A store in which every lease of a million
	// lacks its record needs 20 MiB; a survey takes at most 7, but for a single sample whose key is larger than all may be together.
	maxSaid = 64 << 20
	// maxWords bounds what is kept of standard error, in bytes: a crash of Go names its cause first.
	maxWords = 4096
)

// Reader is how the child is started.
type Reader struct {
	// Command is the child's program and leading arguments; the path of the file and the arguments of one reading are
	// appended. In drd it is the binary itself.
	Command []string
	// Program, if set, is started in place of Command[0], which remains its name: "/proc/self/exe" is the program that
	// runs, also after an upgrade has put another one in its place.
	Program string
	// Background gives the child the CPU and the disk only when nobody else wants them, as far as the machine allows it.
	Background bool
	// MaxSaid bounds what the child may say, in bytes; 0 is 64 MiB. Messages are handed on as they come and none is kept: a caller
	// that keeps none either may allow any number.
	MaxSaid int64
}

// Read starts the child on f and hands each message to hear, in order, which returns whether there is an answer by then. An
// error of hear is what the child reported: it ends the reading and is returned as it is. Other errors are the cause of ctx's
// end, and a *NoAnswer. A child that gave its answer and died all the same gave none.
func Read[M any](ctx context.Context, r Reader, f *os.File, args []string, hear func(M) (answer bool, err error)) error {
	cmd := r.command(ctx, args)
	cmd.ExtraFiles = []*os.File{f}
	var stderr words
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return &NoAnswer{Why: NotStarted, Err: err}
	}
	if r.Background {
		priority.Lower(cmd.Process.Pid) // it reads all the same where that is refused
	}
	answered, reported, garbled := listen(out, r.maxSaid(), hear)
	if _, err := io.Copy(io.Discard, out); err != nil && garbled == nil { // a child that nobody listens to would not end
		garbled = err
	}
	wait := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case reported != nil:
		return reported
	case wait != nil:
		return died(wait, stderr.last())
	case garbled != nil:
		return &NoAnswer{Why: Garbled, Err: garbled, Words: stderr.last()}
	case !answered:
		return &NoAnswer{Why: Silent, Words: stderr.last()}
	}
	return nil
}

func (r Reader) command(ctx context.Context, args []string) *exec.Cmd {
	argv := append(append(append([]string{}, r.Command...), inheritedFile), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if r.Program != "" {
		cmd.Path, cmd.Err = r.Program, nil
	}
	if r.Background {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // priorities are those of a group, which is then its own
	}
	return cmd
}

func (r Reader) maxSaid() int64 {
	if r.MaxSaid > 0 {
		return r.MaxSaid
	}
	return maxSaid
}

// listen returns an error of hear as reported, and one about what is no message as garbled.
func listen[M any](out io.Reader, most int64, hear func(M) (bool, error)) (answered bool, reported, garbled error) {
	said := &remembering{r: io.LimitReader(out, most)}
	for messages := json.NewDecoder(said); ; {
		var m M
		if err := messages.Decode(&m); errors.Is(err, io.EOF) {
			return answered, nil, nil
		} else if err != nil {
			return false, nil, fmt.Errorf("%q: %w", said.first, err)
		}
		if answered, reported = hear(m); reported != nil {
			return false, reported, nil
		}
	}
}

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
