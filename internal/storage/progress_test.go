package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

const limit = 2 * time.Minute

func TestStallTimeoutPassesEverythingOn(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) storage.Bucket {
		b, err := dir.Open(t.TempDir(), dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return storage.WithStallTimeout(b, limit)
	})
}

// slow is a bucket in which every step takes a pause, or until ctx ends.
type slow struct {
	storage.Bucket // nil: what is not overridden must not be called
	pause          time.Duration
	steps          int
}

func (s *slow) wait(ctx context.Context) error {
	select {
	case <-time.After(s.pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Create takes all of r at once and then sends it slowly, as a backend with large buffers does.
func (s *slow) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	n, err := io.Copy(io.Discard, r)
	for range s.steps {
		if err == nil {
			err = s.wait(ctx)
		}
		storage.Moved(ctx)
	}
	return storage.Object{Key: key, Size: n}, err
}

func (s *slow) Open(ctx context.Context, _ string, _, _ int64) (io.ReadCloser, error) {
	return &slowReader{s, ctx}, s.wait(ctx)
}

func (s *slow) Stat(ctx context.Context, _ string) (storage.Object, error) {
	return storage.Object{}, s.wait(ctx)
}

func (s *slow) Delete(ctx context.Context, _ string) error { return s.wait(ctx) }

func (s *slow) List(ctx context.Context, _ string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for range s.steps {
			if err := s.wait(ctx); !yield(storage.Object{}, err) || err != nil {
				return
			}
		}
	}
}

type slowReader struct {
	*slow
	ctx context.Context
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.steps--; r.steps < 0 {
		return 0, io.EOF
	}
	return 1, r.wait(r.ctx)
}

func (r *slowReader) Close() error { return nil }

// operations runs each method once against a bucket of its own; consumer is how long the caller takes between reads.
func operations(t *testing.T, pause, consumer time.Duration) map[string]error {
	t.Helper()
	b := func() storage.Bucket { return storage.WithStallTimeout(&slow{pause: pause, steps: 10}, limit) }
	errs := map[string]error{}
	_, errs["create"] = b().Create(t.Context(), key, strings.NewReader("content"))
	_, errs["stat"] = b().Stat(t.Context(), key)
	errs["delete"] = b().Delete(t.Context(), key)
	for _, err := range b().List(t.Context(), key) {
		errs["list"] = errors.Join(errs["list"], err)
		time.Sleep(consumer)
	}
	r, err := b().Open(t.Context(), key, 0, -1)
	for err == nil {
		time.Sleep(consumer)
		_, err = r.Read(make([]byte, 1))
	}
	if errors.Is(err, io.EOF) {
		err = r.Close()
	}
	errs["read"] = err
	return errs
}

func TestStallTimeoutAllowsWhatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for op, err := range operations(t, limit-time.Second, 10*limit) {
			if err != nil {
				t.Errorf("%s, which is slow but moves: %v", op, err)
			}
		}
	})
}

func TestStallTimeoutEndsWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for op, err := range operations(t, limit+time.Second, 0) {
			if !errors.Is(err, storage.ErrStalled) || !strings.Contains(err.Error(), "no byte moved for 2m0s") {
				t.Errorf("%s, which hangs: %v", op, err)
			}
		}
	})
}

func TestStallTimeoutEndsAHangingBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{pause: time.Second, steps: 10}
		r, err := storage.WithStallTimeout(s, limit).Open(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		s.pause = 2 * limit
		start := time.Now()
		if _, err = io.Copy(io.Discard, r); !errors.Is(err, storage.ErrStalled) || time.Since(start) != limit {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestStallTimeoutNested: a move that the inner guard sees keeps the outer one quiet too.
func TestStallTimeoutNested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := storage.WithStallTimeout(storage.WithStallTimeout(&slow{pause: limit / 2, steps: 10}, limit), limit)
		if _, err := b.Create(t.Context(), key, bytes.NewReader([]byte("x"))); err != nil {
			t.Error(err)
		}
	})
}

func TestStallTimeoutLeavesTheCallersCancelAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := storage.WithStallTimeout(&slow{pause: time.Hour, steps: 1}, limit).Stat(ctx, key)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrStalled) {
			t.Error(err)
		}
	})
}

func TestIncompleteSeesThroughDecorators(t *testing.T) {
	b, _ := bucketWith(t, 1)
	stack := storage.WithStallTimeout(b, limit)
	if uploads, err := storage.Incomplete(t.Context(), stack, ""); err != nil || len(uploads) != 0 {
		t.Errorf("%v, %v", uploads, err)
	}
	if _, err := storage.Incomplete(t.Context(), stack, "../"); !errors.Is(err, storage.ErrInvalidKey) {
		t.Errorf("the directory below was not asked: %v", err)
	}
	if uploads, err := storage.Incomplete(t.Context(), &slow{}, ""); err != nil || uploads != nil {
		t.Errorf("a bucket that does not know: %v, %v", uploads, err)
	}
	if err := storage.Abort(t.Context(), stack, storage.Upload{Key: "k", ID: "x"}); !errors.Is(err, storage.ErrInvalidKey) {
		t.Errorf("the directory below was not asked to abort: %v", err)
	}
	if err := storage.Abort(t.Context(), &slow{}, storage.Upload{Key: "k", ID: "x"}); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("abort in a bucket that has no uploads: %v", err)
	}
}
