package storage

import (
	"context"
	"io"
	"iter"

	"golang.org/x/time/rate"
)

// MinRate in bytes per second is the lowest limit that WithRate keeps to. Below it, one TCP segment is a matter of
// seconds, and stores give a connection up.
const MinRate = 16 << 10

type paceKey struct{}

// Pace is called by a backend with Properties.Paces before n bytes of a Create leave for the next hop. It waits as
// long as the limit of WithRate asks for, and returns an error when ctx ends before.
func Pace(ctx context.Context, n int) error {
	if up, ok := ctx.Value(paceKey{}).(*pacer); ok {
		return up.wait(ctx, n)
	}
	return nil
}

// WithRate returns b with a limit on the bytes per second that all its Creates (up) and all the bodies of its Opens
// (down) move together. Zero is no limit; anything below MinRate is MinRate. What goes over the wire is counted where the
// backend paces, so that a part that is sent again counts again and one that is skipped does not; else what is read
// from Create's reader.
func WithRate(b Bucket, up, down int64) Bucket {
	if up <= 0 && down <= 0 {
		return b
	}
	return &paced{Bucket: b, up: newPacer(up), down: newPacer(down)}
}

// pacer is nil for no limit.
type pacer struct{ *rate.Limiter }

// maxBurst in bytes bounds what goes out at once over a fast link.
const maxBurst = 1 << 20

// newPacer lets a quarter of a second's bytes pass at once: enough not to wait for each packet, and so little that
// a dozen transfers that take turns each move within the time after which they would count as stalled.
func newPacer(limit int64) *pacer {
	if limit <= 0 {
		return nil
	}
	limit = max(limit, MinRate)
	return &pacer{rate.NewLimiter(rate.Limit(limit), int(min(limit/4, maxBurst)))}
}

// wait returns when n bytes may move.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p == nil {
		return nil
	}
	for n > 0 {
		now := min(n, p.Burst())
		if err := p.WaitN(ctx, now); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			// The limiter sees that the deadline comes first, and does not wait for it.
			return context.DeadlineExceeded
		}
		n -= now
	}
	return nil
}

// cut returns as much of buf as may move at once.
func (p *pacer) cut(buf []byte) []byte {
	if p == nil {
		return buf
	}
	return buf[:min(len(buf), p.Burst())]
}

type paced struct {
	Bucket
	up, down *pacer
}

func (p *paced) Unwrap() Bucket { return p.Bucket }

func (p *paced) ListAfter(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return ListAfter(ctx, p.Bucket, prefix, after)
}

func (p *paced) Create(ctx context.Context, key string, r io.Reader) (Object, error) {
	if p.Bucket.Properties().Paces {
		return p.Bucket.Create(context.WithValue(ctx, paceKey{}, p.up), key, r)
	}
	return p.Bucket.Create(ctx, key, &pacedReader{ctx: ctx, r: r, pacer: p.up})
}

func (p *paced) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	body, err := p.Bucket.Open(ctx, key, offset, length)
	if err != nil || p.down == nil {
		return body, err
	}
	return &pacedBody{pacedReader{ctx: ctx, r: body, pacer: p.down}, body}, nil
}

// pacedReader waits after each read for as long as it should have taken.
type pacedReader struct {
	ctx   context.Context
	r     io.Reader
	pacer *pacer
}

func (r *pacedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(r.pacer.cut(p))
	if waitErr := r.pacer.wait(r.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}

type pacedBody struct {
	pacedReader
	io.Closer
}
