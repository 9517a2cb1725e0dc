package replicate

import (
	"context"
	"errors"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// worker brings snapshots to one target, one at a time: the newest first, for it is the best recovery point.
type worker struct {
	lane

	delivery *Delivery // the newest snapshot that was begun in this process; guarded by the lane's lock

	// The rest belongs to the goroutine that works.
	begun    *Delivery // the delivery whose early upload was tried
	tried    *Delivery // the delivery that had its attempt, by runOnce
	uploaded repo.ID   // what this process has uploaded and not committed yet
	newest   repo.ID   // the newest snapshot known at the last failure: a newer one is a reason to try again
}

// offer has the payload of a delivery uploaded early. It takes the place of an older one.
func (w *worker) offer(d *Delivery) {
	w.mu.Lock()
	w.delivery = d
	w.mu.Unlock()
	w.signal()
}

func (w *worker) offered() *Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.delivery
}

// run works until ctx ends.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		if d := w.offered(); d != w.begun {
			w.begun = d
			w.early(ctx, d)
			continue
		}
		w.sleep(ctx, w.step(ctx))
	}
}

// runOnce makes one attempt for each delivery.
func (w *worker) runOnce(ctx context.Context) {
	for ctx.Err() == nil {
		d := w.offered()
		switch {
		case d != w.begun:
			w.begun = d
			if err := w.early(ctx, d); err != nil {
				w.tried = d // that was the attempt
			}
		case d != nil && d != w.tried && d.isCommitted():
			w.tried = d
			w.attempt(ctx, d.ID)
		default:
			w.sleep(ctx, untilWoken)
		}
	}
}

// step makes one attempt if one is due, and returns how long there is nothing to do.
func (w *worker) step(ctx context.Context) time.Duration {
	pending, err := w.pending()
	if err != nil {
		if wait := time.Until(w.retry); wait > 0 {
			return wait
		}
		w.fail(ref{}, err)
		return 0
	}
	if len(pending) == 0 {
		w.enter(StateIdle)
		return untilWoken
	}
	if newest := pending[0]; newest.Compare(w.newest) > 0 || w.hurry.Swap(false) {
		w.retry = time.Time{}
	}
	if wait := time.Until(w.retry); wait > 0 {
		return wait
	}
	w.newest = pending[0]
	w.attempt(ctx, w.choose(pending))
	return 0
}

// pending lists what this target still has to get, newest first, and counts what it lacks.
func (w *worker) pending() ([]repo.ID, error) {
	entries, err := w.q.spool.entries()
	if err != nil {
		return nil, err
	}
	var pending []repo.ID
	failed, oldest := 0, time.Time{}
	for i := len(entries) - 1; i >= 0; i-- {
		id := entries[i].id
		switch w.judged(snapshotRef(id)) {
		case done, superseded:
			continue
		case damaged, conflict:
			failed++
		default:
			// Another worker may have finished it since it was listed, and removed the marks too, after the manifest.
			if has, err := w.q.spool.has(snapshotRef(id)); err != nil || !has {
				continue
			}
			pending = append(pending, id)
		}
		oldest = id.Time
	}
	w.count(len(pending)+failed, failed, oldest)
	return pending, nil
}

// choose takes the newest, and now and then another one while nothing succeeds.
func (w *worker) choose(pending []repo.ID) repo.ID {
	failures := w.attempts()
	if len(pending) == 1 || failures%probeEvery != probeEvery-1 {
		return pending[0]
	}
	return pending[1+failures/probeEvery%(len(pending)-1)]
}

// early uploads the payload of a snapshot that has no manifest yet. It is the first part of its first attempt: when it
// fails, so does the attempt.
func (w *worker) early(ctx context.Context, d *Delivery) error {
	release, ok := d.use()
	if !ok {
		return nil
	}
	defer release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	unlock, err := w.lock(ctx)
	if err == nil {
		w.enter(StateUploading)
		err = errors.Join(w.target.Upload(ctx, d.Payload), unlock())
	}
	o := w.outcome()
	switch {
	case err == nil:
		w.uploaded = d.ID
		return nil
	case ctx.Err() != nil: // the end, or withdrawn
		o.Err = err
	default:
		w.newest = d.ID
		w.fail(snapshotRef(d.ID), err)
		o.Err = err
	}
	d.report(w, o)
	return err
}
