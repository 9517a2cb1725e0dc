package replicate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/lock"
	"github.com/drd-project/drd/internal/repo"
)

// lock keeps two processes from working on one target at once. A command waits for what the daemon has under way, and
// the other way round; what a stalled one holds ends with its stall timeout.
func (w *worker) lock(ctx context.Context) (release func() error, err error) {
	release, err = lock.File(ctx, filepath.Join(w.home, ".lock"), func() {})
	if err != nil {
		return nil, fmt.Errorf("wait for the turn at %s: %w", w.target.Name, err)
	}
	return release, nil
}

// attempt tries to bring one snapshot to the target.
func (w *worker) attempt(ctx context.Context, id repo.ID) {
	began := time.Now()
	if d := w.offered(); d != nil && d.ID == id {
		began = d.began
	}
	o := w.outcome()
	unlock, err := w.lock(ctx)
	if err == nil {
		w.enter(StateUploading)
		err = errors.Join(w.deliver(ctx, id, began, &o), unlock())
	}
	vanished := errors.Is(err, errVanished)
	if vanished {
		err, o.Commit, o.Proved = nil, time.Since(began), time.Since(began)
	}
	o.Err = err
	if d := w.offered(); d != nil && d.ID == id {
		d.report(w, o)
	}
	switch {
	case vanished: // which says nothing of the target now
	case err == nil:
		w.succeed()
	case ctx.Err() == nil:
		w.fail(id, err)
	}
	if w.uploaded == id {
		w.uploaded = repo.ID{} // committed, or to be looked at again
	}
}

// deliver does what is left to do for a snapshot, from the spool to the mark. Each step may be repeated after any other.
//
// What is found out about a target is written down even when ctx ends now: that takes no time, finding it out did.
func (w *worker) deliver(ctx context.Context, id repo.ID, began time.Time, o *Outcome) error {
	local := context.WithoutCancel(ctx)
	if err := w.q.marks.sweep(w.target.Name); err != nil {
		return err
	}
	signed, payload, err := w.q.spool.load(id)
	if errors.Is(err, errGone) {
		return w.gone(local, id)
	}
	if err != nil {
		return err
	}
	if w.verdict(id, signed.Manifest) == done { // by another process, just now
		o.Commit, o.Proved = time.Since(began), time.Since(began)
		return w.q.settle(local, id)
	}
	proof, err := w.bring(ctx, signed, payload, began, o)
	if err != nil {
		return w.judge(local, id, signed.Manifest, payload, err)
	}
	m := w.mark(signed.Manifest, done)
	m.Proved = proof
	if err := w.q.marks.put(local, w.target.Name, id, m); err != nil {
		return err
	}
	o.Proved = time.Since(began)
	w.update(func(s *Status) { s.Proved++ })
	w.q.cfg.Log.Info("snapshot replicated", "snapshot", id.String(), "target", w.target.Name, "proved", string(proof),
		"duration", time.Since(began).Round(time.Millisecond).String())
	return errors.Join(w.supersede(local, id), w.q.settle(local, id))
}

// bring uploads, commits and proves.
func (w *worker) bring(ctx context.Context, signed *repo.Signed, p Payload, began time.Time, o *Outcome) (Proof, error) {
	if w.uploaded != p.ID {
		if err := w.target.Upload(ctx, p); err != nil {
			return "", err
		}
	}
	if err := w.target.Commit(ctx, signed); err != nil {
		return "", err
	}
	o.Commit = time.Since(began)
	return w.prove(ctx, signed.Manifest, p)
}

// prove looks twice at a copy that seems damaged: what was damaged on the way is not damaged there.
func (w *worker) prove(ctx context.Context, m *repo.Manifest, p Payload) (Proof, error) {
	key, _ := w.q.cfg.Keys.Get(w.q.spool.repo.PayloadKey(p.ID, p.Name))
	proof, err := w.target.Prove(ctx, m, key)
	if !errors.Is(err, repo.ErrDamaged) {
		return proof, err
	}
	if proof, err = w.target.Prove(ctx, m, key); errors.Is(err, repo.ErrDamaged) {
		err = &finalError{damaged, err}
	}
	return proof, err
}

// finalError is a failure that no further attempt can mend.
type finalError struct {
	verdict verdict
	err     error
}

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

func (w *worker) mark(m *repo.Manifest, v verdict) mark {
	return mark{Verdict: v, At: time.Now().UTC(), Location: w.target.Repo.Bucket().Location(), SHA256: m.Object.SHA256}
}

// judge finds out whether there can be another attempt, and remembers it if there cannot. It returns err.
func (w *worker) judge(ctx context.Context, id repo.ID, m *repo.Manifest, p Payload, err error) error {
	final, ok := errors.AsType[*finalError](err)
	switch {
	case ok:
	case errors.Is(err, repo.ErrConflict):
		final = &finalError{conflict, hint.New(err, "find out who wrote the other object; this host keeps its own in the spool")}
	case errors.Is(err, repo.ErrDamaged) && p.check() != nil:
		w.update(func(s *Status) { s.Damaged++ })
		return errors.Join(err, w.q.drop(ctx, id, "the spooled copy was damaged"))
	default:
		return err
	}
	if final.verdict == damaged {
		w.update(func(s *Status) { s.Damaged++ })
	}
	record := w.mark(m, final.verdict)
	record.Error = err.Error()
	return errors.Join(final, w.q.lose(ctx, w.target.Name, id, string(final.verdict)+" in the target"),
		w.q.marks.put(ctx, w.target.Name, id, record))
}

// errVanished is returned for a snapshot that another process has finished with: every target has it.
var errVanished = errors.New("replicated by another process")

// gone deals with an entry that is not whole: one that another process removed, because all targets have it or the spool
// was full, or one that somebody took the payload of.
func (w *worker) gone(ctx context.Context, id repo.ID) error {
	has, err := w.q.spool.has(id)
	if err != nil {
		return err
	}
	if has {
		w.update(func(s *Status) { s.Damaged++ })
		return errors.Join(fmt.Errorf("%s: the spooled copy is incomplete", id), w.q.drop(ctx, id, "the spooled copy was incomplete"))
	}
	lost, err := w.q.losses.has(w.target.Name, id)
	if err != nil {
		return err
	}
	if lost {
		return fmt.Errorf("%s was dropped before %s had it", id, w.target.Name)
	}
	return errVanished
}

// supersede releases older snapshots that were damaged in this target: their spooled copies were kept as long as the
// target had nothing newer.
func (w *worker) supersede(ctx context.Context, newer repo.ID) error {
	failed, err := w.q.marks.failed(w.target.Name)
	if err != nil {
		return err
	}
	for _, id := range failed {
		if id.Compare(newer) >= 0 || w.judged(id) != damaged {
			continue
		}
		signed, err := w.q.spool.signed(id)
		if err != nil {
			continue // it is no copy that could be released; the bound drops it
		}
		if err := w.q.marks.put(ctx, w.target.Name, id, w.mark(signed.Manifest, superseded)); err != nil {
			return err
		}
		if err := w.q.settle(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// fail counts a failure and says when the next attempt is. Only the first in a row is logged, and the one that turns
// trouble into a refusal or back.
func (w *worker) fail(id repo.ID, err error) {
	failures := w.attempts() + 1
	wait, refusal := backoff(failures), refused(err)
	if refusal {
		wait = refusedBackoff()
	}
	final, isFinal := errors.AsType[*finalError](err)
	if isFinal { // it is told for this snapshot; the others need not wait
		wait, failures = 0, 0
	}
	attrs := problem(err, "target", w.target.Name)
	if id != (repo.ID{}) {
		attrs = append(attrs, "snapshot", id.String())
	}
	switch {
	case isFinal:
		w.q.cfg.Log.Error("a target will never have a snapshot", append(attrs, "reason", string(final.verdict))...)
	case failures == 1 || refusal != w.refusing:
		w.q.cfg.Log.Error("a target has no proved copy of a snapshot", append(attrs, "retry_in", wait.Round(time.Second).String())...)
	default:
		w.q.cfg.Log.Debug("a target still fails", append(attrs, "attempt", failures)...)
	}
	w.refusing = refusal
	w.retry = time.Now().Add(wait)
	w.update(func(s *Status) {
		if s.Attempts == 0 || isFinal {
			s.Since = time.Now()
		}
		s.State, s.LastError, s.Attempts = StateWaiting, err, failures
		s.Next = time.Now().Add(wait)
		s.Failures++
	})
}

// succeed ends a row of failures.
func (w *worker) succeed() {
	w.retry, w.refusing = time.Time{}, false
	w.mu.Lock()
	failures, since := w.status.Attempts, w.status.Since
	w.mu.Unlock()
	if failures > 0 {
		w.q.cfg.Log.Info("a target takes snapshots again", "target", w.target.Name, "attempts", failures+1,
			"after", time.Since(since).Round(time.Second).String())
	}
	w.update(func(s *Status) {
		s.State, s.Since, s.Attempts, s.LastError, s.Next = StateIdle, time.Now(), 0, nil, time.Time{}
	})
}
