package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

const key = "some/object"

// bucketWith returns a bucket with one object of n random bytes.
func bucketWith(t *testing.T, n int) (*storagetest.Faulty, []byte) {
	t.Helper()
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	if _, err := b.Create(t.Context(), key, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return storagetest.NewFaulty(b), data
}

func fetchAll(t *testing.T, b storage.Bucket, size int64, parallel int, chunk int64) ([]byte, error) {
	t.Helper()
	r := storage.Fetch(t.Context(), b, key, size, parallel, chunk)
	data, err := io.ReadAll(r)
	if closeErr := r.Close(); closeErr != nil {
		t.Errorf("Close: %v", closeErr)
	}
	return data, err
}

func TestFetchShapes(t *testing.T) {
	b, data := bucketWith(t, 1000)
	for _, parallel := range []int{0, 1, 2, 7, 100} {
		for _, chunk := range []int64{0, 1, 7, 100, 999, 1000, 1001} {
			got, err := fetchAll(t, b, 1000, parallel, chunk)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d parallel chunks of %d: %d bytes, %v", parallel, chunk, len(got), err)
			}
		}
	}
	if got, err := fetchAll(t, b, 300, 2, 100); err != nil || !bytes.Equal(got, data[:300]) {
		t.Errorf("a size below the object's: %d bytes, %v", len(got), err)
	}
	if got, err := fetchAll(t, b, 0, 2, 100); err != nil || len(got) != 0 {
		t.Errorf("size 0: %d bytes, %v", len(got), err)
	}
}

func TestFetchContinuesBrokenRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the pauses cost no time
		b, data := bucketWith(t, 1000)
		for _, at := range []int64{0, 1, 150, 999} { // the first range breaks twice
			b.CutReads(key, at, true)
		}
		got, err := fetchAll(t, b, 1000, 3, 100)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, equal is %v, error %v", len(got), bytes.Equal(got, data), err)
		}
	})
}

func TestFetchGivesUp(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(b *storagetest.Faulty)
		size  int64
		want  error
		opens int // at most
	}{
		{"a range that always breaks", func(b *storagetest.Faulty) { b.CutReads(key, 250, false) }, 1000, io.ErrUnexpectedEOF, 10 + 2},
		{"an object that is too short", func(*storagetest.Faulty) {}, 1050, io.ErrUnexpectedEOF, 11 + 2},
		{"a bucket that denies", func(b *storagetest.Faulty) { b.SetDown(storage.ErrDenied) }, 1000, storage.ErrDenied, 2},
		{"a bucket that is down", func(b *storagetest.Faulty) { b.SetDown(storagetest.ErrInjected) }, 1000, storagetest.ErrInjected, 2 * 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, data := bucketWith(t, 1000)
				test.fault(b)
				got, err := fetchAll(t, b, test.size, 2, 100)
				if !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if !bytes.HasPrefix(data, got) || int64(len(got)) >= test.size {
					t.Errorf("%d bytes that are not the object's beginning", len(got))
				}
				if n := b.Calls(storagetest.OpOpen); n > test.opens {
					t.Errorf("%d ranges were asked for, want %d at most", n, test.opens)
				}
			})
		})
	}
}

// counting notes how many bytes are open at a time.
type counting struct {
	storage.Bucket
	open, peak atomic.Int64
}

type countedReader struct {
	io.ReadCloser
	close func()
}

func (r *countedReader) Close() error { r.close(); return r.ReadCloser.Close() }

func (c *counting) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := c.Bucket.Open(ctx, key, offset, length)
	for now := c.open.Add(1); ; {
		peak := c.peak.Load()
		if now <= peak || c.peak.CompareAndSwap(peak, now) {
			break
		}
	}
	time.Sleep(time.Millisecond) // let the others come
	return &countedReader{ReadCloser: r, close: sync.OnceFunc(func() { c.open.Add(-1) })}, err
}

func TestFetchIsParallelAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := bucketWith(t, 10_000)
		c := &counting{Bucket: b}
		r := storage.Fetch(t.Context(), c, key, 10_000, 5, 100)
		defer r.Close()
		time.Sleep(time.Hour) // nobody reads: it must not run ahead
		synctest.Wait()
		if n := b.Calls(storagetest.OpOpen); n != 5 {
			t.Errorf("%d ranges were asked for before the first Read, want 5", n)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		if peak := c.peak.Load(); peak != 5 {
			t.Errorf("%d ranges at a time, want 5", peak)
		}
	})
}

func TestFetchClosedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // synctest fails a test that leaves goroutines behind
		b, _ := bucketWith(t, 10_000)
		r := storage.Fetch(t.Context(), b, key, 10_000, 3, 100)
		if _, err := io.ReadFull(r, make([]byte, 150)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if n, err := r.Read(make([]byte, 10)); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Read after Close: %d, %v", n, err)
		}
	})
}

func TestFetchCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := bucketWith(t, 10_000)
		own := fmt.Errorf("the operator left")
		ctx, cancel := context.WithCancelCause(t.Context())
		r := storage.Fetch(ctx, b, key, 10_000, 3, 100)
		defer r.Close()
		cancel(own)
		_, err := io.Copy(io.Discard, r)
		if !errors.Is(err, own) && !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}
