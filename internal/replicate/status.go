package replicate

import (
	"errors"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
)

// State is what a target's worker does.
type State string

// The states of a target.
const (
	StateIdle      State = "idle"      // nothing to do
	StateUploading State = "uploading" // at work on a snapshot, reading it back included
	StateWaiting   State = "waiting"   // for the next attempt after a failure
)

// Status is how the replication to one target stands.
type Status struct {
	Target    string
	State     State
	Since     time.Time // of the state; of the first failure in a row while there are Attempts
	Next      time.Time // of the next attempt; zero unless waiting
	LastError error     // of the last attempt; nil when it succeeded
	Attempts  int       // failed in a row

	Queued int       // snapshots in the spool of which the target has no proved copy
	Failed int       // of these, how many it will never have: damaged there, or another object has the name
	Oldest time.Time // when the capture of the oldest of them began; zero: there are none
	Lost   int       // snapshots recorded as lost for the target, ever
	Kept   int       // snapshots that stay in the spool though no target waits for them; the same for each target

	Proved   int // copies proved since this process began
	Failures int // attempts failed since this process began
	Damaged  int // snapshots found damaged since this process began: each wants a fresh one
}

// Status is how each target stands, in the order of the configuration.
func (q *Queue) Status() []Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]Status, len(q.workers))
	for i, w := range q.workers {
		w.mu.Lock()
		all[i] = w.status
		w.mu.Unlock()
		all[i].Lost, all[i].Kept = q.lost[all[i].Target], q.kept
	}
	return all
}

// update changes the status and tells of it.
func (w *worker) update(change func(*Status)) {
	w.mu.Lock()
	change(&w.status)
	w.mu.Unlock()
	w.q.tell()
}

// enter changes the state.
func (w *worker) enter(s State) {
	w.mu.Lock()
	same := w.status.State == s
	w.mu.Unlock()
	if same {
		return
	}
	w.update(func(st *Status) {
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
func (w *worker) count(queued, failed int, oldest time.Time) {
	w.mu.Lock()
	same := w.status.Queued == queued && w.status.Failed == failed && w.status.Oldest.Equal(oldest)
	w.status.Queued, w.status.Failed, w.status.Oldest = queued, failed, oldest
	w.mu.Unlock()
	if !same {
		w.q.tell()
	}
}

func (w *worker) outcome() Outcome {
	return Outcome{Target: w.target.Name, Location: w.target.Repo.Bucket().Location()}
}

// verdict is what is known of a snapshot in this target.
func (w *worker) verdict(id repo.ID, m *repo.Manifest) verdict {
	return w.q.marks.get(w.target.Name, id, w.target.Repo.Bucket().Location(), func() string { return m.Object.SHA256 })
}

// problem adds an error and what can be done about it to the attributes of a log line.
func problem(err error, attrs ...any) []any {
	attrs = append(attrs, "error", err)
	if hints := hint.Of(err); len(hints) > 0 {
		attrs = append(attrs, "hint", strings.Join(hints, "; "))
	}
	return attrs
}

// Look counts what is in the spool for each target, for somebody who does not run the queue. It must not be called
// while Run or RunOnce work in this process: they count by themselves.
func (q *Queue) Look() ([]Status, error) {
	var failed []error
	for _, w := range q.workers {
		if _, err := w.pending(); err != nil {
			failed = append(failed, err)
		}
	}
	entries, err := q.spool.entries()
	if err == nil {
		q.keeps(len(q.copies(entries)))
	}
	return q.Status(), errors.Join(append(failed, err)...)
}
