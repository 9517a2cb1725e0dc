package archive

import (
	"context"
	"io"
	"sync"

	"github.com/drd-project/drd/internal/repo"
)

const (
	// aheadSegments is how many segments are opened before their turn: most are a few KiB, and each costs a round trip to the store.
	aheadSegments = 8
	// aheadBlock is how much is handed on at a time, in bytes, and aheadBlocks how many blocks of one segment wait: 8 MiB in all, with
	// the blocks that are being filled and emptied.
	aheadBlock  = 256 << 10
	aheadBlocks = 2
)

// ahead reads segments, in order, while the ones before are being applied: fetching, decrypting and hashing go on beside the store's
// work. Its memory is bounded. It must be stopped.
type ahead struct {
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
	sources chan *source
	slots   chan struct{}
	free    chan []byte
}

func readAhead(ctx context.Context, segments []*repo.Segment, open OpenFunc) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{
		ctx: ctx, cancel: cancel,
		sources: make(chan *source, aheadSegments), slots: make(chan struct{}, aheadSegments), free: make(chan []byte, aheadSegments*aheadBlocks),
	}
	a.workers.Go(func() { a.schedule(segments, open) })
	return a
}

// schedule opens a segment whenever one is done with.
func (a *ahead) schedule(segments []*repo.Segment, open OpenFunc) {
	for _, s := range segments {
		select {
		case a.slots <- struct{}{}:
		case <-a.ctx.Done():
			return
		}
		src := &source{ahead: a, blocks: make(chan block, aheadBlocks)}
		src.ctx, src.cancel = context.WithCancel(a.ctx)
		a.sources <- src // there is room: a slot was free
		a.workers.Go(func() { src.run(s, open) })
	}
}

// next is an OpenFunc for the segments in their order, each of them once.
func (a *ahead) next(context.Context, *repo.Segment) (io.ReadCloser, error) {
	select {
	case src := <-a.sources:
		return src, nil
	case <-a.ctx.Done():
		return nil, context.Cause(a.ctx)
	}
}

// stop ends everything and waits for it.
func (a *ahead) stop() {
	a.cancel()
	a.workers.Wait()
}

func (a *ahead) buffer() []byte {
	select {
	case b := <-a.free:
		return b[:0]
	default:
		return make([]byte, 0, aheadBlock)
	}
}

func (a *ahead) giveBack(b []byte) {
	select {
	case a.free <- b:
	default:
	}
}

// block is a piece of plain content, and how reading went on.
type block struct {
	data []byte
	err  error
}

// source is one segment on its way. Read and Close belong to whoever applies it.
type source struct {
	*ahead
	ctx    context.Context
	cancel context.CancelFunc
	blocks chan block

	last    []byte // the block that is being handed out
	current []byte // what is left of it
	err     error
}

func (s *source) run(segment *repo.Segment, open OpenFunc) {
	plain, err := open(s.ctx, segment)
	if err != nil {
		s.send(block{err: err})
		return
	}
	for err == nil {
		b := block{data: s.buffer()}
		b.data, err = fill(plain, b.data)
		if b.err = err; err != nil {
			if closeErr := plain.Close(); closeErr != nil && err == io.EOF { //nolint:errorlint // the end is io.EOF itself
				b.err = closeErr
			}
			s.send(b)
			return
		}
		if !s.send(b) {
			_ = plain.Close() // nobody reads it any more
			return
		}
	}
}

func (s *source) send(b block) bool {
	select {
	case s.blocks <- b:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// fill reads until the buffer is full. Unlike io.ReadFull it leaves the reader's error as it is.
func fill(r io.Reader, b []byte) ([]byte, error) {
	for len(b) < cap(b) {
		n, err := r.Read(b[len(b):cap(b)])
		if b = b[:len(b)+n]; err != nil {
			return b, err
		}
	}
	return b, nil
}

func (s *source) Read(p []byte) (int, error) {
	for len(s.current) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		if s.last != nil {
			s.giveBack(s.last)
			s.last = nil
		}
		select {
		case b := <-s.blocks:
			s.last, s.current, s.err = b.data, b.data, b.err
		case <-s.ctx.Done():
			s.err = context.Cause(s.ctx)
		}
	}
	n := copy(p, s.current)
	s.current = s.current[n:]
	return n, nil
}

// Close makes room for another segment.
func (s *source) Close() error {
	s.cancel()
	<-s.slots
	return nil
}
