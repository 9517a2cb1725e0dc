package retention

import (
	"cmp"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// mergedAge is how old a merged segment has to be, by the store's clock, before what it takes the place of may go: whoever
// looked before it came has begun to read by then, and finds the others.
const mergedAge = 10 * time.Minute

// SegmentDecision is what becomes of one segment, and why.
type SegmentDecision struct {
	Entry  *repo.SegmentEntry // of those that were asked about
	Fate   Fate
	Reason string // for people; the same for all with the same fate for the same cause
	// By is the merged segment that takes its place and stays. It must be read whole before this one goes. nil: nothing has to.
	By *repo.SegmentEntry
}

// String is the decision on one line.
func (d SegmentDecision) String() string { return string(d.Fate) + ": " + d.Reason }

func (d *SegmentDecision) keep(reason string) { d.Fate, d.Reason, d.By = Keep, reason, nil }

// decideSegments decides on segments, and keeps those of the snapshots that they need. Each timeline is judged by itself.
func decideSegments(segments []repo.SegmentEntry, snapshots []Decision, latest *repo.Entry, p Policy, now time.Time) []SegmentDecision {
	decisions := make([]SegmentDecision, len(segments))
	lines := make(map[string]*line)
	for i := range segments {
		d := &decisions[i]
		d.Entry = &segments[i]
		if p.ArchiveWithin <= 0 {
			d.keep("how long the archive is kept is not known")
			continue
		}
		l := lines[d.Entry.Name.Timeline]
		if l == nil {
			l = newLine(d.Entry.Name.Timeline, p, now)
			lines[l.timeline] = l
		}
		l.add(d)
	}
	for _, l := range lines {
		l.current = latest != nil && latest.Manifest.Timeline == l.timeline
		l.judge(snapshots)
	}
	return decisions
}

// keepAllSegments turns every deletion around.
func keepAllSegments(decisions []SegmentDecision, reason string) {
	for i := range decisions {
		if d := &decisions[i]; d.Fate == Delete {
			d.keep(reason)
		}
	}
}

// line is the archive of one timeline.
type line struct {
	timeline string
	current  bool          // it is that of the snapshot that a restore takes
	within   time.Duration // every second of this time is to stay
	now      time.Time
	since    time.Time // when that time begins, as another node may see it
	spread   time.Duration

	all       []*SegmentDecision
	usable    []*SegmentDecision // what a restore may use, and is not dated in the future
	future    []piece            // what a restore may use, and is; it stays
	unknown   []piece            // what a restore could use if it could be read; it stays
	newest    *SegmentDecision   // of usable; nil: there is none
	snapshots []*Decision        // that can be restored, by revision
	relied    map[*Decision]bool // those that the archive needs, whatever else keeps a snapshot
}

func newLine(timeline string, p Policy, now time.Time) *line {
	spread := p.ArchiveSpread
	if spread <= 0 {
		spread = DefaultSpread
	}
	return &line{
		timeline: timeline, within: p.ArchiveWithin, now: now, since: now.Add(-p.ArchiveWithin - spread), spread: spread,
		relied: make(map[*Decision]bool),
	}
}

// add takes a segment, and decides on what a restore has no use for.
func (l *line) add(d *SegmentDecision) {
	l.all = append(l.all, d)
	e := d.Entry
	switch {
	case e.State == repo.StateIncomplete:
		d.judgeLitter(l.now)
	case e.State == repo.StateUnread || e.State == repo.StateUnreadable:
		d.keep(leftAlone(e.State))
		l.unknown = append(l.unknown, piece{first: e.Name.First, last: e.Name.Last, to: e.Record.Modified.Add(clockSkew)})
	case !e.Usable(false):
		d.keep(leftAlone(e.State))
	case repo.InFuture(e.Segment.To, l.now):
		d.keep("dated in the future")
		l.future = append(l.future, pieceOf(e.Segment))
	default:
		l.usable = append(l.usable, d)
	}
}

// clockSkew is by how much a segment may have been stored later than it ends, as far as clocks that differ are concerned.
const clockSkew = 24 * time.Hour

// judgeLitter decides on a payload without a commit record. Its name has no time, so the store's clock decides alone.
func (d *SegmentDecision) judgeLitter(now time.Time) {
	if at := d.Entry.Payload.Modified; at.IsZero() || now.Sub(at) <= LitterAge {
		d.keep("upload in progress: there is no commit record yet")
		return
	}
	d.Fate, d.Reason = Delete, "litter: there is no commit record after 24 hours"
}

// judge decides on all that is left.
func (l *line) judge(snapshots []Decision) {
	for i := range snapshots {
		d := &snapshots[i]
		if d.Entry.State == repo.StateOK && d.Entry.Restorable(false) && d.Entry.Manifest.Timeline == l.timeline {
			l.snapshots = append(l.snapshots, d)
		}
	}
	slices.SortStableFunc(l.snapshots, func(a, b *Decision) int {
		return cmp.Or(cmp.Compare(a.Entry.Manifest.Revision, b.Entry.Manifest.Revision), a.Entry.ID.Compare(b.Entry.ID))
	})
	l.findNewest()
	gone := l.needed()
	for _, d := range l.usable {
		switch s := d.Entry.Segment; {
		case d == l.newest:
			d.keep("newest of its timeline")
		case s.To.Before(l.since) && s.Last <= gone:
			d.Fate, d.Reason = Delete, "older than archive.keep_within, "+coarse(l.within)
		case s.To.Before(l.since):
			d.keep("leads on to what archive.keep_within keeps")
		default:
			d.keep("archive.keep_within")
		}
	}
	l.judgeMerged()
}

// findNewest finds the segment with which the archive goes on, for whoever writes it.
func (l *line) findNewest() {
	for _, d := range l.usable {
		if l.newest == nil || reachesFurther(d.Entry.Segment, l.newest.Entry.Segment) {
			l.newest = d
		}
	}
}

func reachesFurther(a, b *repo.Segment) bool {
	return cmp.Or(cmp.Compare(a.Last, b.Last), a.To.Compare(b.To), cmp.Compare(a.Object.SHA256, b.Object.SHA256)) > 0
}

// judgeMerged lets go what a merged segment takes the place of. One that is merged itself stays until nothing is left of what it was made
// of: were it gone, nobody could tell that those may go.
func (l *line) judgeMerged() {
	named := make(map[string][]*SegmentDecision) // by the hash in the name
	for _, d := range l.all {
		named[d.Entry.Name.Hash] = append(named[d.Entry.Name.Hash], d)
	}
	sources := make(map[*SegmentDecision][]*SegmentDecision)
	for _, d := range l.usable {
		sources[d] = sourcesOf(d, named)
	}
	for _, by := range l.usable {
		if at := by.Entry.Record.Modified; by.Fate == Delete || at.IsZero() || l.now.Sub(at) <= mergedAge {
			continue
		}
		for _, d := range sources[by] {
			if own, mine := sources[d]; mine && len(own) == 0 && d != l.newest && d.replacedBy(by.Entry) {
				d.Fate, d.Reason, d.By = Delete, "merged into "+by.Entry.Name.String(), by.Entry
			}
		}
	}
}

// sourcesOf are the segments that a merged one was made of and that are still there, or may be: what was read and is none does not count,
// for anybody who can write to the bucket can give it such a name, and it never goes.
func sourcesOf(merged *SegmentDecision, named map[string][]*SegmentDecision) []*SegmentDecision {
	s := merged.Entry.Segment
	if s.Merged == nil {
		return nil
	}
	var found []*SegmentDecision
	for _, hash := range s.Merged.Segments {
		for _, d := range named[hash] {
			if s.Replaces(d.Entry.Name) && (d.Entry.Segment != nil || d.Entry.State == repo.StateUnread || d.Entry.State == repo.StateUnreadable) {
				found = append(found, d)
			}
		}
	}
	return found
}

// replacedBy reports whether a merged segment that names this one holds its time as well, and is the better choice of several: the
// smallest, which is the least to read.
func (d *SegmentDecision) replacedBy(by *repo.SegmentEntry) bool {
	e := d.Entry
	switch {
	case d.Fate == Delete && d.By == nil:
		return false // for its age
	case by.Segment.From.After(e.Segment.From), by.Segment.To.Before(e.Segment.To), by.Segment.EtcdClusterID != e.Segment.EtcdClusterID:
		return false
	}
	return d.By == nil || by.Segment.Object.Size < d.By.Segment.Object.Size
}
