package replicate

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/repo"
)

// Loss is a snapshot that a target will never have.
type Loss struct {
	At       time.Time `json:"at"`
	Target   string    `json:"target"`
	Snapshot string    `json:"snapshot"`
	Reason   string    `json:"reason"`
	Total    int       `json:"total"` // losses of this target up to this one, also those no longer listed
}

// Gap is a range of revisions that a target will never have in its archive. A snapshot that holds them may still close it.
type Gap struct {
	At       time.Time `json:"at"` // when it was found, or grew
	Target   string    `json:"target"`
	Timeline string    `json:"timeline"`
	First    int64     `json:"first"` // revision
	Last     int64     `json:"last"`  // revision
	From     time.Time `json:"from"`  // when the first of its segments was taken
	To       time.Time `json:"to"`    // when the last one was
	Reason   string    `json:"reason"`
	Total    int       `json:"total"` // gaps of this target up to this one, also those no longer listed
}

func (l Loss) of() (target string, total int) { return l.Target, l.Total }
func (g Gap) of() (target string, total int)  { return g.Target, g.Total }

// Losses reads what is recorded below a state directory, oldest first: the last 1,000 at most. There is none where no
// queue ever lost anything. It is for reports; nothing needs to be stopped for it.
func Losses(stateDir string) ([]Loss, error) { return openLosses(stateDir).read() }

// losses is lost.jsonl, one snapshot and target a line.
type losses struct{ journal[Loss] }

func openLosses(stateDir string) *losses {
	return &losses{journal[Loss]{path: filepath.Join(marksDir(stateDir), "lost.jsonl")}}
}

// add records a loss once: a process that was killed between this and what follows it does it again.
func (l *losses) add(ctx context.Context, target string, id repo.ID, reason string) (fresh bool, err error) {
	return fresh, l.change(ctx, func(all []Loss) []Loss {
		if known(all, target, id) {
			return nil
		}
		fresh = true
		return append(all, Loss{At: time.Now().UTC(), Target: target, Snapshot: id.String(), Reason: reason, Total: totals(all)[target] + 1})
	})
}

func known(all []Loss, target string, id repo.ID) bool {
	return slices.ContainsFunc(all, func(o Loss) bool { return o.Target == target && o.Snapshot == id.String() })
}

// has says whether a target's loss of a snapshot is recorded.
func (l *losses) has(target string, id repo.ID) (bool, error) {
	all, err := l.read()
	return known(all, target, id), err
}

// gaps is gaps.jsonl, one gap and target a line.
type gaps struct{ journal[Gap] }

func openGaps(stateDir string) *gaps {
	return &gaps{journal[Gap]{path: filepath.Join(marksDir(stateDir), "gaps.jsonl")}}
}

// lostSegment is a segment that a target will not have, with the time at which it was enqueued.
type lostSegment struct {
	name repo.SegmentName
	at   time.Time
}

// add records segments, in order, once each: one that goes on where the last gap of the target ends makes that longer. It
// returns how many gaps are new. A silence leaves no gap.
func (g *gaps) add(ctx context.Context, target string, lost []lostSegment, reason string) (fresh int, err error) {
	return fresh, g.change(ctx, func(all []Gap) []Gap {
		changed := false
		for _, l := range lost {
			if l.name.Last < l.name.First || covered(all, target, l.name) {
				continue
			}
			changed = true
			if last := lastGap(all, target, l.name); last != nil {
				last.At, last.Last, last.To = time.Now().UTC(), l.name.Last, l.at.UTC()
				continue
			}
			fresh++
			all = append(all, Gap{
				At: time.Now().UTC(), Target: target, Timeline: l.name.Timeline, First: l.name.First, Last: l.name.Last,
				From: l.at.UTC(), To: l.at.UTC(), Reason: reason, Total: totals(all)[target] + 1,
			})
		}
		if !changed {
			return nil
		}
		return all
	})
}

// covered says whether the loss is recorded already.
func covered(all []Gap, target string, n repo.SegmentName) bool {
	return slices.ContainsFunc(all, func(g Gap) bool {
		return g.Target == target && g.Timeline == n.Timeline && g.First <= n.First && n.Last <= g.Last
	})
}

// lastGap is the newest gap of a target, if the segment goes on where it ends.
func lastGap(all []Gap, target string, n repo.SegmentName) *Gap {
	for i := len(all) - 1; i >= 0; i-- {
		g := &all[i]
		if g.Target != target {
			continue
		}
		if g.Timeline == n.Timeline && g.First <= n.First && n.First <= g.Last+1 {
			return g
		}
		return nil
	}
	return nil
}

// lose records that a target will never have something.
func (q *Queue) lose(ctx context.Context, target string, r ref, reason string) error {
	if !r.isSegment() {
		return q.loseSnapshot(ctx, target, r.id, reason)
	}
	return q.loseSegments(ctx, target, []lostSegment{{r.segment, q.backlog.enqueued(r.segment)}}, reason)
}

// loseSnapshot records that a target will never have a snapshot.
func (q *Queue) loseSnapshot(ctx context.Context, target string, id repo.ID, reason string) error {
	fresh, err := q.losses.add(ctx, target, id, reason)
	if err != nil {
		return fmt.Errorf("lose %s for %s: %w", id, target, err)
	}
	if fresh {
		audit.Note(ctx, audit.Event{Name: audit.SpoolDrop, Object: id.String(), Target: target})
		q.cfg.Log.Error("a snapshot is lost for a target", "snapshot", id.String(), "target", target, "reason", reason)
	}
	q.readLosses()
	return nil
}

// loseSegments records that a target will never have segments, given in order.
func (q *Queue) loseSegments(ctx context.Context, target string, lost []lostSegment, reason string) error {
	if len(lost) == 0 {
		return nil
	}
	fresh, err := q.gaps.add(ctx, target, lost, reason)
	if err != nil {
		return fmt.Errorf("lose %d segments for %s: %w", len(lost), target, err)
	}
	if fresh > 0 { // one that grows is told once
		first, last := lost[0].name, lost[len(lost)-1].name
		audit.Note(ctx, audit.Event{Name: audit.SpoolDrop, Object: first.String() + " to " + last.String(), Target: target, Count: int64(len(lost))})
		q.cfg.Log.Error("the archive of a target has a gap", "target", target, "timeline", first.Timeline,
			"from_revision", first.First, "to_revision", last.Last, "reason", reason)
	}
	q.readLosses()
	return nil
}
