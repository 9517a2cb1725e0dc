package replicate

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// untilWoken is longer than a process lives.
const untilWoken = time.Duration(math.MaxInt64)

// lane brings one kind of thing to one target: snapshots or segments. The two lanes of a target share nothing but its
// bandwidth, so that a large snapshot and thousands of segments do not wait for each other.
type lane struct {
	q      *Queue
	target Target
	kind   ref    // any of what it brings
	home   string // directory of the target's marks and locks
	wake   chan struct{}
	hurry  atomic.Bool // somebody asked for an attempt now
	other  *lane       // of the same target

	mu       sync.Mutex
	standing Standing

	// The rest belongs to the goroutine that works.
	retry    time.Time // no attempt before, with monotonic reading
	refusing bool      // the last failure was a refusal
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// attemptNow ends the wait after a failure.
func (l *lane) attemptNow() {
	l.hurry.Store(true)
	l.signal()
}

func (l *lane) sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.wake:
	case <-ctx.Done():
	}
}

// lockPath is that of the lock which who works on this lane holds.
func (l *lane) lockPath() string {
	if l.kind.isSegment() {
		return filepath.Join(l.home, ".segments.lock")
	}
	return filepath.Join(l.home, ".lock")
}

func (l *lane) attempts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.standing.Attempts
}

// judged is the verdict on something in the spool. Where its manifest cannot be read the name alone decides: what is done is
// not to be done again for that. That of a segment always does: it has a part of the hash, and there are thousands to look up.
func (l *lane) judged(r ref) verdict {
	return l.q.marks.get(l.target.Name, r, l.target.Repo.Bucket().Location(), func() string {
		if r.isSegment() {
			return ""
		}
		it, err := l.q.spool.read(r)
		if err != nil {
			return ""
		}
		return it.SHA256
	})
}

// verdict is what is known of an item in this target.
func (l *lane) verdict(it *item) verdict {
	return l.q.marks.get(l.target.Name, it.ref, l.target.Repo.Bucket().Location(), func() string { return it.SHA256 })
}

// update changes the standing and tells of it.
func (l *lane) update(change func(*Standing)) {
	l.mu.Lock()
	change(&l.standing)
	l.mu.Unlock()
	l.q.tell()
}

// enter changes the state.
func (l *lane) enter(s State) {
	l.mu.Lock()
	same := l.standing.State == s
	l.mu.Unlock()
	if same {
		return
	}
	l.update(func(st *Standing) {
		if st.State != s && st.Attempts == 0 {
			st.Since = time.Now()
		}
		st.State = s
		if s != StateWaiting {
			st.Next = time.Time{}
		}
	})
}

// count tells what is in the spool for this target. It says nothing if that is what is known already.
func (l *lane) count(queued, failed int, oldest time.Time) {
	l.mu.Lock()
	st := &l.standing
	same := st.Queued == queued && st.Failed == failed && st.Oldest.Equal(oldest)
	st.Queued, st.Failed, st.Oldest = queued, failed, oldest
	l.mu.Unlock()
	if !same {
		l.q.tell()
	}
}

// fail counts a failure and says when the next attempt is. Only the first in a row is logged, and the one that turns
// trouble into a refusal or back. r is zero where no particular thing failed.
func (l *lane) fail(r ref, err error) {
	failures := l.attempts() + 1
	wait, refusal := backoff(failures), refused(err)
	if refusal {
		wait = refusedBackoff()
	}
	final, isFinal := errors.AsType[*finalError](err)
	if isFinal { // it is told for this one; the others need not wait
		wait, failures = 0, 0
	}
	attrs := problem(err, "target", l.target.Name)
	if r != (ref{}) {
		attrs = r.attrs(attrs...)
	}
	switch {
	case isFinal:
		l.q.cfg.Log.Error("a target will never have a "+l.kind.noun(), append(attrs, "reason", string(final.verdict))...)
	case failures == 1 || refusal != l.refusing:
		l.q.cfg.Log.Error("a target has no proved copy of a "+l.kind.noun(), append(attrs, "retry_in", wait.Round(time.Second).String())...)
	default:
		l.q.cfg.Log.Debug("a target still fails", append(attrs, "attempt", failures)...)
	}
	l.refusing = refusal
	l.retry = time.Now().Add(wait)
	l.update(func(s *Standing) {
		if s.Attempts == 0 || isFinal {
			s.Since = time.Now()
		}
		s.State, s.LastError, s.Attempts = StateWaiting, err, failures
		s.Next = time.Now().Add(wait)
		s.Failures++
	})
}

// succeed ends a row of failures. Then the other lane of the target need not wait for its next attempt either.
func (l *lane) succeed() {
	l.retry, l.refusing = time.Time{}, false
	l.mu.Lock()
	failures, since := l.standing.Attempts, l.standing.Since
	l.mu.Unlock()
	if failures > 0 {
		l.q.cfg.Log.Info("a target takes "+l.kind.noun()+"s again", "target", l.target.Name, "attempts", failures+1,
			"after", time.Since(since).Round(time.Second).String())
		l.other.attemptNow()
	}
	l.update(func(s *Standing) {
		s.State, s.Since, s.Attempts, s.LastError, s.Next = StateIdle, time.Now(), 0, nil, time.Time{}
	})
}
