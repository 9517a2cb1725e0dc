package follow

import (
	"context"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// trailingLimit is how long the watch may be further behind than MaxBehind: a slow owner, or a slow disk, passes.
const trailingLimit = 15 * time.Second

// owingFactor is how much more patience a member gets that has something to tell: a revision with a million changes takes it minutes.
const owingFactor = 10

// absence is how long the last archived revision is waited for before it is asked whether it may have been compacted.
const absence = 3 * time.Second

// compareWith takes what the member says of itself. When the watch has told as much, that is all there was.
func (r *run) compareWith(ctx context.Context, l look) error {
	r.owes = l.status.Revision > r.whole
	switch {
	case r.compare != nil && time.Since(r.heard) > absence:
		return r.compactedInto(ctx)
	case r.compare != nil:
		return nil
	case !r.owes && l.status.Leader != 0:
		r.heard = time.Now()
		r.knownAt = latest(r.knownAt, r.now().Add(-time.Since(l.asked)))
	}
	if l.status.Revision-r.whole <= r.f.cfg.MaxBehind {
		r.trailing = time.Time{}
		return nil
	}
	if r.trailing.IsZero() {
		r.trailing = time.Now()
	}
	if time.Since(r.trailing) > trailingLimit {
		return fmt.Errorf("%w: it has come to revision %d, the member is at %d", ErrBehind, r.whole, l.status.Revision)
	}
	return nil
}

// tick is called ten times in a flush interval, every second at least.
func (r *run) tick(ctx context.Context) error {
	patience := r.f.cfg.Stall
	if r.owes {
		patience *= owingFactor
	}
	if time.Since(r.heard) > patience {
		return fmt.Errorf("%w: nothing came from %s for %s", ErrStalled, r.etcd.Endpoint(), patience)
	}
	r.now() // or nobody may have looked for a while
	if by, lasting := r.clock.Behind(); by > repo.FutureSkew && lasting > r.f.cfg.ClockPatience {
		return fmt.Errorf("%w: the wall clock has been %s behind them for %s", ErrClock, by.Round(time.Second), lasting.Round(time.Second))
	}
	switch {
	case r.draft != nil:
		if time.Since(r.begun) < r.f.cfg.FlushInterval || r.last() > r.whole {
			return nil
		}
	case r.knownAt.Sub(r.at.Time) < r.silenceAfter():
		return nil
	}
	return r.handRest(ctx)
}

// silenceAfter is how long nothing may happen before that is told: soon where nothing was told yet of where the archive goes on.
func (r *run) silenceAfter() time.Duration {
	if r.fresh {
		return min(r.f.cfg.FlushInterval, r.f.cfg.Silence)
	}
	return r.f.cfg.Silence
}

// handRest hands over what is known: the changes of the draft, if they are whole, or that nothing happened.
func (r *run) handRest(ctx context.Context) error {
	r.compact = r.f.compacted.Load()
	switch {
	case r.refused:
		return nil
	case r.draft != nil && r.last() <= r.whole:
		return r.finish(ctx, r.until(r.last(), r.knownAt))
	case r.draft == nil && r.silent() && r.knownAt.Sub(r.at.Time) >= time.Second:
		return r.silence(ctx, r.knownAt)
	}
	return nil
}

// silent: everything that the member has told is archived, and it is all that it had.
func (r *run) silent() bool {
	return r.compare == nil && r.whole == r.at.Revision && r.whole >= r.caughtUp
}

// drain takes what had happened when ctx ended, and the rest of a revision of which a part is there.
func (r *run) drain(ctx context.Context, batches <-chan received) error {
	now := r.now()
	status, err := r.etcd.Status(ctx)
	if err != nil {
		return nil //nolint:nilerr // the member is gone: what has come is all there is
	}
	limit := time.NewTimer(grace / 3)
	defer limit.Stop()
	for r.whole < status.Revision || r.last() > r.whole {
		select {
		case in := <-batches:
			if in.err != nil {
				return nil
			}
			if err := r.take(ctx, in.batch); err != nil {
				return err
			}
		case <-limit.C:
			return nil
		}
	}
	if r.whole == status.Revision {
		r.knownAt = latest(r.knownAt, now)
	}
	return nil
}
