package storage

import (
	"context"
	"time"
)

// Upload is a write that was begun and is not finished: under way now, or left by a writer that died.
// Nothing of it appears under its key.
type Upload struct {
	Key     string    // the key it was meant for
	ID      string    // the store's name for it: an S3 upload ID, the path of a temporary file
	Started time.Time // UTC; for a directory the last write, which is later
}

// Incompleter is a Bucket that knows of unfinished writes.
type Incompleter interface {
	// Incomplete returns the unfinished writes to keys that start with prefix. It cannot tell those under way from
	// those abandoned: by convention what started more than 24 hours ago is abandoned.
	Incomplete(ctx context.Context, prefix string) ([]Upload, error)
}

// Wrapper is a decorator over another Bucket.
type Wrapper interface {
	Unwrap() Bucket
}

// Incomplete returns the unfinished writes that b, or a bucket that b decorates, knows of, and none when no
// bucket of that stack is an Incompleter.
func Incomplete(ctx context.Context, b Bucket, prefix string) ([]Upload, error) {
	for {
		if known, ok := b.(Incompleter); ok {
			return known.Incomplete(ctx, prefix)
		}
		outer, ok := b.(Wrapper)
		if !ok {
			return nil, nil
		}
		b = outer.Unwrap()
	}
}
