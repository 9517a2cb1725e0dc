package repo

import (
	"context"
	"errors"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// maxProblem bounds the text of an entry's problem, in bytes, and each of its hints: an object that somebody
// planted must not be kept in the words of the error that refuses it.
const maxProblem = 300

// problem is the text of an error with the known causes that it wrapped, and nothing else of it.
type problem struct {
	text   string
	causes []error
}

func (p *problem) Error() string   { return p.text }
func (p *problem) Unwrap() []error { return p.causes }

// Describe makes of what is wrong one line of at most 300 bytes that is safe to show. Known causes stay findable with
// errors.Is, and hints stay.
func Describe(errs ...error) error {
	err := errors.Join(errs...)
	p := &problem{text: Shorten(Printable(err.Error()), maxProblem)}
	for _, known := range []error{
		seal.ErrUnsigned, seal.ErrUnknownSigner, seal.ErrBadSignature, seal.ErrExpiredSigner, ErrNewerFormat,
		storage.ErrNotExist, storage.ErrDenied, storage.ErrNoBucket, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			p.causes = append(p.causes, known)
		}
	}
	var described error = p
	hints := hint.Of(err)
	for i := len(hints) - 1; i >= 0; i-- { // the outermost is named first
		described = hint.New(described, "%s", Shorten(Printable(hints[i]), maxProblem))
	}
	return described
}
