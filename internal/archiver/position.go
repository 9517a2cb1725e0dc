package archiver

import (
	"context"
	"time"

	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

const (
	// newestRead bounds how many records are read to find the newest: a few writers may have written in the same seconds.
	newestRead = 10
	// lookTimeout bounds one look into one target.
	lookTimeout = 30 * time.Second
	// widest is how many revisions before this node's newest snapshot a segment is looked for that may reach beyond it: those of
	// five seconds at 20,000 writes a second.
	widest = 100_000
)

// near remembers where the newest segments of a target were, so that a look does not list all that was ever archived.
type near struct {
	timeline string
	first    int64 // revision with which the newest one begins
}

// positionAt is behind a snapshot of the timeline: the watch begins with what happens next.
func positionAt(m *repo.Manifest) *follow.Position {
	return &follow.Position{Timeline: m.Timeline, EtcdClusterID: m.EtcdClusterID, Base: m.ID}
}

// position is where the archive goes on: the furthest of what this node remembers and of what the targets hold, on the
// timeline of this node's newest snapshot. What was written elsewhere meanwhile need not be written again. ok is false where
// there is no snapshot. live is the member's revision.
func (a *Archiver) position(ctx context.Context, live int64) (from follow.Position, ok bool) {
	last := a.cfg.Last()
	if last == nil {
		return follow.Position{}, false
	}
	a.mu.Lock()
	own := a.state.Position
	a.mu.Unlock()
	best := *positionAt(last)
	if own != nil && own.Timeline == last.Timeline {
		if best = *own; best.Revision == 0 {
			return best, true // a hole lies behind: what the targets hold is before it
		}
	}
	for _, t := range a.cfg.Targets {
		e := newest(a.recent(ctx, t, last, live))
		if e != nil && e.Segment.Last > best.Revision {
			best = follow.After(e.Segment, e.Digest)
		}
	}
	return best, true
}

// recent are the newest segments of a target on the timeline of a snapshot; none where the target does not tell.
func (a *Archiver) recent(ctx context.Context, t replicate.Target, last *repo.Manifest, live int64) []repo.SegmentEntry {
	known := a.near[t.Name]
	if known.timeline != last.Timeline {
		known = near{last.Timeline, max(1, last.Revision-widest)}
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := t.Repo.ListSegments(ctx, repo.SegmentQuery{
		Timeline: last.Timeline, From: known.first, UpTo: max(live, known.first) + 1, Limit: newestRead,
	}, a.cfg.Trust)
	if err != nil {
		a.cfg.Log.Debug("a target does not tell how far the archive is", "target", t.Name, "error", err)
		return nil
	}
	var usable []repo.SegmentEntry
	for _, e := range found.Entries {
		if e.Usable(false) && !e.Segment.To.After(a.cfg.Now().Add(repo.FutureSkew)) {
			usable = append(usable, e)
		}
	}
	if e := newest(usable); e != nil {
		known.first = e.Segment.First
		a.near[t.Name] = known
	}
	return usable
}

// newest is the segment that reaches furthest, nil of none.
func newest(all []repo.SegmentEntry) *repo.SegmentEntry {
	var best *repo.SegmentEntry
	for i := range all {
		e := &all[i]
		if best == nil || e.Segment.Last > best.Segment.Last || e.Segment.Last == best.Segment.Last && e.Segment.To.After(best.Segment.To) {
			best = e
		}
	}
	return best
}

func leads(s etcd.Status) bool { return s.Leader == s.MemberID }

// mine reports whether this node writes: beside the leader always, elsewhere when nobody has for a while.
func (a *Archiver) mine(ctx context.Context, s etcd.Status) bool {
	if leads(s) {
		return true
	}
	last := a.cfg.Last()
	if last == nil {
		return false // the leader's node begins
	}
	if a.began.IsZero() {
		a.began = a.cfg.Now()
	}
	moved := a.began
	for _, t := range a.cfg.Targets {
		if e := newest(a.recent(ctx, t, last, s.Revision)); e != nil && e.Segment.To.After(moved) {
			moved = e.Segment.To
		}
	}
	return a.cfg.Now().Sub(moved) >= a.cfg.pace.takeOver
}

// replaced reports whether this is not the leader's node and another one has written lately.
func (a *Archiver) replaced(ctx context.Context, timeline string) bool {
	member, err := a.cfg.Connect(ctx)
	if err != nil {
		return false // the follower finds out
	}
	defer member.Close()
	s, err := member.Status(ctx)
	last := a.cfg.Last()
	if err != nil || leads(s) || last == nil || last.Timeline != timeline {
		return false
	}
	for _, t := range a.cfg.Targets {
		for _, e := range a.recent(ctx, t, last, s.Revision) {
			if e.Segment.Member.ID != etcd.FormatID(s.MemberID) && a.cfg.Now().Sub(e.Segment.To) < a.cfg.pace.takeOver {
				return true
			}
		}
	}
	return false
}
