package restore

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

const (
	// moreAtFirst is how many segments are read beside those that seem to lead on, when some of these were no good. It doubles each time,
	// so that a thousand planted names cost a few rounds and not a thousand.
	moreAtFirst = 64
	// endsAtOnce is how many of the segments that end at the newest revision are read at once, those that were stored last first. A
	// quiet cluster has one a minute.
	endsAtOnce = 64
	// clocksApart is how far the clock of a writer may be ahead of the store's. What was stored longer than that before an instant
	// does not tell of a later one.
	clocksApart = time.Hour
)

// way is how an archive goes on, as far as it is known. It takes segments that were only listed, and reads some commit records.
//
// By their names segments say which revisions they hold. So it reads those only that lead on, each as far as possible, those that end
// where the last of them does, and the last one behind a hole: a merged segment spares the ones that it was made of. A segment that
// cannot be used leads nowhere, whatever its name says.
type way struct {
	repo     *repo.Repository
	trust    *seal.Trust
	segments []*repo.SegmentEntry // by first revision
	newest   []*repo.SegmentEntry // those of the highest revisions, which are read from the store, whatever a bucket remembers
}

func newWay(r *repo.Repository, listed []repo.SegmentEntry, trust *seal.Trust) *way {
	w := &way{repo: r, trust: trust}
	for i := range listed {
		w.segments = append(w.segments, &listed[i])
	}
	newest := unread(slices.Clone(w.segments))
	slices.SortStableFunc(newest, func(a, b *repo.SegmentEntry) int {
		return cmp.Or(cmp.Compare(b.Name.Last, a.Name.Last), cmp.Compare(b.Name.First, a.Name.First), b.Record.Modified.Compare(a.Record.Modified))
	})
	w.newest = newest[:min(repo.AlwaysRead, len(newest))]
	return w
}

// readOn reads what tells how the archive goes on behind a revision.
func (w *way) readOn(ctx context.Context, revision int64) error {
	reached, err := w.find(ctx, revision)
	if err == nil {
		err = w.readEnds(ctx, reached)
	}
	if err == nil {
		err = w.readBeyond(ctx, reached)
	}
	return err
}

// hopeful says whether a segment can be used, or nobody has looked yet.
func hopeful(e *repo.SegmentEntry) bool { return e.State == repo.StateUnread || e.Usable(false) }

func unread(all []*repo.SegmentEntry) []*repo.SegmentEntry {
	return slices.DeleteFunc(all, func(e *repo.SegmentEntry) bool { return e.State != repo.StateUnread })
}

// find reads what leads on from a revision until all of it can be used, and returns the revision that it leads to. What was not read
// does not lead further: the names were all believed until then.
func (w *way) find(ctx context.Context, from int64) (reached int64, err error) {
	for more := 0; ; more = max(moreAtFirst, 2*more) {
		path, reached := w.path(from)
		wanted := unread(path)
		if len(wanted) == 0 {
			return reached, nil
		}
		if more > 0 {
			wanted = append(wanted, w.furthest(more)...)
		}
		if err := w.read(ctx, wanted); err != nil {
			return 0, err
		}
	}
}

// path is what leads on furthest in the fewest steps.
func (w *way) path(from int64) (path []*repo.SegmentEntry, reached int64) {
	reached = from
	var best *repo.SegmentEntry
	next := 0
	for reached < math.MaxInt64 {
		for ; next < len(w.segments) && w.segments[next].Name.First <= reached+1; next++ {
			if e := w.segments[next]; hopeful(e) && (best == nil || e.Name.Last > best.Name.Last || e.Name.Last == best.Name.Last && e.Name.First > best.Name.First) {
				best = e
			}
		}
		if best == nil || best.Name.Last <= reached {
			break
		}
		path, reached = append(path, best), best.Name.Last
	}
	return path, reached
}

// furthest are unread segments of the highest revisions, which somebody may have planted to be read first.
func (w *way) furthest(n int) []*repo.SegmentEntry {
	all := unread(w.byLast())
	return all[:min(n, len(all))]
}

// readEnds reads the segments that end with a revision, the last ones first, until the rest cannot tell of a later instant.
func (w *way) readEnds(ctx context.Context, revision int64) error {
	ends := slices.DeleteFunc(slices.Clone(w.segments), func(e *repo.SegmentEntry) bool { return e.Name.Last != revision || !hopeful(e) })
	slices.SortStableFunc(ends, func(a, b *repo.SegmentEntry) int { return b.Record.Modified.Compare(a.Record.Modified) })
	var newest time.Time
	for some := range slices.Chunk(ends, endsAtOnce) {
		if some[0].Record.Modified.Add(clocksApart).Before(newest) {
			return nil
		}
		if err := w.read(ctx, unread(slices.Clone(some))); err != nil {
			return err
		}
		for _, e := range some {
			if e.Usable(false) {
				newest = later(newest, e.Segment.To)
			}
		}
	}
	return nil
}

// readBeyond reads the last segments that hold something behind a revision, until one of them can be used: where there is one, the archive
// has a hole.
func (w *way) readBeyond(ctx context.Context, revision int64) error {
	beyond := w.byLast()
	beyond = beyond[:sort.Search(len(beyond), func(i int) bool { return beyond[i].Name.Last <= revision })]
	for some := range slices.Chunk(beyond, endsAtOnce) {
		if err := w.read(ctx, unread(slices.Clone(some))); err != nil {
			return err
		}
		if i := slices.IndexFunc(some, func(e *repo.SegmentEntry) bool { return e.Usable(false) }); i >= 0 {
			return w.readEnds(ctx, some[i].Name.Last)
		}
	}
	return nil
}

// byLast are the segments that were read or may be, those of the highest revisions first.
func (w *way) byLast() []*repo.SegmentEntry {
	all := slices.DeleteFunc(slices.Clone(w.segments), func(e *repo.SegmentEntry) bool { return !hopeful(e) })
	slices.SortStableFunc(all, func(a, b *repo.SegmentEntry) int { return cmp.Compare(b.Name.Last, a.Name.Last) })
	return all
}

// read reads segments, each once.
func (w *way) read(ctx context.Context, segments []*repo.SegmentEntry) error {
	slices.SortFunc(segments, func(a, b *repo.SegmentEntry) int {
		return cmp.Or(cmp.Compare(a.Name.First, b.Name.First), cmp.Compare(a.Name.Last, b.Name.Last), cmp.Compare(a.Name.Hash, b.Name.Hash))
	})
	var anew, rest []*repo.SegmentEntry
	for _, e := range slices.Compact(segments) {
		if slices.Contains(w.newest, e) {
			anew = append(anew, e)
		} else {
			rest = append(rest, e)
		}
	}
	if err := w.repo.ReadSegments(storage.Anew(ctx), anew, w.trust); err != nil {
		return err
	}
	return w.repo.ReadSegments(ctx, rest, w.trust)
}
