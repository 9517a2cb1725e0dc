package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// DefaultChunk is the range that Fetch asks for at a time, in bytes: large enough that the round trip is small
	// beside the transfer, small enough that eight of them are nothing to a server's memory.
	DefaultChunk = 8 << 20
	// fetchTries is how often one range is asked for before the whole fetch fails.
	fetchTries = 3
	// fetchPause is the longest pause before the second try; it doubles for each one after.
	fetchPause = time.Second
)

// Fetch returns a reader over the first size bytes of an object, in order, downloading up to parallel
// ranges of chunk bytes at a time. It holds at most parallel*chunk bytes. parallel < 1 means what the
// bucket's Properties say, chunk < 1 means DefaultChunk.
//
// A range that breaks off is continued from where it stopped, up to three tries in all: objects are immutable,
// so parts read at different times belong together. An object shorter than size is an error wrapping
// io.ErrUnexpectedEOF; size comes from a manifest, so bytes beyond it are not looked for. Reading
// starts at once. Close stops it, waits for every goroutine, and must be called.
func Fetch(ctx context.Context, b Bucket, key string, size int64, parallel int, chunk int64) io.ReadCloser {
	if parallel < 1 {
		parallel = max(1, b.Properties().Parallel)
	}
	if chunk < 1 {
		chunk = DefaultChunk
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &fetch{
		ctx: ctx, cancel: cancel, bucket: b, key: key, size: size, chunk: chunk,
		ranges: make(chan chan piece, parallel),
		free:   make(chan []byte, parallel),
	}
	for range parallel {
		f.free <- nil
	}
	f.workers.Go(f.schedule)
	return f
}

// piece is one downloaded range, or why it could not be.
type piece struct {
	data []byte
	err  error
}

// fetch is the reader. schedule starts one goroutine per range as buffers become free and queues its result channel
// in key order; Read takes the results in that order and gives the buffers back.
type fetch struct {
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup

	bucket      Bucket
	key         string
	size, chunk int64

	ranges chan chan piece
	free   chan []byte // buffers not in use; nil ones are not allocated yet

	current []byte // what Read has not handed out yet
	buffer  []byte // the buffer behind current
	err     error  // what every further Read returns
}

func (f *fetch) schedule() {
	defer close(f.ranges)
	for offset := int64(0); offset < f.size; offset += f.chunk {
		var buf []byte
		select {
		case buf = <-f.free:
		case <-f.ctx.Done():
			return
		}
		n := min(f.chunk, f.size-offset)
		if int64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		result := make(chan piece, 1)
		f.workers.Go(func() {
			err := f.fill(buf[:n], offset)
			result <- piece{buf[:n], err}
		})
		f.ranges <- result // never blocks: there are as many slots as buffers
	}
}

// fill reads one range whole, in several tries if need be.
func (f *fetch) fill(buf []byte, offset int64) error {
	done, pause := 0, fetchPause
	for try := 1; ; try++ {
		n, err := f.readRange(buf[done:], offset+int64(done))
		done += n
		if err == nil {
			return nil
		}
		if try == fetchTries || !worthRetrying(err) || f.ctx.Err() != nil {
			return fmt.Errorf("fetch %s: bytes %d to %d: %w", f.key, offset, offset+int64(len(buf))-1, err)
		}
		select {
		case <-time.After(rand.N(pause)): // full jitter: ranges that failed together do not come back together
		case <-f.ctx.Done():
		}
		pause *= 2
	}
}

func (f *fetch) readRange(buf []byte, offset int64) (int, error) {
	r, err := f.bucket.Open(f.ctx, f.key, offset, int64(len(buf)))
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the object ends before size
	}
	return n, errors.Join(err, r.Close())
}

// worthRetrying is false for answers that the next try will get again.
func worthRetrying(err error) bool {
	for _, final := range []error{ErrNotExist, ErrDenied, ErrInvalidKey} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

func (f *fetch) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(f.current) == 0 && f.err == nil {
		f.next()
	}
	if len(f.current) == 0 {
		return 0, f.err
	}
	n := copy(p, f.current)
	f.current = f.current[n:]
	return n, nil
}

// next gives the spent buffer back and takes the next range, or sets err.
func (f *fetch) next() {
	if f.buffer != nil {
		f.free <- f.buffer
		f.buffer = nil
	}
	result, ok := <-f.ranges
	if !ok {
		if f.err = context.Cause(f.ctx); f.err == nil {
			f.err = io.EOF
		}
		return
	}
	p := <-result
	if p.err != nil {
		f.err = p.err
		f.cancel() // the ranges behind it are of no use
		return
	}
	f.buffer, f.current = p.data, p.data
}

// Close never fails; its error is there for io.Closer.
func (f *fetch) Close() error {
	f.cancel()
	f.workers.Wait()
	f.current, f.err = nil, io.ErrClosedPipe
	return nil
}
