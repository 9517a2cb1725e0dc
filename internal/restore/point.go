package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// aim is what a request comes to: the objects that its point is restored from.
type aim struct {
	chain *archive.Chain // never nil
	past
	// history is what else there is to restore the same point from; nil: nothing. list makes one that reaches further back.
	history *archive.History
	list    func(ctx context.Context, after int64) (*archive.History, *archives)
	found   *archives // nil: the archive was not asked
	// earlier is how long before the time that was asked for the point lies at most: more than 0 only where nothing was archived.
	earlier time.Duration
}

// whole is a snapshot as it is.
func whole(e *repo.Entry) *archive.Chain {
	return &archive.Chain{Base: e, Low: e.Manifest.Revision, High: e.Manifest.Revision}
}

// choose finds what a request asks for. A snapshot that is named is restored as it is. Everything else lies on one
// timeline: that of the named snapshot, of the newest one, or of the newest that was there at the time asked for.
func (f *finding) choose(ctx context.Context, looks []look, trust *seal.Trust, req Request, now time.Time) error {
	start, err := startOf(f.all, req, now)
	if err != nil {
		return err
	}
	f.chain = whole(start)
	if req.ID != "" && req.Revision == 0 && req.At.IsZero() {
		if !req.looksBack() {
			return nil
		}
		req.Revision = start.Manifest.Revision
	}
	entries := eligible(f.all, start, req, now)
	timeline := start.Manifest.Timeline
	f.list = func(ctx context.Context, after int64) (*archive.History, *archives) {
		found := lookIntoArchives(ctx, looks, repo.SegmentQuery{Timeline: timeline, After: after}, trust, req.InsecureSkipSignature)
		return archive.NewHistory(timeline, entries, found.merged, req.InsecureSkipSignature), found
	}
	if req.Revision != 0 { // most often a snapshot holds it, and nothing else need be read
		h := archive.NewHistory(timeline, entries, nil, req.InsecureSkipSignature)
		if chain, err := h.AtRevision(req.Revision); err == nil && req.SinceAt.IsZero() {
			f.chain, f.history = chain, h
			if f.lookBack(req) == nil {
				return nil
			}
		}
	}
	f.history, f.found = f.list(ctx, readFrom(entries, start, req))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(f.found.looks) == 0 {
		return hint.New(errors.New("what was archived is not known"), "a snapshot needs no archive: --id %s", start.ID)
	}
	return f.reach(start, req)
}

// reach finds the chain to the point.
func (f *finding) reach(start *repo.Entry, req Request) error {
	var err error
	switch {
	case req.Revision != 0:
		err = f.toRevision(req.Revision)
	case !req.At.IsZero():
		err = f.toTime(start, req.At)
	default:
		err = f.toNewest(start)
	}
	if err == nil {
		err = f.lookBack(req)
	}
	told := new(outOfReach)
	if gap := new(archive.Unreachable); errors.As(err, &gap) && !errors.As(err, &told) {
		return newOutOfReach(f, gap, req)
	}
	return err
}

func (f *finding) toRevision(revision int64) error {
	chain, err := f.history.AtRevision(revision)
	if err == nil {
		f.chain = chain
	}
	return err
}

// toTime finds the chain to a time. Where nothing was ever archived after the newest snapshot of that time, it is that snapshot.
func (f *finding) toTime(start *repo.Entry, at time.Time) error {
	chain, err := f.history.AtTime(at)
	if err == nil {
		f.chain = chain
		return nil
	}
	if m := start.Manifest; !m.CaptureEnd.After(at) && f.found.nothingBetween(m.Revision, at) {
		f.earlier = max(1, at.Sub(m.CaptureStart)) // the snapshot is of some moment of its capture
		return nil
	}
	return err
}

// toNewest finds the chain to the newest revision that was archived. Where something is there that it does not reach, that is
// an error: whoever asks for the newest must be told that it is not what they get.
func (f *finding) toNewest(start *repo.Entry) error {
	chain, err := f.history.Latest()
	if err != nil {
		return err
	}
	if beyond := f.found.newest(); beyond > chain.High {
		return f.toRevision(beyond)
	}
	if n := f.found.unreadBeyond(chain.High); n > 0 {
		err := fmt.Errorf("%s with revisions above %d were not read, they are too many: what is the newest is not known", segments(n), chain.High)
		return hint.New(err, "restore what is known: --revision %d", chain.High)
	}
	if chain.High > start.Manifest.Revision {
		f.chain = chain
	}
	return nil
}

// startOf is the snapshot that decides on the timeline.
func startOf(all *repo.Catalogue, req Request, now time.Time) (*repo.Entry, error) {
	switch {
	case req.ID != "":
		return named(all, req)
	case req.At.IsZero():
		return all.Latest(now, req.InsecureSkipSignature)
	}
	then := &repo.Catalogue{Location: all.Location, Cluster: all.Cluster, Read: all.Read}
	for _, e := range all.Entries {
		if m := e.Manifest; m != nil && !m.CaptureEnd.After(req.At) {
			then.Entries = append(then.Entries, e)
		}
	}
	e, err := then.Latest(now, req.InsecureSkipSignature)
	if err != nil && len(all.Entries) > 0 {
		err = fmt.Errorf("%w: no snapshot was there by %s", repo.ErrNothing, req.At.Format(time.RFC3339))
		if first := firstRestorable(all, req); first != nil {
			return nil, hint.New(err, "the oldest is of %s: --id %s", first.Manifest.CaptureEnd.Format(time.RFC3339), first.ID)
		}
		return nil, hint.New(err, "run `drd list` to see what is there")
	}
	return e, err
}

func firstRestorable(all *repo.Catalogue, req Request) *repo.Entry {
	for i := range all.Entries {
		if e := &all.Entries[i]; e.Restorable(req.InsecureSkipSignature) {
			return e
		}
	}
	return nil
}

func named(all *repo.Catalogue, req Request) (*repo.Entry, error) {
	e, err := all.Find(req.ID)
	if err != nil {
		return nil, err
	}
	if !e.Restorable(req.InsecureSkipSignature) {
		err := fmt.Errorf("snapshot %s cannot be restored: it is %s", e.ID, e.State)
		if e.Problem != nil {
			err = fmt.Errorf("%w: %w", err, e.Problem)
		}
		return nil, hint.New(err, "run `drd list` to see which can")
	}
	return e, nil
}

// eligible are the snapshots that a chain may begin with: the named one alone, or all that are not dated in the future.
func eligible(all *repo.Catalogue, start *repo.Entry, req Request, now time.Time) []repo.Entry {
	if req.ID != "" {
		return []repo.Entry{*start}
	}
	future := make(map[repo.ID]bool)
	for _, e := range all.Future(now) {
		future[e.ID] = true
	}
	var out []repo.Entry
	for _, e := range all.Entries {
		if !future[e.ID] {
			out = append(out, e)
		}
	}
	return out
}

// readFrom is the revision after which segments are of use. Those before the nearest snapshot are not: that there may be
// thousands is why they are not read.
func readFrom(entries []repo.Entry, start *repo.Entry, req Request) int64 {
	from := start.Manifest.Revision
	if !req.At.IsZero() && start.Manifest.CaptureStart.After(req.At) {
		from = start.Manifest.CompactRevision // a named snapshot, to be cut back
	}
	newest := func(by func(m *repo.Manifest) bool) (revision int64) {
		for i := range entries {
			e := &entries[i]
			if e.Restorable(req.InsecureSkipSignature) && e.Manifest.Timeline == start.Manifest.Timeline && by(e.Manifest) {
				revision = max(revision, e.Manifest.Revision)
			}
		}
		return revision
	}
	if req.Revision != 0 {
		from = newest(func(m *repo.Manifest) bool { return m.Revision <= req.Revision })
	}
	switch {
	case req.Since != 0:
		from = min(from, newest(func(m *repo.Manifest) bool { return m.Revision <= req.Since }))
	case !req.SinceAt.IsZero():
		from = min(from, newest(func(m *repo.Manifest) bool { return !m.CaptureEnd.After(req.SinceAt) }))
	}
	return max(0, from-1)
}

// aimWithin is the aim of a request that means one snapshot and nothing else.
func aimWithin(e *repo.Entry, req Request) (aim, error) {
	if req.Revision == 0 {
		return aim{chain: whole(e)}, nil
	}
	h := archive.NewHistory(e.Manifest.Timeline, []repo.Entry{*e}, nil, false)
	chain, err := h.AtRevision(req.Revision)
	return aim{chain: chain}, err
}
