package restore

import (
	"context"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Tip is how the archive of a target goes on behind one of its snapshots.
type Tip struct {
	Reached time.Time // newest instant that can be restored from the snapshot on, without a hole; its own where there is none
	End     time.Time // of the newest segment of the timeline, wherever it is; zero: there is none
	Missing int64     // the revision where a hole begins that has segments behind it; 0: there is no hole
}

// ReadTip reads the tip behind a snapshot: the commit records that tell of it, by way, and where there are none, the newest one.
func ReadTip(ctx context.Context, r *repo.Repository, snapshot *repo.Entry, trust *seal.Trust) (Tip, error) {
	tip, err := readTip(ctx, r, snapshot, trust)
	if tip.Missing > 0 {
		return readTip(ctx, r, snapshot, trust) // segments may just have been merged: what took their place is listed now
	}
	return tip, err
}

func readTip(ctx context.Context, r *repo.Repository, snapshot *repo.Entry, trust *seal.Trust) (Tip, error) {
	m := snapshot.Manifest
	tip := Tip{Reached: m.CaptureStart}
	found, err := r.ListSegments(ctx, repo.SegmentQuery{Timeline: m.Timeline, After: m.Revision - 1, Limit: -1}, trust)
	if err == nil {
		err = newWay(r, found.Entries, trust).readOn(ctx, m.Revision)
	}
	if err != nil {
		return tip, err
	}
	var beyond int64
	if beyond, tip.End = archiveEnd(found.Entries); tip.End.IsZero() {
		before, err := r.ListSegments(ctx, repo.SegmentQuery{Timeline: m.Timeline, Limit: -1}, trust)
		if err == nil {
			err = newWay(r, before.Entries, trust).readBeyond(ctx, 0)
		}
		if err != nil {
			return tip, err
		}
		_, tip.End = archiveEnd(before.Entries)
		return tip, nil
	}
	for _, a := range archive.NewHistory(m.Timeline, []repo.Entry{*snapshot}, found.Entries, false).Window() {
		if a.First > m.Revision || a.Last < m.Revision {
			continue
		}
		for _, s := range a.Times {
			tip.Reached = later(tip.Reached, s.To)
		}
		if beyond > a.Last {
			tip.Missing = a.Last + 1
		}
	}
	if tip.Missing > 0 {
		err = unreadAt(found.Entries, tip.Missing)
	}
	return tip, err
}

// unreadAt names a segment of a revision that may be well and could not be read just now, so that a hole there may be none; nil: there is
// no such one.
func unreadAt(segments []repo.SegmentEntry, revision int64) error {
	for i := range segments {
		if e := &segments[i]; e.State == repo.StateUnreadable && e.Name.First <= revision && revision <= e.Name.Last {
			return fmt.Errorf("segment %s: %w", e.Name, e.Problem)
		}
	}
	return nil
}

// Tip is the tip behind the snapshot of a revision, as the window was read, and the last revision without a hole behind it: 0 where the
// window does not hold that snapshot.
func (w *Window) Tip(revision int64) (tip Tip, last int64) {
	tip.End = w.End
	for _, a := range w.Ranges {
		if a.First > revision || a.Last < revision {
			continue
		}
		for _, s := range a.Times {
			tip.Reached = later(tip.Reached, s.To)
		}
		if last = a.Last; w.Beyond > last {
			tip.Missing = last + 1
		}
	}
	return tip, last
}

// archiveEnd is the last revision that segments hold which can be used, and the newest instant that they tell of.
func archiveEnd(segments []repo.SegmentEntry) (last int64, at time.Time) {
	for i := range segments {
		if e := &segments[i]; e.Usable(false) {
			last, at = max(last, e.Segment.Last), later(at, e.Segment.To)
		}
	}
	return last, at
}
