package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// pacing is a bucket that sends each byte twice, as after a failed request, and keeps nothing.
type pacing struct{ storage.Bucket }

func (pacing) Properties() storage.Properties { return storage.Properties{Parallel: 1, Paces: true} }

func (pacing) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return storage.Object{}, err
	}
	for range 2 {
		if err := storage.Pace(ctx, len(data)); err != nil {
			return storage.Object{}, err
		}
	}
	return storage.Object{Key: key, Size: int64(len(data))}, nil
}

func openDir(t *testing.T) storage.Bucket {
	t.Helper()
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRate: 1 MiB at 64 KiB a second takes sixteen seconds, less the quarter of a second that may pass at once.
func TestRate(t *testing.T) {
	const limit, size = 64 << 10, 1 << 20
	data := make([]byte, size)
	for name, test := range map[string]struct {
		bucket   storage.Bucket
		up, down int64
		put, get time.Duration
	}{
		"up":                        {openDir(t), limit, 0, 16 * time.Second, 0},
		"down":                      {openDir(t), 0, limit, 0, 16 * time.Second},
		"up, counted by the store":  {pacing{openDir(t)}, limit, 0, 32 * time.Second, -1},
		"no limit":                  {openDir(t), 0, 0, 0, 0},
		"below the lowest":          {openDir(t), 1, 0, size / storage.MinRate * time.Second, 0},
		"of a bucket with no limit": {storage.WithRate(openDir(t), 0, -1), limit, limit, 16 * time.Second, 16 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := storage.WithRate(test.bucket, test.up, test.down)
				start := time.Now()
				if _, err := b.Create(t.Context(), "key", bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				about(t, "Create", time.Since(start), test.put)
				if test.get < 0 {
					return
				}
				time.Sleep(time.Minute) // what is not used is not saved up
				start = time.Now()
				r, err := b.Open(t.Context(), "key", 0, -1)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				about(t, "reading", time.Since(start), test.get)
			})
		})
	}
}

func about(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got > want || got < want-want/20-time.Second {
		t.Errorf("%s takes %v, want about %v", what, got, want)
	}
}

// TestRateIsShared: two transfers at once have the limit together, and each moves all the time.
func TestRateIsShared(t *testing.T) {
	inner := openDir(t)
	synctest.Test(t, func(t *testing.T) {
		b := storage.WithStallTimeout(storage.WithRate(inner, storage.MinRate, 0), 3*time.Second)
		start := time.Now()
		results := make(chan error, 2)
		for _, key := range []string{"a", "b"} {
			go func() {
				_, err := b.Create(t.Context(), key, bytes.NewReader(make([]byte, 20*storage.MinRate)))
				results <- err
			}()
		}
		if err := errors.Join(<-results, <-results); err != nil {
			t.Error(err)
		}
		about(t, "two Creates", time.Since(start), 40*time.Second)
	})
}

func TestRateEndsWithContext(t *testing.T) {
	inner := openDir(t)
	synctest.Test(t, func(t *testing.T) {
		b := storage.WithRate(inner, storage.MinRate, storage.MinRate)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		start := time.Now()
		if _, err := b.Create(ctx, "key", bytes.NewReader(make([]byte, 1<<20))); !errors.Is(err, context.Canceled) || time.Since(start) > 6*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		late, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := b.Create(late, "key", bytes.NewReader(make([]byte, 1<<20))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		if _, err := b.Stat(t.Context(), "key"); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("an object that was cut off is there: %v", err)
		}
	})
}

func TestRateConformance(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) storage.Bucket { return storage.WithRate(openDir(t), 1<<40, 1<<40) })
}
