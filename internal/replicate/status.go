package replicate

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
)

// State is what a target's worker does.
type State string

// The states of a target.
const (
	StateIdle      State = "idle"      // nothing to do
	StateUploading State = "uploading" // at work, reading back included
	StateWaiting   State = "waiting"   // for the next attempt after a failure
)

// Status is how the replication to one target stands: that of snapshots, and in Segments that of the archive.
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

	Segments SegmentStatus
}

// SegmentStatus is how the replication of the archive to one target stands.
type SegmentStatus struct {
	Standing
	Acked Position // how far the target has it without anything missing but its gaps; zero: this process brought nothing yet
	Gaps  int      // recorded for the target, ever
}

// Standing is how one kind of thing stands at one target: Status says it for snapshots.
type Standing struct {
	State     State
	Since     time.Time // of the state; of the first failure in a row while there are Attempts
	Next      time.Time // of the next attempt; zero unless waiting
	LastError error     // of the last attempt; nil when it succeeded
	Attempts  int       // failed in a row

	Queued int       // in the spool, without a proved copy in the target
	Failed int       // of these, how many it will never have
	Oldest time.Time // since when the oldest of them waits: of a segment, when it was enqueued

	Proved   int // copies proved since this process began
	Failures int // attempts failed since this process began
	Damaged  int // found damaged or lost since this process began: each wants a fresh snapshot
}

// Status is how each target stands, in the order of the configuration.
func (q *Queue) Status() []Status {
	all := make([]Status, len(q.workers))
	for i, w := range q.workers {
		all[i] = w.status()
		f := q.followers[i]
		f.mu.Lock()
		all[i].Segments.Standing = f.standing
		f.mu.Unlock()
		all[i].Segments.Acked = f.todo.position()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range all {
		s := &all[i]
		s.Lost, s.Segments.Gaps, s.Kept = q.lostSnapshots[s.Target], q.lostRanges[s.Target], q.kept
	}
	return all
}

func (w *worker) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.standing
	return Status{
		Target: w.target.Name, State: s.State, Since: s.Since, Next: s.Next, LastError: s.LastError, Attempts: s.Attempts,
		Queued: s.Queued, Failed: s.Failed, Oldest: s.Oldest, Proved: s.Proved, Failures: s.Failures, Damaged: s.Damaged,
	}
}

func (w *worker) outcome() Outcome {
	return Outcome{Target: w.target.Name, Location: w.target.Repo.Bucket().Location()}
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
	failed := []error{q.backlog.list(context.Background(), q.spool)}
	for _, f := range q.followers {
		f.recount()
	}
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
