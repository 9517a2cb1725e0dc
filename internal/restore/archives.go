package restore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// archives is what the sources hold of the archive of one timeline.
type archives struct {
	looks  []archiveLook
	merged []repo.SegmentEntry // each segment once: the first that can be used, or the first
	failed []error             // of sources that could not be read
}

// archiveLook is what one source holds.
type archiveLook struct {
	source  Source
	entries map[repo.SegmentName]repo.SegmentEntry
}

// lookIntoArchives asks all sources whose snapshots could be read, at the same time.
func lookIntoArchives(ctx context.Context, looks []look, q repo.SegmentQuery, trust *seal.Trust, insecure bool) *archives {
	if insecure {
		trust = nil // what a look with trust refuses it does not keep
	}
	answers := make([]*repo.Segments, len(looks))
	errs := make([]error, len(looks))
	var wg sync.WaitGroup
	for i, l := range looks {
		if l.err == nil {
			wg.Go(func() { answers[i], errs[i] = l.source.Repo.ListSegments(ctx, q, trust) })
		}
	}
	wg.Wait()
	a := &archives{}
	for i, l := range looks {
		switch {
		case errs[i] != nil:
			a.failed = append(a.failed, fmt.Errorf("%s: %w", l.source.Name, errs[i]))
		case answers[i] != nil:
			a.add(l.source, answers[i].Entries, insecure)
		}
	}
	return a
}

func (a *archives) add(s Source, entries []repo.SegmentEntry, insecure bool) {
	l := archiveLook{source: s, entries: make(map[repo.SegmentName]repo.SegmentEntry, len(entries))}
	for _, e := range entries {
		l.entries[e.Name] = e
		i := slices.IndexFunc(a.looks, func(other archiveLook) bool { _, known := other.entries[e.Name]; return known })
		if i < 0 {
			a.merged = append(a.merged, e)
		}
	}
	a.looks = append(a.looks, l)
	if len(a.looks) == 1 {
		return
	}
	for i := range a.merged {
		m := &a.merged[i]
		if e, known := l.entries[m.Name]; known && !m.Usable(insecure) && e.Usable(insecure) {
			*m = e
		}
	}
}

// locate lists the sources that hold a segment with the very same manifest.
func (a *archives) locate(e *repo.SegmentEntry, insecure bool) []Source {
	var found []Source
	for _, l := range a.looks {
		if other, ok := l.entries[e.Name]; ok && other.Digest == e.Digest && other.Usable(insecure) {
			found = append(found, l.source)
		}
	}
	return found
}

// newest is the highest revision that a segment is known to hold or, where the store did not hand out its record, may hold.
func (a *archives) newest() int64 {
	var highest int64
	for i := range a.merged {
		if e := &a.merged[i]; e.Segment != nil || e.State == repo.StateUnreadable {
			highest = max(highest, e.Name.Last)
		}
	}
	return highest
}

// nothingBetween reports whether it is sure that nothing was archived after a revision until a time.
func (a *archives) nothingBetween(revision int64, at time.Time) bool {
	if len(a.failed) > 0 {
		return false
	}
	return !slices.ContainsFunc(a.merged, func(e repo.SegmentEntry) bool {
		switch {
		case e.State == repo.StateIncomplete || e.Name.Last < revision:
			return false
		case e.State == repo.StateUnsigned || e.State == repo.StateBadSignature:
			return false // no node wrote that; anybody who can write to the bucket can
		case e.Segment == nil:
			return true // nobody knows
		}
		return !e.Segment.From.After(at)
	})
}

// unreadBeyond is how many segments that were only listed say by their names that they go beyond a revision.
func (a *archives) unreadBeyond(revision int64) (n int) {
	for i := range a.merged {
		if e := &a.merged[i]; e.State == repo.StateUnread && e.Name.Last > revision {
			n++
		}
	}
	return n
}

// unread is how many segments were only listed: those of the highest revisions are read, up to a bound.
func (a *archives) unread() (n int) {
	for i := range a.merged {
		if a.merged[i].State == repo.StateUnread {
			n++
		}
	}
	return n
}
