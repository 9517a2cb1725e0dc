package storage

import (
	"context"
	"fmt"
	"time"
)

// Upload is a write that was begun and is not finished: under way now, or left by a writer that died.
// Nothing of it appears under its key.
type Upload struct {
	Key     string    // the key it was meant for
	ID      string    // the store's name for it: an S3 upload ID, the path of a temporary file
	Started time.Time // UTC; for a directory the last write, which is later
}

// Incompleter is a Bucket that knows of unfinished writes, and can drop them.
type Incompleter interface {
	// Incomplete returns the unfinished writes to keys that start with prefix. It cannot tell those under way from
	// those abandoned: by convention what started more than 24 hours ago is abandoned.
	Incomplete(ctx context.Context, prefix string) ([]Upload, error)
	// Abort drops an unfinished write that Incomplete returned, with what it takes up. A writer that is still at it
	// fails. One that is not there any more, finished or aborted, is an error wrapping ErrNotExist; the
	// object under the key, if there is one, stays in either case.
	Abort(ctx context.Context, u Upload) error
}

// Wrapper is a decorator over another Bucket.
type Wrapper interface {
	Unwrap() Bucket
}

// Incomplete returns the unfinished writes that b, or a bucket that b decorates, knows of, and none when no
// bucket of that stack is an Incompleter.
func Incomplete(ctx context.Context, b Bucket, prefix string) ([]Upload, error) {
	if known, found := capable[Incompleter](b); found {
		return known.Incomplete(ctx, prefix)
	}
	return nil, nil
}

// Abort drops an unfinished write that Incomplete returned for the same bucket.
func Abort(ctx context.Context, b Bucket, u Upload) error {
	if known, found := capable[Incompleter](b); found {
		return known.Abort(ctx, u)
	}
	return fmt.Errorf("abort upload of %s: %w", u.Key, ErrNotExist)
}

// capable is the outermost one of b and the buckets that it decorates that can do what T asks for.
func capable[T any](b Bucket) (T, bool) {
	for {
		if able, found := b.(T); found {
			return able, true
		}
		outer, wraps := b.(Wrapper)
		if !wraps {
			var none T
			return none, false
		}
		b = outer.Unwrap()
	}
}
