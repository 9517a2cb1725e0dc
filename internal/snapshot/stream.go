package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
)

const (
	// blockSize is the unit in which received bytes are handed on: 32 of etcd's messages.
	blockSize = 1 << 20
	// blockCount bounds what is in flight between the stream and the slowest writer: 16 MiB.
	blockCount = 16
	// DefaultStallTimeout is how long a stream may move no byte.
	DefaultStallTimeout = time.Minute
)

// ErrStalled is wrapped when the member kept the stream open and sent nothing.
var ErrStalled = errors.New("the snapshot stream stalled")

// Received is what arrived: a whole snapshot whose trailer was right.
type Received struct {
	Size           int64             // bytes, trailer included
	SHA256         [sha256.Size]byte // etcd's own hash of the database: the trailer
	StorageVersion string            // "" before etcd 3.6
}

// receiver moves one stream to its writers.
type receiver struct {
	stall    time.Duration
	progress func(done, total int64) // may be nil
	stream   context.Context         // of the stream; only to tell why it ended
	total    int64                   // bytes announced by the first message, without the trailer
	received Received
}

// block is a piece of the stream that several writers read; the last one gives it back.
type block struct {
	data    []byte
	readers atomic.Int32
}

// receive reads the stream to its end, once, and writes every byte, trailer included, to each of the writers, each
// in a goroutine of its own. Memory is bounded. cancel ends the stream's context: it is called when a writer fails,
// or when no byte arrived for the stall timeout. Empty messages are no progress: a member that cannot read its own disk sends
// them without end.
func (r *receiver) receive(ctx context.Context, cancel context.CancelCauseFunc, stream etcd.Stream, writers ...io.Writer) (Received, error) {
	sum := &trailerHash{body: sha256.New()}
	writers = append(writers, sum)
	r.stream = ctx
	g, ctx := errgroup.WithContext(ctx)
	// A writer that fails must end the stream too: fill may be waiting in Recv.
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	free := make(chan *block, blockCount)
	for range blockCount {
		free <- &block{data: make([]byte, 0, blockSize)}
	}
	queues := make([]chan *block, len(writers))
	for i, w := range writers {
		queues[i] = make(chan *block, blockCount)
		g.Go(func() error { return drain(w, queues[i], free) })
	}
	g.Go(func() error {
		defer func() {
			for _, q := range queues {
				close(q)
			}
		}()
		return r.fill(ctx, cancel, stream, free, queues)
	})
	if err := g.Wait(); err != nil {
		return Received{}, err
	}
	if err := r.check(sum); err != nil {
		return Received{}, err
	}
	return r.received, nil
}

// drain writes the blocks of one queue; the last of a block's writers gives it back.
func drain(w io.Writer, queue <-chan *block, free chan<- *block) error {
	for b := range queue {
		if _, err := w.Write(b.data); err != nil {
			return err
		}
		if b.readers.Add(-1) == 0 {
			b.data = b.data[:0]
			free <- b
		}
	}
	return nil
}

func (r *receiver) fill(ctx context.Context, cancel context.CancelCauseFunc, stream etcd.Stream, free <-chan *block, queues []chan *block) error {
	watchdog := time.AfterFunc(r.stall, func() { cancel(r.stalled()) })
	defer watchdog.Stop()
	var b *block
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return send(ctx, b, queues)
		}
		if err != nil {
			return cause(r.stream, err)
		}
		if r.received.Size == 0 {
			r.total = int64(chunk.Remaining) + int64(len(chunk.Blob))
		}
		if chunk.StorageVersion != "" {
			r.received.StorageVersion = chunk.StorageVersion
		}
		for data := chunk.Blob; len(data) > 0; {
			if b == nil {
				if b, err = next(ctx, free); err != nil {
					return err
				}
			}
			n := min(len(data), blockSize-len(b.data))
			b.data = append(b.data, data[:n]...)
			data = data[n:]
			if len(b.data) == blockSize {
				if err := send(ctx, b, queues); err != nil {
					return err
				}
				b = nil
			}
		}
		r.moved(int64(len(chunk.Blob)), watchdog)
	}
}

// moved notes that n bytes were received and passed on: the watchdog starts again.
func (r *receiver) moved(n int64, watchdog *time.Timer) {
	if n == 0 {
		return
	}
	r.received.Size += n
	watchdog.Reset(r.stall)
	if r.progress != nil {
		r.progress(r.received.Size, r.total+sha256.Size)
	}
}

func (r *receiver) stalled() error {
	return hint.New(fmt.Errorf("%w: no byte arrived for %s", ErrStalled, r.stall),
		"the member's disk may be failing: look into its log, or take the snapshot from another member")
}

// cause prefers the reason a context was ended for over the error that ending it led to.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func next(ctx context.Context, free <-chan *block) (*block, error) {
	select {
	case b := <-free:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func send(ctx context.Context, b *block, queues []chan *block) error {
	if b == nil {
		return nil
	}
	b.readers.Store(int32(len(queues)))
	for _, q := range queues {
		select {
		case q <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// check decides whether what arrived is a whole snapshot.
func (r *receiver) check(sum *trailerHash) error {
	want := r.total + sha256.Size
	if r.received.Size != want || r.received.Size <= sha256.Size {
		return fmt.Errorf("the snapshot stream ended early: %d of %d bytes arrived", r.received.Size, want)
	}
	if err := sum.check(); err != nil {
		return err
	}
	copy(r.received.SHA256[:], sum.tail)
	return nil
}

// trailerHash hashes what is written to it, except the last 32 bytes, which are the expected hash.
type trailerHash struct {
	body hash.Hash
	tail []byte
}

func (t *trailerHash) Write(p []byte) (int, error) {
	if len(p) >= sha256.Size {
		t.body.Write(t.tail)
		t.body.Write(p[:len(p)-sha256.Size])
		t.tail = append(t.tail[:0], p[len(p)-sha256.Size:]...)
		return len(p), nil
	}
	t.tail = append(t.tail, p...)
	if over := len(t.tail) - sha256.Size; over > 0 {
		t.body.Write(t.tail[:over])
		t.tail = append(t.tail[:0], t.tail[over:]...)
	}
	return len(p), nil
}

func (t *trailerHash) check() error {
	if sum := t.body.Sum(nil); !bytes.Equal(sum, t.tail) {
		return hint.New(fmt.Errorf("the snapshot is not what the member sent: its trailer says SHA-256 %x, its bytes have %x", t.tail, sum),
			"take it again; if it repeats, suspect the network path or the memory of this host or the member")
	}
	return nil
}
