package restore

import (
	"context"
	"io"
	"sync/atomic"
)

const (
	// blockSize is the unit that the stages of a download hand to each other, in bytes: large enough that
	// handing over costs nothing beside hashing it.
	blockSize = 1 << 20
	// aheadBlocks is how many sealed blocks may wait for decryption, and plainBlocks how many plain ones
	// may be hashed and written at a time. Together they bound the memory of the stages to 12 MiB; the
	// download has a window of its own.
	aheadBlocks = 4
	plainBlocks = 8
)

// readAhead runs a reader in a goroutine of its own, so that what it does (download, hash) overlaps with what its
// consumer does (decrypt, decompress).
type readAhead struct {
	ctx    context.Context
	filled chan []byte
	free   chan []byte
	last   error // set before filled is closed
	whole  []byte
	rest   []byte
}

func newReadAhead(ctx context.Context) *readAhead {
	a := &readAhead{ctx: ctx, filled: make(chan []byte, aheadBlocks), free: make(chan []byte, aheadBlocks)}
	for range aheadBlocks {
		a.free <- nil // allocated when first needed: a small object needs one
	}
	return a
}

// fill reads src to its end. It returns when it is there, or when ctx ends.
func (a *readAhead) fill(src io.Reader) {
	defer close(a.filled)
	for {
		buf, ok := take(a.ctx, a.free)
		if !ok {
			a.last = context.Cause(a.ctx)
			return
		}
		if buf == nil {
			buf = make([]byte, blockSize)
		}
		n, err := fillBlock(src, buf[:blockSize])
		if n > 0 {
			a.filled <- buf[:n] // never blocks: it has room for every buffer
		}
		if err != nil {
			a.last = err
			return
		}
	}
}

// fillBlock reads until buf is full or r has an error, which it returns as it is: unlike io.ReadFull it
// leaves an io.ErrUnexpectedEOF of r distinguishable from an ordinary end.
func fillBlock(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

func (a *readAhead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		if a.whole != nil {
			a.free <- a.whole[:blockSize]
			a.whole = nil
		}
		block, ok := <-a.filled
		if !ok {
			return 0, a.last
		}
		a.whole, a.rest = block, block
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// block is a piece of plaintext on its way to two consumers.
type block struct {
	data []byte
	left atomic.Int32 // consumers that still need it
}

// fanOut hands each block to every consumer, in order, and reuses it when all are done with it.
type fanOut struct {
	ctx       context.Context
	consumers []chan *block
	free      chan *block
}

func newFanOut(ctx context.Context, consumers int) *fanOut {
	f := &fanOut{ctx: ctx, free: make(chan *block, plainBlocks)}
	for range consumers {
		f.consumers = append(f.consumers, make(chan *block, plainBlocks))
	}
	for range plainBlocks {
		f.free <- &block{}
	}
	return f
}

// copy reads src to its end in whole blocks. each is called with the size of every block. The caller closes
// f afterwards, whether it failed or not.
func (f *fanOut) copy(src io.Reader, each func(n int64)) error {
	for {
		b, ok := take(f.ctx, f.free)
		if !ok {
			return context.Cause(f.ctx)
		}
		if b.data == nil {
			b.data = make([]byte, blockSize)
		}
		n, err := fillBlock(src, b.data[:blockSize])
		if n > 0 {
			b.data = b.data[:n]
			b.left.Store(int32(len(f.consumers)))
			for _, c := range f.consumers {
				c <- b // never blocks: it has room for every block
			}
			each(int64(n))
		}
		if err == io.EOF { //nolint:errorlint // io.EOF is returned bare, by contract
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *fanOut) close() {
	for _, c := range f.consumers {
		close(c)
	}
}

// consume calls use for every block of the i-th consumer until there are no more, ctx ends or use fails.
func (f *fanOut) consume(i int, use func(data []byte) error) error {
	for {
		b, ok := take(f.ctx, f.consumers[i])
		if !ok {
			return context.Cause(f.ctx)
		}
		if b == nil {
			return nil
		}
		if err := use(b.data); err != nil {
			return err
		}
		if b.left.Add(-1) == 0 {
			f.free <- b
		}
	}
}

// take receives from c; ok is false when ctx has ended. A closed channel yields the zero value.
func take[T any](ctx context.Context, c <-chan T) (v T, ok bool) {
	if ctx.Err() != nil {
		return v, false
	}
	select {
	case v = <-c:
		return v, true
	case <-ctx.Done():
		return v, false
	}
}
