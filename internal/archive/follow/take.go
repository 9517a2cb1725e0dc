package follow

import (
	"context"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/mvcc"
)

// take writes what a batch brought.
func (r *run) take(ctx context.Context, b etcd.Batch) error {
	r.heard, r.owes = time.Now(), false
	changes := b.Changes
	if r.compare != nil {
		var err error
		if changes, err = r.check(ctx, b); err != nil {
			return err
		}
	}
	stamp := archive.Stamp{Time: r.now()}
	if len(changes) > 0 {
		stamp.Late = r.clock.Jumped()
	}
	granted, err := r.f.askLeases(ctx, r.etcd, leasesOf(changes))
	if err != nil {
		return err
	}
	ttl := func(id int64) (int64, error) { return r.f.orUnknown(granted[id]), nil }
	for _, c := range changes {
		if err := r.write(ctx, c, stamp, ttl); err != nil {
			return err
		}
	}
	r.whole, r.knownAt = b.Whole, latest(r.knownAt, stamp.Time)
	return nil
}

// write appends one change, after finishing a segment that is full.
func (r *run) write(ctx context.Context, c etcd.Change, seen archive.Stamp, ttl func(int64) (int64, error)) error {
	e := mvcc.FromEvent(c.Event, c.Sub)
	if e.Sub == 0 && r.full() {
		if err := r.finish(ctx, r.until(r.last(), seen.Time)); err != nil {
			return err
		}
	}
	if e.Main > r.caughtUp {
		return r.append(e, seen, ttl)
	}
	if r.missed += int64(len(e.Value)); r.missed > 2*r.f.cfg.MaxBehindBytes {
		return fmt.Errorf("%w: the changes up to revision %d are more than %d MiB", ErrBehind, r.caughtUp, 2*r.f.cfg.MaxBehindBytes>>20)
	}
	return r.append(e, archive.Stamp{Time: r.late, Late: true}, ttl)
}

// until is the instant for the end of a segment with revision last, of which the newest change was seen at seen.
func (r *run) until(last int64, seen time.Time) time.Time {
	if last < r.caughtUp {
		return before(r.late)
	}
	return latest(r.late, seen)
}

// now is the time to record. Changes that were caught up with are dated up to a second ahead: that is not the clock's fault.
func (r *run) now() time.Time {
	t := r.f.cfg.Now()
	if ahead := r.at.Time.Sub(t); ahead > 0 && ahead < time.Second {
		t = r.at.Time
	}
	return r.clock.At(t, time.Since(r.started))
}

func leasesOf(changes []etcd.Change) []int64 {
	var ids []int64
	for _, c := range changes {
		if id := c.Event.GetKv().GetLease(); id != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// nextSecond rounds up: a late stamp must not be earlier than what it is about.
func nextSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		return whole.Add(time.Second)
	}
	return t
}

// before is the end of a segment that others follow which were seen at the same time: at that time itself, the last of them
// is the one to ask.
func before(seen time.Time) time.Time { return seen.Add(-time.Second) }
