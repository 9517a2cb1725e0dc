package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
)

// Point is an archived revision to try.
type Point struct {
	Kind     string    // proof.PointNewest or proof.PointOlder
	Revision int64     // 0: At says when
	At       time.Time // to the second; zero: Revision says which
	Timeline string    // where Revision was found; "": not known
	// Near is a snapshot that is there, for the record of a drill that finds no way to the point.
	Near repo.ID
	// Asked says that somebody named the point: that nothing leads to it is then told to them, and is no failure of the archive.
	Asked bool
}

// DrillPoint is Drill for an archived revision, at proof.LevelArchive or proof.LevelArchiveData. It fetches from the target, and from nowhere
// else, the snapshot and the segments that a restore would take, and takes no other way where one of them is not what it should be.
//
// An error says that there is no way to a point that was asked for: it wraps repo.ErrNothing, or is a *restore.RequestError.
func (d *Driller) DrillPoint(ctx context.Context, t Target, p Point, level proof.Level, previous *proof.Kubernetes, w Watcher) (proof.Drill, error) {
	if w == nil {
		w = silent{}
	}
	a := &attempt{d: d, target: t, id: p.Near, previous: previous, watch: w, begin: time.Now(), point: &p}
	a.out = proof.Drill{
		Snapshot: p.Near.String(), CapturedAt: p.Near.Time.UTC(), Revision: p.Near.Revision, Level: level, Started: d.cfg.Now().UTC(),
		Archived: &proof.Archived{Kind: p.Kind, Timeline: p.Timeline, Revision: p.Revision},
	}
	if !p.At.IsZero() {
		at := p.At.UTC()
		a.out.Archived.At = &at
	}
	nothing := a.runPoint(ctx)
	a.out.Seconds = time.Since(a.begin).Seconds()
	d.cfg.Log.Info("drill", "host", d.cfg.Host, "drd", d.cfg.Build.Version, "target", t.Name, "snapshot", a.out.Snapshot, "level", level,
		"revision", a.out.Archived.Revision, "outcome", a.out.Outcome, "cause", a.out.Cause, "seconds", a.out.Seconds)
	return a.out, nothing
}

// runPoint is run for an archived revision.
func (a *attempt) runPoint(ctx context.Context) (nothing error) {
	defer a.finish(ctx)
	if !a.open(ctx) {
		return nil
	}
	if nothing = a.findWay(ctx); a.over() {
		return nothing
	}
	restored := a.look(ctx) && a.sameBase(ctx) && a.checkChain(ctx) && a.listed(ctx) && a.checkWay(ctx) &&
		a.findKeys(ctx) && a.findSegmentKeys(ctx) && a.restore(ctx)
	a.serve(ctx, restored)
	return nil
}

// findWay plans as a restore does. What nothing leads to is a failure of the archive, unless somebody has just asked for it.
func (a *attempt) findWay(ctx context.Context) (nothing error) {
	a.check(ctx, CheckPlan, func(c *proof.Check) error {
		exact, err := restore.BumpBy(0)
		if err != nil {
			return err
		}
		req := a.request(exact)
		req.Revision, req.At = a.point.Revision, a.point.At
		a.way, err = restore.MakePlan(ctx, []restore.Source{a.origin()}, a.d.cfg.Trust, req, a.d.cfg.Now())
		if err != nil {
			return a.noWay(err, &nothing)
		}
		base, _ := a.way.Objects()
		a.id = base.ID
		a.out.Snapshot = base.ID.String()
		a.describeWay()
		c.Found = fmt.Sprintf("snapshot %s and %d segments", base.ID, a.out.Archived.Segments)
		return nil
	})
	return nothing
}

// noWay says what it means that there is no plan.
func (a *attempt) noWay(err error, nothing *error) error {
	request := new(restore.RequestError)
	switch {
	case !errors.Is(err, repo.ErrNothing) && !errors.As(err, &request):
		return unsure{err} // the target was not read whole, or this machine has no room
	case a.point.Asked:
		*nothing = err
		return unsure{err}
	}
	return err
}

// sameBase sees that the snapshot is still the one that the plan was made with.
func (a *attempt) sameBase(ctx context.Context) bool {
	base, _ := a.way.Objects()
	if a.entry.Digest == base.Digest {
		return true
	}
	return a.record(ctx, proof.Check{Name: a.next()}, unsuref("snapshot %s was replaced during the drill", a.id))
}

// findSegmentKeys asks for what opens each of the segments.
func (a *attempt) findSegmentKeys(ctx context.Context) bool {
	base, segments := a.way.Objects()
	a.keys = map[string][]age.Identity{a.target.Repo.PayloadKey(base.ID, base.Manifest.Object.Name): a.ids}
	for _, e := range segments {
		ids, kind, err := []age.Identity(nil), "", ErrNoKey
		if a.d.cfg.SegmentKeys != nil {
			ids, kind, err = a.d.cfg.SegmentKeys(ctx, a.target.Repo, e.Segment)
		}
		if err != nil {
			return a.record(ctx, proof.Check{Name: CheckSegmentContent}, unsuref("find a key of segment %s: %w", e.Name, err))
		}
		a.keys[a.target.Repo.SegmentPayloadKey(e.Segment)] = ids
		if kind != a.out.OpenedWith && kind != "" {
			a.out.OpenedWith = "several kinds of keys"
		}
	}
	return true
}

// keyOf is restore.Options.Keys.
func (a *attempt) keyOf(_ context.Context, key string) ([]age.Identity, error) {
	if ids, known := a.keys[key]; known {
		return ids, nil
	}
	return nil, fmt.Errorf("%s: %w", key, ErrNoKey)
}

// judgeBase says in the record of an archived revision what the checks of its snapshot came to.
func (a *attempt) judgeBase() {
	if a.out.Archived == nil || a.out.Archived.Base != "" {
		return
	}
	for _, c := range a.out.Checks {
		if c.Outcome == proof.Failed || c.Outcome == proof.Inconclusive {
			for _, name := range dataChecks {
				if c.Name == name {
					a.out.Archived.Base = c.Outcome
				}
			}
			return
		}
	}
}
