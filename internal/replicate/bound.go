package replicate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// drop removes from the spool what some targets do not have. The losses are recorded first.
func (q *Queue) drop(ctx context.Context, r ref, reason string) error {
	if r.isSegment() {
		return q.dropSegments(ctx, []lostSegment{{r.segment, q.backlog.enqueued(r.segment)}}, reason)
	}
	for _, w := range q.workers {
		if w.judged(r) == done {
			continue
		}
		if err := q.loseSnapshot(ctx, w.target.Name, r.id, reason); err != nil {
			return err
		}
	}
	err := q.remove(ctx, r)
	q.wake(r)
	return err
}

// dropSegments drops many, in order, with one record of each gap.
func (q *Queue) dropSegments(ctx context.Context, lost []lostSegment, reason string) error {
	for _, f := range q.followers {
		lacking := slices.DeleteFunc(slices.Clone(lost), func(l lostSegment) bool { return f.judgeMark(l.name) == done })
		if err := q.loseSegments(ctx, f.target.Name, lacking, reason); err != nil {
			return err
		}
	}
	var failed []error
	for _, l := range lost {
		failed = append(failed, q.remove(ctx, segmentRef(l.name)))
	}
	if len(lost) > 0 {
		q.wake(segmentRef(lost[0].name))
	}
	return errors.Join(failed...)
}

// victim is something in the spool that may be dropped.
type victim struct {
	ref
	size int64
	at   time.Time
}

// bound makes the spool as small as it has to be: kept copies go first, which costs nothing, then what waits, snapshots and
// segments alike, the oldest first. What is left is then the newest stretch of the cluster's past. It never drops fresh, which has
// just been enqueued, nor the snapshot with the newest date, which is another one after the clock was set back: they are the
// best that this node has, and may be the only copies.
//
// Segments alone also stay below what they leave free on the disk. They come by themselves for as long as a target is away, and
// the member's own data may be on the same disk.
func (q *Queue) bound(ctx context.Context, fresh ref) error {
	if err := q.trim(ctx); err != nil {
		return err
	}
	entries, err := q.spool.entries()
	if err != nil {
		return err
	}
	archive := q.backlog.size()
	over, tight := sizeOf(entries)+archive-q.cfg.SpoolMax, q.tight(archive)
	if over <= 0 && tight <= 0 {
		return nil
	}
	reason := "the spool was full"
	if over <= 0 {
		reason = "the disk was full"
	}
	var segments []lostSegment
	for _, v := range victims(entries, q.backlog.segments()) {
		switch {
		case v.ref == fresh:
		case v.isSegment() && (over > 0 || tight > 0):
			segments = append(segments, lostSegment{v.segment, v.at})
			over, tight = over-v.size, tight-2*v.size // it is less, and leaves more free
		case !v.isSegment() && over > 0:
			if err := q.drop(ctx, v.ref, reason); err != nil {
				return err
			}
			over -= v.size
		}
	}
	err = q.dropSegments(ctx, segments, reason)
	if len(segments) > 0 && follows(segments[len(segments)-1], entries) && len(q.followers) > 0 { // one snapshot is for all targets
		q.followers[0].update(func(s *Standing) { s.Damaged++ })
	}
	return err
}

// tight is by how many bytes the archive is larger than what it leaves free; 0 where that cannot be told.
func (q *Queue) tight(archive int64) int64 {
	if archive == 0 {
		return 0
	}
	free, err := q.free()
	if err != nil {
		return 0
	}
	return archive - free
}

// follows says whether a segment is newer than the newest snapshot of the spool: then what comes after it lacks its base.
func follows(s lostSegment, entries []entry) bool {
	return len(entries) == 0 || s.at.After(entries[len(entries)-1].id.Time)
}

// victims are all but the newest snapshot, in the order in which they would go.
func victims(entries []entry, segments map[repo.SegmentName]held) []victim {
	var all []victim
	for _, n := range byAge(segments) {
		all = append(all, victim{segmentRef(n), segments[n].size, segments[n].at})
	}
	for _, e := range entries[:max(0, len(entries)-1)] {
		all = append(all, victim{snapshotRef(e.id), e.size, e.id.Time})
	}
	slices.SortStableFunc(all, func(a, b victim) int { return a.at.Compare(b.at) })
	return all
}
