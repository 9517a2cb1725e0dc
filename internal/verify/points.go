package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
)

// windowParts is into how many parts the restore window is divided: a run takes a revision of the part that was tried longest ago, so
// that a week of daily runs comes through all of it.
const windowParts = 7

// points chooses archived revisions of a target: the newest, one of the rest of the window, and what cannot be restored as far as is
// known. There are none where nothing was archived, and none that no key here opens.
func (r *Runner) points(ctx context.Context, v *view) ([]drill.Point, error) {
	held, err := restore.ReadHistory(ctx, v.target.Repo, v.catalogue, r.cfg.Trust, r.cfg.Now())
	archived := func(e repo.SegmentEntry) bool { return e.State != repo.StateIncomplete }
	if err != nil || held == nil || !slices.ContainsFunc(held.Segments, archived) {
		return nil, err
	}
	latest, err := held.History.Latest()
	if err != nil {
		return nil, nil //nolint:nilerr // the drill of the snapshots says what is wrong with them
	}
	a := &holding{Runner: r, view: v, Holding: held, latest: latest}
	var chosen []drill.Point
	if p, ok := a.newest(); ok {
		chosen = append(chosen, p)
	}
	chosen = append(chosen, a.older(rand.New(rand.NewPCG(rand.Uint64(), 0)))...)
	a.warn()
	if len(chosen) == 0 && len(held.Segments) > 0 {
		r.cfg.Log.Info("no archived revision is tried: nothing was archived after the newest snapshot, or no key here opens what was", "target", v.target.Name)
	}
	return chosen, nil
}

// holding is what a target holds of the archive, to choose from.
type holding struct {
	*Runner
	*view
	*restore.Holding
	latest *archive.Chain
}

func (a *holding) point(kind string, revision int64, near *repo.Entry) drill.Point {
	return drill.Point{Kind: kind, Revision: revision, Timeline: a.Timeline, Near: near.ID}
}

// newest is the newest revision that was archived, be it that nothing leads to it, which is to be found out.
func (a *holding) newest() (drill.Point, bool) {
	beyond := a.latest.High
	for i := range a.Segments {
		if e := &a.Segments[i]; e.Usable(false) {
			beyond = max(beyond, e.Segment.Last)
		}
	}
	if !a.opens(a.latest) || beyond == a.latest.High && len(a.latest.Segments) == 0 {
		return drill.Point{}, false
	}
	return a.point(proof.PointNewest, beyond, a.latest.Base), true
}

// older are a revision of the part of the window that was tried longest ago, and after it what is known to be bad: the last word on the
// older points is that one's. Beside the other it keeps none from being tried.
func (a *holding) older(random *rand.Rand) []drill.Point {
	var chosen []drill.Point
	window := a.History.Window()
	bad, isBad := a.bad(window)
	for _, n := range a.rotated(window, random) {
		chain, err := a.History.AtRevision(n)
		if err == nil && a.opens(chain) {
			if !isBad || n != bad.Revision {
				chosen = append(chosen, a.point(proof.PointOlder, n, chain.Base))
			}
			break
		}
	}
	if isBad {
		chosen = append(chosen, bad)
	}
	return chosen
}

// bad is what could not be restored the last time, or else what a segment that cannot be used holds and nothing else.
func (a *holding) bad(window []archive.Range) (drill.Point, bool) {
	for _, s := range a.history.ArchiveFailed() {
		if s.Archived.Kind != proof.PointOlder || s.Archived.Timeline != a.Timeline {
			continue
		}
		if p, ok := a.again(&s.Archived, window[0].First); ok {
			return p, true
		}
	}
	if e := a.unusable(window); e != nil {
		return a.point(proof.PointOlder, e.Name.Last, a.near(e.Name.Last)), true
	}
	return drill.Point{}, false
}

// again is a point that failed, unless it left the window meanwhile, or nothing that somebody trusted has signed goes as far.
func (a *holding) again(failed *proof.Archived, first int64) (drill.Point, bool) {
	n := failed.Revision
	if n == 0 && failed.At != nil { // which revision that was could not be found out
		chain, err := a.History.AtTime(*failed.At)
		if err != nil {
			return drill.Point{}, false
		}
		p := a.point(proof.PointOlder, 0, chain.Base)
		p.At = *failed.At
		return p, true
	}
	return a.point(proof.PointOlder, n, a.near(n)), n > 0 && n >= first && n <= a.furthest()
}

// furthest is the newest revision that anything names which somebody trusted has signed, be it that it cannot be used.
func (a *holding) furthest() int64 {
	far := a.latest.High
	for i := range a.catalogue.Entries {
		if e := &a.catalogue.Entries[i]; e.Restorable(false) && e.Manifest.Timeline == a.Timeline {
			far = max(far, e.Manifest.Revision)
		}
	}
	for i := range a.Segments {
		if e := &a.Segments[i]; e.Segment != nil {
			far = max(far, e.Segment.Last)
		}
	}
	return far
}

// near is the newest snapshot at or below a revision, or else the oldest.
func (a *holding) near(revision int64) *repo.Entry {
	var near *repo.Entry
	for i := range a.catalogue.Entries {
		e := &a.catalogue.Entries[i]
		if !e.Restorable(false) || e.Manifest.Timeline != a.Timeline {
			continue
		}
		if near == nil || e.Manifest.Revision <= revision && e.Manifest.Revision >= near.Manifest.Revision {
			near = e
		}
	}
	return near // never nil: the newest snapshot of the timeline can be restored
}

// unusable is the newest segment within the window that somebody trusted has signed, that cannot be used, and that holds what nothing
// else does. A record that nobody trusted has signed says nothing: anybody who can write to the target chooses its name.
func (a *holding) unusable(window []archive.Range) *repo.SegmentEntry {
	for i := len(a.Segments) - 1; i >= 0; i-- {
		e := &a.Segments[i]
		if e.Segment == nil || e.Usable(false) {
			continue
		}
		n := e.Name.Last
		reached := slices.ContainsFunc(window, func(w archive.Range) bool { return w.First <= n && n <= w.Last })
		if n >= e.Name.First && n >= window[0].First && !reached {
			return e
		}
	}
	return nil
}

// warn names what no drill is made of: records that were changed, or that nobody trusted has signed.
func (a *holding) warn() {
	var one *repo.SegmentEntry
	count := 0
	for i := range a.Segments {
		switch e := &a.Segments[i]; e.State {
		case repo.StateUnsigned, repo.StateBadSignature, repo.StateExpiredSigner, repo.StateUnknownSigner, repo.StateBadManifest:
			if a.cfg.OwnOnly && e.State == repo.StateUnknownSigner {
				continue // of the other nodes
			}
			count, one = count+1, e
		}
	}
	if count > 0 {
		a.cfg.Log.Warn("records of the archive count for nothing: they were changed, or nobody trusted has signed them",
			"target", a.target.Name, "records", count, "segment", one.Name.String(), "state", one.State, "error", one.Problem)
	}
}

// rotated are revisions of all parts of the window, one of each: that of the part first that was tried longest ago.
func (a *holding) rotated(window []archive.Range, random *rand.Rand) []int64 {
	var revisions int64
	for _, w := range window {
		revisions += w.Last - w.First + 1
	}
	type part struct {
		revision int64
		tried    time.Time
	}
	at := func(n int64) int64 { // the n-th revision that can be restored
		for _, w := range window {
			if size := w.Last - w.First + 1; n >= size {
				n -= size
			} else {
				return w.First + n
			}
		}
		return window[len(window)-1].Last
	}
	bound := func(i int64) int64 { return revisions/windowParts*i + revisions%windowParts*i/windowParts }
	var parts []part
	for i := range int64(windowParts) {
		low, high := bound(i), bound(i+1)
		if low == high {
			continue
		}
		p := part{revision: at(low + random.Int64N(high-low))}
		first, last := at(low), at(high-1)
		a.history.Tried(proof.PointOlder, a.Timeline, func(revision int64, when time.Time) {
			if first <= revision && revision <= last {
				p.tried = when
			}
		})
		parts = append(parts, p)
	}
	random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	slices.SortStableFunc(parts, func(x, y part) int { return x.tried.Compare(y.tried) })
	var out []int64
	for _, p := range parts {
		out = append(out, p.revision)
	}
	return out
}

// opens reports whether this host has a key for each object of a chain.
func (a *holding) opens(c *archive.Chain) bool {
	if !a.canOpen(c.Base) {
		return false
	}
	return !slices.ContainsFunc(c.Segments, func(e *repo.SegmentEntry) bool {
		return a.cfg.CanOpenSegment != nil && !a.cfg.CanOpenSegment(e.Segment)
	})
}

// asked is the one point of a request.
func (r *Runner) asked(v *view, req Request) (drill.Point, error) {
	p := drill.Point{Kind: proof.PointOlder, Revision: req.Revision, At: req.At.UTC().Truncate(time.Second), Asked: true}
	newest, err := v.catalogue.Latest(r.cfg.Now(), false)
	if err != nil {
		return p, err
	}
	p.Near = newest.ID
	return p, nil
}

// levelOf is the level of a drill of an archived revision that goes as far as one of a snapshot.
func levelOf(l proof.Level) proof.Level {
	if l == proof.LevelData {
		return proof.LevelArchiveData
	}
	return proof.LevelArchive
}

// checkPoint refuses a request that contradicts itself, or asks for what is still to come.
func (req Request) checkPoint(now time.Time) error {
	switch named := req.Revision != 0 || !req.At.IsZero(); {
	case req.Revision < 0:
		return fmt.Errorf("%w: revision %d is below 1", ErrRequest, req.Revision)
	case req.Revision != 0 && !req.At.IsZero():
		return fmt.Errorf("%w: a revision and a time exclude each other", ErrRequest)
	case req.At.After(now):
		return fmt.Errorf("%w: %s lies in the future", ErrRequest, req.At.UTC().Format(time.RFC3339))
	case named && req.ID != "":
		return hint.New(fmt.Errorf("%w: a snapshot and a point of the archive exclude each other", ErrRequest), "leave the ID out: what leads to the point is found")
	}
	return nil
}

// ErrRequest is wrapped by what is wrong with a Request in itself.
var ErrRequest = errors.New("not a point to try")
