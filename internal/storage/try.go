package storage

import (
	"context"
	"errors"
)

// ErrLeft is wrapped by TryWrite when all was written, and what was written could not be taken back.
var ErrLeft = errors.New("what was written to try could not be taken back")

// Trier is a Bucket that can try a write and leave nothing behind.
type Trier interface {
	// TryWrite has the store take a few bytes that are meant for key, as Create would, makes no object of them, and takes them back.
	TryWrite(ctx context.Context, key string) error
}

// TryWrite finds out whether b, or the bucket that it decorates, takes bytes at this moment. Create of a key that is there
// already does not tell: the answer may come before anything is written. Where no bucket of the stack is a Trier, nothing is tried.
func TryWrite(ctx context.Context, b Bucket, key string) error {
	if t, found := capable[Trier](b); found {
		return t.TryWrite(ctx, key)
	}
	return nil
}
