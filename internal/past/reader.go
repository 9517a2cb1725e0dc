package past

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/drd-project/drd/internal/child"
	"github.com/drd-project/drd/internal/hint"
)

// Reader reads stores in a child process. Command must end up in Main.
type Reader child.Reader

// query is what the child is asked for: its one argument, in JSON.
type query struct {
	What      string    `json:"what"` // one of the constants below
	Selection Selection `json:"selection"`
	From      int64     `json:"from"`
	To        int64     `json:"to"`
	Values    bool      `json:"values,omitempty"`
}

const (
	whatLog     = "log"
	whatDiff    = "diff"
	whatExtract = "extract"
)

// message is one line of the child: something that was found, the end, or an error.
type message struct {
	Change     *Change     `json:"change,omitempty"`
	Difference *Difference `json:"difference,omitempty"`
	Facts      *Facts      `json:"facts,omitempty"` // the end
	child.Failure
}

// Log hands every change of the selected keys from one revision to another, both included, to each, in the order in which they
// happened. from 0 is everything that the store holds: complete after Facts.CompactRevision, and of what was before there is what was
// still alive then. An error of each ends the reading and is returned as it is.
func (r Reader) Log(ctx context.Context, path string, s Selection, from, to int64, values bool, each func(*Change) error) (*Facts, error) {
	return r.read(ctx, path, query{whatLog, s, from, to, values}, changes(each))
}

// Diff hands every selected key that was created, changed or deleted after one revision and up to another to each, in the order
// of keys. The store must hold all that happened in between.
func (r Reader) Diff(ctx context.Context, path string, s Selection, from, to int64, values bool, each func(*Difference) error) (*Facts, error) {
	return r.read(ctx, path, query{whatDiff, s, from, to, values}, func(m *message) error {
		if m.Difference == nil {
			return nil
		}
		return each(m.Difference)
	})
}

// Extract hands every selected key that was alive at a revision to each, with its value, in the order of keys.
func (r Reader) Extract(ctx context.Context, path string, s Selection, at int64, each func(*Change) error) (*Facts, error) {
	return r.read(ctx, path, query{whatExtract, s, 0, at, true}, changes(each))
}

// changes hands on the changes alone.
func changes(each func(*Change) error) func(*message) error {
	return func(m *message) error {
		if m.Change == nil {
			return nil
		}
		return each(m.Change)
	}
}

func (r Reader) read(ctx context.Context, path string, q query, each func(*message) error) (facts *Facts, err error) {
	args, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("read the past: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the past: %w", err)
	}
	defer f.Close()
	// The child goes on talking when nobody wants to hear more: it is ended then.
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	from := child.Reader(r)
	from.MaxSaid = math.MaxInt64
	err = child.Read(reading, from, f, []string{string(args)}, func(m message) (bool, error) {
		if err := m.Err(); err != nil {
			return false, err
		}
		if m.Facts != nil {
			facts = m.Facts
			return true, nil
		}
		if err := each(&m); err != nil {
			cancel(err)
			return false, err
		}
		return false, nil
	})
	if cause := context.Cause(reading); cause != nil {
		return nil, cause
	}
	if none := new(child.NoAnswer); errors.As(err, &none) && none.Why == child.Crashed {
		err = damaged(none)
	}
	if err != nil {
		return nil, fmt.Errorf("read the past: %w", err)
	}
	return facts, nil
}

func damaged(err error) error {
	return hint.New(fmt.Errorf("the database file is damaged: %w", err), "choose another snapshot with --id")
}
