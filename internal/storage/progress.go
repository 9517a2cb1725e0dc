package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// DefaultStall is how long callers let a transfer move no byte before they give it up. It is above the minute that
// a backend waits on one connection, so that a backend's own retry comes first.
const DefaultStall = 2 * time.Minute

// ErrStalled is wrapped when a transfer was cancelled because nothing moved for too long.
var ErrStalled = errors.New("stalled")

type movedKey struct{}

// Moved is called by a backend whenever bytes of a Create have reached the next hop, or the store answered.
// The bytes a backend takes from its reader need not be reported.
func Moved(ctx context.Context) {
	if moved, ok := ctx.Value(movedKey{}).(func()); ok {
		moved()
	}
}

// WithStallTimeout returns b with a watchdog: a call that moves no byte for d is cancelled and returns an error
// wrapping ErrStalled. A total time limit would be wrong for objects of any size over links of any speed.
//
// The time in which a caller does not read from what Open returned does not count. A Create whose reader blocks
// is cancelled, but returns only when that Read does.
func WithStallTimeout(b Bucket, d time.Duration) Bucket {
	return &stallGuard{Bucket: b, limit: d}
}

type stallGuard struct {
	Bucket
	limit time.Duration
}

func (g *stallGuard) Unwrap() Bucket { return g.Bucket }

func (g *stallGuard) Create(ctx context.Context, key string, r io.Reader) (Object, error) {
	w := g.watch(ctx)
	defer w.stop()
	obj, err := g.Bucket.Create(w.ctx, key, &watchedReader{r: r, watch: w})
	return obj, w.explain("create", key, err)
}

func (g *stallGuard) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	w := g.watch(ctx)
	r, err := g.Bucket.Open(w.ctx, key, offset, length)
	if err != nil {
		w.stop()
		return nil, w.explain("open", key, err)
	}
	w.pause()
	return &guardedBody{ReadCloser: r, watch: w, key: key}, nil
}

func (g *stallGuard) Stat(ctx context.Context, key string) (Object, error) {
	w := g.watch(ctx)
	defer w.stop()
	obj, err := g.Bucket.Stat(w.ctx, key)
	return obj, w.explain("stat", key, err)
}

func (g *stallGuard) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return g.ListAfter(ctx, prefix, "")
}

func (g *stallGuard) ListAfter(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		w := g.watch(ctx)
		defer w.stop()
		for obj, err := range ListAfter(w.ctx, g.Bucket, prefix, after) {
			w.pause()
			if !yield(obj, w.explain("list", prefix, err)) {
				return
			}
			w.moved()
		}
	}
}

func (g *stallGuard) Delete(ctx context.Context, key string) error {
	w := g.watch(ctx)
	defer w.stop()
	return w.explain("delete", key, g.Bucket.Delete(w.ctx, key))
}

// watch cancels ctx with ErrStalled unless moved is called in time.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
	parent context.Context
}

func (g *stallGuard) watch(parent context.Context) *watch {
	w := &watch{limit: g.limit, parent: parent}
	w.ctx, w.cancel = context.WithCancelCause(parent)
	stalled := fmt.Errorf("%w: no byte moved for %v", ErrStalled, g.limit)
	w.timer = time.AfterFunc(g.limit, func() { w.cancel(stalled) })
	w.ctx = context.WithValue(w.ctx, movedKey{}, w.moved)
	return w
}

// moved starts the wait anew, here and in a watch around this one.
func (w *watch) moved() {
	w.timer.Reset(w.limit)
	Moved(w.parent)
}

func (w *watch) pause() { w.timer.Stop() }

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// explain puts the stall in the place of the "context canceled" that it caused.
func (w *watch) explain(op, key string, err error) error {
	cause := context.Cause(w.ctx)
	if err == nil || !errors.Is(cause, ErrStalled) || errors.Is(err, ErrStalled) {
		return err
	}
	return fmt.Errorf("%s %s: %w", op, key, cause)
}

type watchedReader struct {
	r     io.Reader
	watch *watch
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.watch.moved()
	}
	return n, err
}

// guardedBody runs the watch only while a Read is under way.
type guardedBody struct {
	io.ReadCloser
	watch *watch
	key   string
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.watch.moved()
	n, err := b.ReadCloser.Read(p)
	b.watch.pause()
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		err = b.watch.explain("read", b.key, err)
	}
	return n, err
}

func (b *guardedBody) Close() error {
	b.watch.stop()
	return b.ReadCloser.Close()
}
