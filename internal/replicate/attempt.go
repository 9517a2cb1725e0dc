package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/lock"
	"github.com/drd-project/drd/internal/repo"
)

// lock keeps two processes from working on one target at once. A command waits for what the daemon has under way, and
// the other way round; what a stalled one holds ends with its stall timeout.
func (w *worker) lock(ctx context.Context) (release func() error, err error) {
	release, err = lock.File(ctx, w.lockPath(), func() {})
	if err != nil {
		return nil, fmt.Errorf("wait for the turn at %s: %w", w.target.Name, err)
	}
	return release, nil
}

// attempt is one try to bring something to a target.
type attempt struct {
	began    time.Time // of the capture, if that was in this process
	uploaded bool      // the payload is there: see early
	outcome  Outcome
}

// attempt tries to bring one snapshot to the target.
func (w *worker) attempt(ctx context.Context, id repo.ID) {
	a := &attempt{began: time.Now(), uploaded: w.uploaded == id, outcome: w.outcome()}
	d := w.offered()
	if d != nil && d.ID == id {
		a.began = d.began
	}
	err := w.try(ctx, snapshotRef(id), a)
	vanished := errors.Is(err, errVanished)
	if vanished {
		err, a.outcome.Commit, a.outcome.Proved = nil, time.Since(a.began), time.Since(a.began)
	}
	a.outcome.Err = err
	if d := w.offered(); d != nil && d.ID == id {
		d.report(w, a.outcome)
	}
	switch {
	case vanished: // which says nothing of the target now
	case err == nil:
		w.succeed()
	case ctx.Err() == nil:
		w.fail(snapshotRef(id), err)
	}
	if w.uploaded == id {
		w.uploaded = repo.ID{} // committed, or to be looked at again
	}
}

func (w *worker) try(ctx context.Context, r ref, a *attempt) error {
	unlock, err := w.lock(ctx)
	if err != nil {
		return err
	}
	w.enter(StateUploading)
	err = w.q.marks.sweep(w.target.Name, false)
	if err == nil {
		_, err = w.deliver(ctx, r, a)
	}
	return errors.Join(err, unlock())
}

// deliver does what is left to do for something, from the spool to the mark. Each step may be repeated after any other.
//
// What is found out about a target is written down even when ctx ends now: that takes no time, finding it out did.
func (l *lane) deliver(ctx context.Context, r ref, a *attempt) (*item, error) {
	local := context.WithoutCancel(ctx)
	it, err := l.q.spool.load(r)
	if errors.Is(err, errGone) {
		return nil, l.gone(local, r)
	}
	if err != nil {
		return nil, err
	}
	if l.verdict(it) == done { // by another process, just now
		a.outcome.Commit, a.outcome.Proved = time.Since(a.began), time.Since(a.began)
		return it, l.q.settle(local, r)
	}
	// Another process may have finished it since it was loaded, and removed the mark too, after the record.
	if has, err := l.q.spool.has(r); err != nil {
		return nil, err
	} else if !has {
		return nil, l.gone(local, r)
	}
	proof, err := l.bring(ctx, it, a)
	if err != nil {
		return nil, l.judge(local, it, err)
	}
	m := l.mark(it, done)
	m.Proved = proof
	if err := l.q.marks.put(local, l.target.Name, r, m); err != nil {
		return nil, err
	}
	a.outcome.Proved = time.Since(a.began)
	l.update(func(s *Standing) { s.Proved++ })
	l.tellReplicated(ctx, it, proof, a.outcome.Proved)
	return it, errors.Join(l.supersede(local, it), l.q.settle(local, r))
}

// tellReplicated logs a copy. Segments arrive every few seconds.
func (l *lane) tellReplicated(ctx context.Context, it *item, proof Proof, took time.Duration) {
	level := slog.LevelInfo
	if it.isSegment() {
		level = slog.LevelDebug
	}
	l.q.cfg.Log.Log(ctx, level, it.noun()+" replicated", it.noun(), it.String(), "target", l.target.Name, "proved", string(proof),
		"duration", took.Round(time.Millisecond).String())
}

// bring uploads, commits and proves.
func (l *lane) bring(ctx context.Context, it *item, a *attempt) (Proof, error) {
	var err error
	switch {
	case it.isSegment():
		err = l.target.Store(ctx, it.segment, it.Path)
	case a.uploaded:
		err = l.target.Commit(ctx, it.snapshot)
	default:
		if err = l.target.Upload(ctx, it.Payload); err == nil {
			err = l.target.Commit(ctx, it.snapshot)
		}
	}
	if err != nil {
		return "", err
	}
	a.outcome.Commit = time.Since(a.began)
	return l.prove(ctx, it)
}

// prove looks twice at a copy that seems damaged: what was damaged on the way is not damaged there.
func (l *lane) prove(ctx context.Context, it *item) (Proof, error) {
	proof, err := l.proveOnce(ctx, it)
	if !errors.Is(err, repo.ErrDamaged) {
		return proof, err
	}
	if proof, err = l.proveOnce(ctx, it); errors.Is(err, repo.ErrDamaged) {
		err = &finalError{damaged, err}
	}
	return proof, err
}

func (l *lane) proveOnce(ctx context.Context, it *item) (Proof, error) {
	key, _ := l.q.cfg.Keys.Get(it.key)
	if it.isSegment() {
		return l.target.ProveSegment(ctx, it.segment.Segment, key)
	}
	return l.target.Prove(ctx, it.snapshot.Manifest, key)
}

// finalError is a failure that no further attempt can mend.
type finalError struct {
	verdict verdict
	err     error
}

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

func (l *lane) mark(it *item, v verdict) mark {
	return mark{Verdict: v, At: time.Now().UTC(), Location: l.target.Repo.Bucket().Location(), SHA256: it.SHA256}
}

// judge finds out whether there can be another attempt, and remembers it if there cannot. It returns err.
func (l *lane) judge(ctx context.Context, it *item, err error) error {
	final, ok := errors.AsType[*finalError](err)
	switch {
	case ok:
	case errors.Is(err, repo.ErrConflict):
		final = &finalError{conflict, hint.New(err, "find out who wrote the other object; this host keeps its own in the spool")}
	case errors.Is(err, repo.ErrDamaged) && it.check() != nil:
		l.update(func(s *Standing) { s.Damaged++ })
		return errors.Join(err, l.q.drop(ctx, it.ref, "the spooled copy was damaged"))
	default:
		return err
	}
	if final.verdict == damaged || it.isSegment() { // a segment cannot be taken again: a snapshot has to close the gap
		l.update(func(s *Standing) { s.Damaged++ })
	}
	record := l.mark(it, final.verdict)
	record.Error = err.Error()
	return errors.Join(final, l.q.lose(ctx, l.target.Name, it.ref, string(final.verdict)+" in the target"),
		l.q.marks.put(ctx, l.target.Name, it.ref, record))
}

// errVanished is returned for what somebody else has finished with: every target has it, or a gap is recorded.
var errVanished = errors.New("not in the spool any more")

// gone deals with an entry that is not whole: one that another process removed, because all targets have it or the spool
// was full, or one that somebody took the payload of.
func (l *lane) gone(ctx context.Context, r ref) error {
	has, err := l.q.spool.has(r)
	if err != nil {
		return err
	}
	if has {
		l.update(func(s *Standing) { s.Damaged++ })
		return errors.Join(fmt.Errorf("%s: the spooled copy is incomplete", r), l.q.drop(ctx, r, "the spooled copy was incomplete"))
	}
	if r.isSegment() { // if it was dropped, the gap is recorded
		l.q.backlog.remove(r.segment)
		return errVanished
	}
	lost, err := l.q.losses.has(l.target.Name, r.id)
	if err != nil {
		return err
	}
	if lost {
		return fmt.Errorf("%s was dropped before %s had it", r, l.target.Name)
	}
	return errVanished
}

// supersede releases what was damaged in this target and is older than a snapshot that it has now: the spooled copies were
// kept as long as the target had nothing newer.
func (l *lane) supersede(ctx context.Context, newer *item) error {
	if newer.isSegment() {
		return nil
	}
	failed, err := l.q.marks.failed(l.target.Name)
	if err != nil {
		return err
	}
	for _, r := range failed {
		if l.judged(r) != damaged {
			continue
		}
		it, err := l.q.spool.read(r)
		if err != nil || !it.until.Before(newer.until) {
			continue // it is no copy that could be released; the bound drops it
		}
		if err := l.q.marks.put(ctx, l.target.Name, r, l.mark(it, superseded)); err != nil {
			return err
		}
		if r.isSegment() {
			l.q.followerOf(l.target.Name).todo.judgeAgain(r.segment)
		}
		if err := l.q.settle(ctx, r); err != nil {
			return err
		}
	}
	return nil
}
