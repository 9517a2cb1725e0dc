// Package hint attaches to an error what its reader can do next.
//
// An error says what failed and why. At 3 a.m. that is half of it: the other half is the next
// command to run. A hint travels with the error through every wrapping layer and is printed by
// the command line on lines of its own, so the error text itself stays short.
package hint

import (
	"errors"
	"fmt"
)

type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// New returns err carrying a hint: one sentence, lower case, naming the next command or edit.
// The text of err does not change. A nil err stays nil.
func New(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}

// Of returns the hints that err and everything it wraps carry, outermost first, each once.
func Of(err error) []string {
	var found []string
	seen := make(map[string]bool)
	collect(err, func(h string) {
		if !seen[h] {
			seen[h] = true
			found = append(found, h)
		}
	})
	return found
}

func collect(err error, add func(string)) {
	if h, ok := err.(*hinted); ok { //nolint:errorlint // this walk unwraps by itself, so that every layer is seen
		add(h.hint)
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			collect(inner, add)
		}
	default:
		if inner := errors.Unwrap(err); inner != nil {
			collect(inner, add)
		}
	}
}
