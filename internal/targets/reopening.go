package targets

import (
	"context"
	"io"
	"iter"
	"sync"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/storage"
)

// reopenParallel is what Properties promises of a bucket that is not known yet.
const reopenParallel = 4

// Reopening stands for a target that could not be opened: a share that is not mounted, a credentials file that is not
// there yet. Every call tries again to open it, and fails with why that does not work. So one broken target stops
// neither the others nor a restore, and it is used as soon as it is mended.
func Reopening(t config.Target) storage.Bucket {
	location := "file://" + t.Dir
	if t.S3 != nil {
		location = "s3://" + t.S3.Bucket
	}
	return &reopening{location: location, open: func(ctx context.Context) (storage.Bucket, error) { return Open(ctx, t) }}
}

type reopening struct {
	location string
	open     func(ctx context.Context) (storage.Bucket, error)

	mu     sync.Mutex
	bucket storage.Bucket // once it was opened
}

var _ storage.Bucket = (*reopening)(nil)

func (r *reopening) get(ctx context.Context) (storage.Bucket, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bucket == nil {
		b, err := r.open(ctx)
		if err != nil {
			return nil, err
		}
		r.bucket = b
	}
	return r.bucket, nil
}

func (r *reopening) Location() string { return r.location }

func (r *reopening) Properties() storage.Properties {
	return storage.Properties{Parallel: reopenParallel}
}

func (r *reopening) Create(ctx context.Context, key string, content io.Reader) (storage.Object, error) {
	b, err := r.get(ctx)
	if err != nil {
		return storage.Object{}, err
	}
	return b.Create(ctx, key, content)
}

func (r *reopening) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	b, err := r.get(ctx)
	if err != nil {
		return nil, err
	}
	return b.Open(ctx, key, offset, length)
}

func (r *reopening) Stat(ctx context.Context, key string) (storage.Object, error) {
	b, err := r.get(ctx)
	if err != nil {
		return storage.Object{}, err
	}
	return b.Stat(ctx, key)
}

func (r *reopening) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	b, err := r.get(ctx)
	if err != nil {
		return func(yield func(storage.Object, error) bool) { yield(storage.Object{}, err) }
	}
	return b.List(ctx, prefix)
}

func (r *reopening) Delete(ctx context.Context, key string) error {
	b, err := r.get(ctx)
	if err != nil {
		return err
	}
	return b.Delete(ctx, key)
}
