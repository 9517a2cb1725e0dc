package archiver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/repo"
)

// Snapshotted tells of a snapshot of this node.
func (a *Archiver) Snapshotted(m *repo.Manifest) {
	a.mu.Lock()
	a.pending = false
	a.came++
	a.mu.Unlock()
	select {
	case <-a.taken: // nobody has looked at the one before
	default:
	}
	select {
	case a.taken <- m:
	default: // another one came at the same time
	}
}

// ask asks for a snapshot, once until it is there.
func (a *Archiver) ask() {
	a.mu.Lock()
	came := a.came
	a.mu.Unlock()
	a.askAfter(came)
}

// askAfter is ask by who knows of so many snapshots: when another one has come since, that is to be looked at first.
func (a *Archiver) askAfter(came int) {
	a.mu.Lock()
	wait := a.came != came || a.pending && time.Since(a.asked) < a.cfg.pace.answer
	if !wait {
		a.pending, a.asked = true, time.Now()
	}
	a.mu.Unlock()
	if !wait {
		a.cfg.Snapshot()
	}
}

// close looks whether this node's newest snapshot reaches beyond the hole, and asks for one that does if not.
func (a *Archiver) close() {
	a.mu.Lock()
	open, behind, position, came := a.state.Open, a.state.Behind, a.state.Position, a.came
	a.mu.Unlock()
	if open == 0 {
		return
	}
	m := a.cfg.Last()
	if m == nil || position == nil || m.Timeline != position.Timeline || m.Revision < open {
		a.askAfter(came)
		return
	}
	lost, done := behind > 0 && m.CompactRevision > behind+1, false
	err := a.change(func(s *state) {
		if s.Open != open {
			return
		}
		done = true
		s.Open, s.Behind, s.Since = 0, 0, m.CaptureStart
		if lost {
			s.Gaps++
		}
	})
	switch {
	case !done: // somebody else was faster
	case err != nil:
		a.cfg.Log.Error("that a snapshot leads to the archive is not remembered", "error", err)
	case lost:
		a.cfg.Log.Error("the archive has a gap; what follows goes on from a snapshot", "snapshot", m.ID,
			"from_revision", behind+1, "to_revision", m.CompactRevision-1)
		a.gap()
	default:
		a.cfg.Log.Info("the archive goes on from a snapshot", "snapshot", m.ID)
	}
}

// begin waits for the first snapshot: without one there is nothing that an archive could follow. Most often it is being taken
// already, because the schedule begins with one.
func (a *Archiver) begin(ctx context.Context) error {
	a.cfg.Log.Info("the archive waits for the first snapshot of this node")
	select {
	case <-a.taken:
		return nil
	case <-time.After(a.cfg.pace.look):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err := a.snapshot(ctx, "")
	return err
}

// other handles a member that does not continue the archive. Beside a follower it must last: the leader's node decides sooner, and
// a second timeline for the same fork would be confusing.
func (a *Archiver) other(ctx context.Context, timeline string, leads bool, cause error) error {
	if a.otherSince.IsZero() {
		a.otherSince = time.Now()
	}
	if !leads && time.Since(a.otherSince) < a.cfg.pace.takeOver {
		return cause
	}
	a.otherSince = time.Time{}
	return a.fork(ctx, timeline, cause)
}

// fork waits for a snapshot on another timeline, and goes on there. Where only the clock was wrong nothing is lost: the snapshot holds
// what the new timeline begins with.
func (a *Archiver) fork(ctx context.Context, timeline string, cause error) error {
	a.cfg.Log.Error("the archive of this timeline ends here; a snapshot begins another one", "timeline", timeline, "error", cause)
	known := a.Forked() == timeline || errors.Is(cause, follow.ErrClock) // or counted: this process was killed since
	err := a.change(func(s *state) {
		s.Forked, s.Position, s.Open, s.Behind, s.Since = timeline, nil, 0, 0, time.Time{}
		if !known {
			s.Gaps++
		}
	})
	if err != nil {
		return err
	}
	if !known {
		a.gap()
	}
	m, err := a.snapshot(ctx, timeline)
	if err != nil {
		return err
	}
	return a.change(func(s *state) { s.Forked, s.Position = "", positionAt(m) })
}

// snapshot waits for a snapshot that does not lie on a timeline, which one that was under way still may.
func (a *Archiver) snapshot(ctx context.Context, not string) (*repo.Manifest, error) {
	limit := time.NewTimer(a.cfg.pace.answer)
	defer limit.Stop()
	for {
		a.ask()
		select {
		case m := <-a.taken:
			if m.Timeline != not {
				return m, nil
			}
		case <-limit.C:
			return nil, fmt.Errorf("the snapshot that the archive waits for was not taken within %s", a.cfg.pace.answer)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
