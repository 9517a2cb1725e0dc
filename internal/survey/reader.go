package survey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/drd-project/drd/internal/child"
)

// ErrKilled is wrapped when the file could not be read by no fault of its own: the child could not be started, was killed from
// outside, got no memory from the system, or ended without a word. A child that crashes on the file is no such case.
var ErrKilled = errors.New("the process reading it did not live to answer")

// Reader runs Read in a child process. Command must end up in Main.
type Reader child.Reader

// message is all that the child says.
type message struct {
	Survey *Survey `json:"survey,omitempty"`
	child.Failure
	Interrupted bool `json:"interrupted,omitempty"` // by a signal to the child alone
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

func (r Reader) run(ctx context.Context, f *os.File, seed uint64) (survey *Survey, err error) {
	err = child.Read(ctx, child.Reader(r), f, []string{strconv.FormatUint(seed, 10)}, func(m message) (bool, error) {
		if m.Interrupted {
			return false, fmt.Errorf("%w: it was interrupted", ErrKilled)
		}
		if m.Survey != nil {
			survey = m.Survey
		}
		return survey != nil, m.Err()
	})
	var none *child.NoAnswer
	if !errors.As(err, &none) {
		return survey, err
	}
	switch none.Why {
	case child.NotStarted:
		return nil, fmt.Errorf("%w: start it: %w", ErrKilled, none.Err)
	case child.Crashed:
		return nil, damaged(none)
	case child.Killed:
		return nil, fmt.Errorf("%w (%w): %s", ErrKilled, none.Err, none.Words)
	}
	return nil, fmt.Errorf("%w: it ended without an answer: %s", ErrKilled, none.Words)
}

// Main is the body of the child: args are a path and a seed. It writes one JSON message and returns the exit code.
func Main(ctx context.Context, args []string, stdout io.Writer) int {
	// Half the usual garbage, as for every child that reads files beside a running etcd.
	debug.SetGCPercent(50)
	survey, err := readArgs(ctx, args)
	m := message{Survey: survey}
	if err != nil {
		m = message{Failure: child.FailureOf(err), Interrupted: ctx.Err() != nil}
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
