package daemon

import (
	"context"
	"fmt"
	"strings"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/replicate"
)

// replication passes on what the queue knows: to the metrics, to the service manager, and to those who act on it.
type replication struct {
	queue   *replicate.Queue
	metrics *metrics.Metrics
	tell    *notifier
	stored  func(target string) // it has one more snapshot
	fresh   func()              // a target needs a snapshot that is not damaged

	last []replicate.Status
}

// watch passes on each change until ctx ends.
func (r *replication) watch(ctx context.Context) {
	r.last = make([]replicate.Status, len(r.queue.Status()))
	for {
		r.pass(r.queue.Status())
		select {
		case <-ctx.Done():
			return
		case <-r.queue.Changed():
		}
	}
}

// pass compares with what was passed on before: the queue counts, and counters only take what is added.
func (r *replication) pass(now []replicate.Status) {
	for i, s := range now {
		before := r.last[i]
		r.metrics.SetQueue(s.Target, s.Queued, s.Oldest)
		r.metrics.AddLost(s.Target, max(0, s.Lost-before.Lost)) // less: somebody removed the record
		for range s.Failures - before.Failures {
			r.metrics.Error(metrics.StageReplication)
		}
		if s.Proved > before.Proved {
			r.stored(s.Target)
		}
		if s.Damaged > before.Damaged {
			r.fresh()
		}
	}
	r.last = now
	r.tell.behind(behind(now))
}

// behind names the targets that lack something and do not just receive it.
func behind(all []replicate.Status) string {
	var parts []string
	for _, s := range all {
		switch {
		case s.Queued == 0 || s.Attempts == 0 && s.Failed == 0:
		case s.Attempts > 0:
			parts = append(parts, fmt.Sprintf("%d waiting for %s since %s: %s", s.Queued, s.Target, clock(s.Since), reason(s.LastError)))
		default:
			waits := "snapshot waits"
			if s.Failed > 1 {
				waits = "snapshots wait"
			}
			parts = append(parts, fmt.Sprintf("%d %s for %s and cannot be stored there, of %s", s.Failed, waits, s.Target, clock(s.Oldest)))
		}
	}
	return strings.Join(parts, "; ")
}

// reason fits into a line of status.
func reason(err error) string {
	const most = 200
	line := firstLine(err)
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
