package replicate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Delivery is a fresh snapshot on its way to the targets. They receive the payload while the rest is still being
// found out, for what has no manifest is no backup yet.
type Delivery struct {
	Payload
	q     *Queue
	began time.Time // of the capture, with monotonic reading

	ctx    context.Context // ends when the payload is withdrawn
	cancel context.CancelFunc
	users  sync.WaitGroup // early uploads under way

	mu        sync.Mutex
	withdrawn bool
	committed bool
	first     []chan Outcome // of the first attempt, by worker; each gets one value at most
}

// Sweep removes what a killed capture left in the spool. The caller must be the only one of this node that captures.
func (q *Queue) Sweep() error { return q.spool.sweep() }

// Begin takes the sealed object at p.Path into the spool, without its manifest, and has workers upload it. The
// temporary name stays for the caller to remove. key is retained for the proofs; began is when the
// capture did. The caller must Commit or Withdraw.
func (q *Queue) Begin(p Payload, key seal.FileKey, began time.Time) (*Delivery, error) {
	id, err := repo.ParseID(p.ID.String()) // as it is read from a name: to the second, in UTC
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", p.ID, err)
	}
	p.ID = id
	if p.Path, err = q.spool.place(p.Path, id, p.Name); err != nil {
		return nil, err
	}
	if err := q.cfg.Keys.Put(q.spool.repo.PayloadKey(id, p.Name), key); err != nil {
		// Without the retained key the object can still be restored with an identity; only later proofs are weaker.
		q.cfg.Log.Warn("the file key is not retained on disk", problem(err, "snapshot", id.String())...)
	}
	d := &Delivery{Payload: p, q: q, began: began}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	for range q.workers {
		d.first = append(d.first, make(chan Outcome, 1))
	}
	for _, w := range q.workers { // only now: each of them sees the whole of d
		w.offer(d)
	}
	return d, nil
}

// Commit enqueues the snapshot: once it returns nil, the snapshot reaches every target, or is recorded as lost for those
// that it does not reach. Older snapshots are dropped if the spool is too large now.
func (d *Delivery) Commit(ctx context.Context, signed *repo.Signed) error {
	// Where it has vanished a worker was faster: it has brought the snapshot everywhere, or recorded why not.
	if err := d.q.spool.commit(ctx, signed); err != nil && !errors.Is(err, repo.ErrVanished) {
		return err
	}
	d.mu.Lock()
	d.committed = true
	d.mu.Unlock()
	d.q.recount()
	d.q.relist(ctx)
	if err := d.q.bound(context.WithoutCancel(ctx), snapshotRef(d.ID)); err != nil {
		d.q.cfg.Log.Error("the spool is larger than it may be", problem(err)...)
	}
	if err := d.q.cfg.Keys.Bound(maxKeys); err != nil {
		d.q.cfg.Log.Warn("old file keys are not forgotten", problem(err)...)
	}
	return nil
}

// maxKeys is how many file keys are retained: years of snapshots, in 40 MiB of memory, for the drills that come later.
const maxKeys = 10_000

// Withdraw gives the snapshot up: it ends the uploads, waits for them, and removes the payload and its key. What reached
// a target has no manifest there.
func (d *Delivery) Withdraw() error {
	d.mu.Lock()
	d.withdrawn = true
	d.mu.Unlock()
	d.cancel()
	d.users.Wait()
	return errors.Join(d.q.spool.remove(snapshotRef(d.ID)), d.q.cfg.Keys.Forget(d.q.spool.repo.PayloadKey(d.ID, d.Name)))
}

// use keeps Withdraw from returning until release is called; false: it is withdrawn already.
func (d *Delivery) use() (release func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.withdrawn {
		return nil, false
	}
	d.users.Add(1)
	return d.users.Done, true
}

func (d *Delivery) isCommitted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.committed
}

// Wait returns the outcome of the first attempt for each target. Where ctx ends before there is one, that is the outcome.
func (d *Delivery) Wait(ctx context.Context) []Outcome {
	outcomes := make([]Outcome, len(d.first))
	for i, w := range d.q.workers {
		select {
		case outcomes[i] = <-d.first[i]:
			continue
		default:
		}
		select {
		case outcomes[i] = <-d.first[i]:
		case <-ctx.Done():
			outcomes[i] = w.outcome()
			outcomes[i].Err = fmt.Errorf("bring %s to %s: %w", d.ID, w.target.Name, context.Cause(ctx))
		}
	}
	return outcomes
}

// Spooled says whether the snapshot is still in the spool, because a target lacks it.
func (d *Delivery) Spooled() bool {
	if d.q.finished(snapshotRef(d.ID)) {
		return false // it may be kept, but nothing depends on it
	}
	has, err := d.q.spool.has(snapshotRef(d.ID))
	return has || err != nil
}

// report tells the outcome of the first attempt; later ones are not waited for.
func (d *Delivery) report(w *worker, o Outcome) {
	for i, other := range d.q.workers {
		if other != w {
			continue
		}
		select {
		case d.first[i] <- o:
		default:
		}
	}
}
