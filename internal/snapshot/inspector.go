package snapshot

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

// ErrKilled is wrapped when the process that read a file was ended from outside, or got no memory: the fault of the
// machine, which says nothing of the file.
var ErrKilled = errors.New("the process reading it was killed")

// Inspector runs Inspect in a child process. What its methods find wrong with a file wraps ErrDamaged; every other
// error says nothing about the file. Command must end up in InspectMain.
type Inspector child.Reader

// message is one line of the child's standard output.
type message struct {
	Revision int64  `json:"revision,omitempty"`
	Facts    *Facts `json:"facts,omitempty"`
	Hash     *Hash  `json:"hash,omitempty"`
	child.Failure
	Damaged bool `json:"damaged,omitempty"` // the failure is about the file's content
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
	err := i.run(ctx, f, nil, func(m message) bool {
		if m.Revision != 0 && onRevision != nil {
			onRevision(m.Revision)
		}
		if m.Facts != nil {
			facts = m.Facts
		}
		return facts != nil
	})
	if err != nil {
		return Facts{}, err
	}
	return *facts, nil
}

// HashFile computes HashKV of an open snapshot file at (revision, compact).
func (i Inspector) HashFile(ctx context.Context, f *os.File, revision, compact int64) (Hash, error) {
	var hash *Hash
	args := []string{strconv.FormatInt(revision, 10), strconv.FormatInt(compact, 10)}
	err := i.run(ctx, f, args, func(m message) bool {
		if m.Hash != nil {
			hash = m.Hash
		}
		return hash != nil
	})
	if err != nil {
		return Hash{}, err
	}
	return *hash, nil
}

// run has the child read f and hands each of its messages to hear, in order, which returns whether there is an answer.
func (i Inspector) run(ctx context.Context, f *os.File, args []string, hear func(message) (answer bool)) error {
	err := child.Read(ctx, child.Reader(i), f, args, func(m message) (bool, error) {
		if err := m.Err(); err != nil {
			return false, &childError{err, m.Damaged}
		}
		return hear(m), nil
	})
	var none *child.NoAnswer
	if !errors.As(err, &none) {
		return err
	}
	switch none.Why {
	case child.Crashed:
		return damaged(none)
	case child.Killed:
		return fmt.Errorf("inspect snapshot file: %w (%w): %s", ErrKilled, none.Err, none.Words)
	}
	return fmt.Errorf("inspect snapshot file: %w", none)
}

// childError is an error that the child reported, and whether it was about the content of the file.
type childError struct {
	error
	damaged bool
}

func (e *childError) Unwrap() error        { return e.error }
func (e *childError) Is(target error) bool { return e.damaged && target == ErrDamaged }

// InspectMain is the body of the child process: args are a path and, for a hash alone, a revision and
// a compact revision. It writes one JSON message a line and returns the exit code.
func InspectMain(ctx context.Context, args []string, stdout io.Writer) int {
	// Half the usual garbage: it was measured to save a third of the memory and to cost no time.
	debug.SetGCPercent(50)
	enc := json.NewEncoder(stdout)
	m, err := inspectArgs(ctx, args, func(rev int64) { _ = enc.Encode(message{Revision: rev}) })
	if err != nil {
		m = message{Failure: child.FailureOf(err), Damaged: errors.Is(err, ErrDamaged)}
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
