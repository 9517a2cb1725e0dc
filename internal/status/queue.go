package status

import (
	"cmp"
	"slices"

	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

// queue takes over what waits on this host for each target.
func (r *Report) queue(q *replicate.Queue, running bool) {
	waiting := q.Status
	if !running {
		waiting = func() []replicate.Status {
			found, err := q.Look()
			if err != nil {
				r.problem(KindRecovery, err)
			}
			return found
		}
	}
	for _, s := range waiting() {
		i := slices.IndexFunc(r.Targets, func(t Target) bool { return t.Name == s.Target })
		if i < 0 {
			continue // nobody looked at it
		}
		t := &r.Targets[i]
		t.Waiting, t.WaitingSince, t.Lost = s.Queued, known(s.Oldest), s.Lost
		t.SegmentsWaiting, t.SegmentsSince = s.Segments.Queued, known(s.Segments.Oldest)
		if err := cmp.Or(s.LastError, s.Segments.LastError); err != nil {
			t.LastError = repo.Printable(err.Error())
		}
	}
}
