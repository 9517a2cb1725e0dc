package child

import (
	"errors"
	"slices"

	"github.com/drd-project/drd/internal/hint"
)

// Failure is the part of a message in which the child reports an error of its own. A message embeds it.
type Failure struct {
	Error string   `json:"error,omitempty"`
	Hints []string `json:"hints,omitempty"`
}

// FailureOf is what the child says of an error.
func FailureOf(err error) Failure { return Failure{Error: err.Error(), Hints: hint.Of(err)} }

// Err is the reported error with its hints, outermost first as hint.Of has them; nil if there is none.
func (f Failure) Err() error {
	if f.Error == "" {
		return nil
	}
	err := errors.New(f.Error)
	for _, h := range slices.Backward(f.Hints) {
		err = hint.New(err, "%s", h)
	}
	return err
}
