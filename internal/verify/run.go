package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

const (
	// mostDrills bounds the drills of one run against one target: at a minute each it is over before the next day's.
	mostDrills = 50
	// recentOnly is how many of the newest manifests are read to find the one that has just arrived. Those before it are for
	// the case that it is damaged.
	recentOnly = 10
)

// view is what one target holds, and what was proved of it before.
type view struct {
	target    drill.Target
	catalogue *repo.Catalogue
	history   *proof.History
	unread    error // why a record could not be read; nil: all were
}

// look reads a target. A record that the store does not hand out costs a drill too many, and the count of coverage: whoever
// can plant such an object must not switch off the drills with it.
func (r *Runner) look(ctx context.Context, t drill.Target, req Request) (*view, error) {
	read := t.Repo.Catalogue
	if req.Trigger == proof.TriggerFresh {
		read = func(ctx context.Context, trust *seal.Trust) (*repo.Catalogue, error) {
			return t.Repo.Recent(ctx, trust, recentOnly)
		}
	}
	c, err := read(ctx, r.cfg.Trust)
	if err != nil {
		return nil, err
	}
	of := c.Entries
	if req.Trigger == proof.TriggerFresh {
		of = of[max(0, len(of)-recentOnly):]
	}
	h, err := proof.Read(ctx, t.Repo, r.cfg.Trust, proof.ReadOptions{
		Target: r.nameOf(t), Since: proof.Oldest(of), Limit: proof.MostRecords, Now: r.cfg.Now(),
	})
	if err != nil {
		return nil, err
	}
	v := &view{target: t, catalogue: c, history: h, unread: h.Unreadable()}
	if v.unread != nil {
		r.cfg.Log.Warn("a drill record cannot be read: the run goes on with what the others say", "target", t.Name, "error", v.unread)
	}
	return v, nil
}

func (r *Runner) nameOf(t drill.Target) proof.Target {
	return proof.Target{Name: t.Name, Location: t.Repo.Bucket().Location()}
}

// against makes the run against one target, and tells done of each snapshot as soon as it was tried and recorded: a power
// cut loses nothing that was found before. Nothing is told where nothing is left to do, or where ctx ended before anything was found out.
func (r *Runner) against(ctx context.Context, t drill.Target, req Request, done func(Result)) {
	r.flush(ctx, t)
	v, err := r.look(ctx, t, req)
	var tries []try
	if err == nil {
		tries, err = r.chooseAll(ctx, v, req)
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		done(Result{Target: t.Name, Err: err})
		return
	}
	var before []proof.Drill
	for _, one := range tries {
		if one.point != nil && !one.point.Asked && failedOlder(before) {
			continue // that it passed would take back that the other one failed
		}
		rec, err := r.try(ctx, v, one, req, before)
		switch {
		case err != nil:
			done(Result{Target: t.Name, Err: err})
			continue
		case rec == nil:
			return
		}
		before = append(before, rec.Drills...)
		done(r.record(ctx, t, rec))
	}
}

// try is what one drill is of: a snapshot, or an archived revision.
type try struct {
	id    repo.ID
	point *drill.Point // nil: the snapshot
}

// failedOlder reports whether an older archived revision has failed in this run.
func failedOlder(drills []proof.Drill) bool {
	return slices.ContainsFunc(drills, func(d proof.Drill) bool {
		return d.Level.Archive() && d.Archived.Kind == proof.PointOlder && d.Outcome == proof.Failed
	})
}

// chooseAll says what is tried, in order: snapshots first, for without them an archive is worth nothing. An archive that cannot be read keeps none
// of them from being tried.
func (r *Runner) chooseAll(ctx context.Context, v *view, req Request) ([]try, error) {
	if req.Revision != 0 || !req.At.IsZero() {
		p, err := r.asked(v, req)
		return []try{{point: &p}}, err
	}
	ids, err := r.choose(v, req)
	var all []try
	for _, id := range ids {
		all = append(all, try{id: id})
	}
	if err != nil || req.ID != "" || req.Trigger == proof.TriggerFresh {
		return all, err
	}
	points, err := r.points(ctx, v)
	if err != nil {
		r.cfg.Log.Warn("the archive cannot be read: no revision of it is tried", "target", v.target.Name, "error", err)
	}
	for _, p := range points {
		all = append(all, try{id: p.Near, point: &p})
	}
	return all, nil
}

// try makes one drill and its record. No record: it was given up by whoever asked, which says nothing of the snapshot; an error is
// why there was nothing to try.
func (r *Runner) try(ctx context.Context, v *view, what try, req Request, before []proof.Drill) (*proof.Record, error) {
	rec := &proof.Record{
		Kind: proof.RecordKind, Format: proof.RecordFormat, Cluster: v.target.Repo.Cluster(), Host: r.cfg.Host, Trigger: req.Trigger,
		Target: r.nameOf(v.target), Started: r.now(), Drd: r.cfg.Build,
	}
	d, err := r.drill(ctx, v, what, req)
	if ctx.Err() != nil && d.Outcome == proof.Inconclusive {
		return nil, nil //nolint:nilnil // see above
	}
	if err != nil {
		return nil, err
	}
	rec.Drills = []proof.Drill{d}
	if rec.Ended = r.now(); rec.Ended.Before(rec.Started) {
		rec.Ended = rec.Started // the clock was set back meanwhile; a record that ends before it begins would be refused
	}
	rec.ID = proof.NewID(rec.Ended, r.cfg.Host)
	r.count(v, rec, append(before[:len(before):len(before)], d), req)
	return rec, nil
}

func (r *Runner) drill(ctx context.Context, v *view, what try, req Request) (proof.Drill, error) {
	if what.point == nil {
		return r.cfg.Driller.Drill(ctx, v.target, what.id, req.Level, censusBefore(v.history, what.id.Time), req.Watcher), nil
	}
	// What an older point lacks that the last one had is no loss: there is nothing to compare it with.
	return r.cfg.Driller.DrillPoint(ctx, v.target, *what.point, levelOf(req.Level), nil, req.Watcher)
}

// censusBefore is the Kubernetes census of the newest snapshot captured before that time which was drilled: what an older
// one lacks that a newer one has is no loss. nil: there is none.
func censusBefore(h *proof.History, captured time.Time) *proof.Kubernetes {
	var newest proof.Drill
	for _, r := range h.Records() {
		if r.State != repo.StateOK {
			continue
		}
		for _, d := range r.Record.Drills {
			if d.Kubernetes != nil && !d.Level.Archive() && d.CapturedAt.Before(captured) && !d.CapturedAt.Before(newest.CapturedAt) {
				newest = d
			}
		}
	}
	return newest.Kubernetes
}

// now is in UTC, as records tell time.
func (r *Runner) now() time.Time { return r.cfg.Now().UTC().Round(0) }

// choose says which snapshots are tried, in order.
func (r *Runner) choose(v *view, req Request) ([]repo.ID, error) {
	switch {
	case req.ID != "":
		return r.named(v.catalogue, req.ID)
	case req.Trigger == proof.TriggerFresh:
		return r.fresh(v, req.Level), nil
	}
	opt := proof.SelectOptions{Now: r.cfg.Now(), CanOpen: r.canOpen, Host: r.cfg.Host, Seed: rand.Uint64(), Max: mostDrills, OwnOnly: r.cfg.OwnOnly}
	if req.Trigger == proof.TriggerSchedule && r.cfg.RunsPerPeriod > 0 {
		opt.Period, opt.RunsPerPeriod = r.cfg.CoverWithin, r.cfg.RunsPerPeriod
	}
	choices := proof.Select(v.catalogue.Entries, v.history, opt)
	if len(choices) == 0 {
		return nil, hint.New(fmt.Errorf("%w: there is no snapshot to try", repo.ErrNothing), "drd list shows what is in the target")
	}
	var ids []repo.ID
	for _, c := range choices {
		ids = append(ids, c.Entry.ID)
	}
	return ids, nil
}

// named is the one snapshot whose ID begins so.
func (r *Runner) named(c *repo.Catalogue, prefix string) ([]repo.ID, error) {
	var found []*repo.Entry
	var names []string
	for i := range c.Entries {
		e := &c.Entries[i]
		if name := e.ID.String(); name == prefix {
			return r.own(e)
		} else if strings.HasPrefix(name, prefix) {
			found, names = append(found, e), append(names, name)
		}
	}
	switch len(found) {
	case 0:
		return nil, hint.New(fmt.Errorf("%w: there is no snapshot %.80q", repo.ErrNothing, prefix), "drd list shows what is in the target")
	case 1:
		return r.own(found[0])
	}
	return nil, hint.New(fmt.Errorf("%w: %d snapshots begin with %.80q", ErrAmbiguous, len(found), prefix), "name one of %s", strings.Join(names[:min(len(names), 10)], ", "))
}

// own refuses what is not this host's to judge.
func (r *Runner) own(e *repo.Entry) ([]repo.ID, error) {
	if r.cfg.OwnOnly && e.State == repo.StateUnknownSigner {
		return nil, hint.New(fmt.Errorf("%s: %w", e.ID, ErrNotOwn), "set trust.file to the allowed signers of all nodes, or name it with --trust")
	}
	return []repo.ID{e.ID}, nil
}

// ErrNotOwn is wrapped when somebody else has signed the snapshot of a request, and nobody but this host is trusted.
var ErrNotOwn = errors.New("another key than this host's has signed it, and no other is trusted here")

// ErrAmbiguous is wrapped when several snapshots begin with the ID of a request.
var ErrAmbiguous = errors.New("not one snapshot")

// fresh is the newest snapshot, unless somebody tried it as far as this level before, or no key for it is here.
func (r *Runner) fresh(v *view, level proof.Level) []repo.ID {
	e, err := v.catalogue.Latest(r.cfg.Now(), false)
	if err != nil || !r.canOpen(e) {
		return nil
	}
	switch v.history.OfEntry(e).State {
	case proof.StateUnproven:
	case proof.StateDataProved:
		if level == proof.LevelData {
			return nil
		}
	default:
		return nil
	}
	return []repo.ID{e.ID}
}

func (r *Runner) canOpen(e *repo.Entry) bool {
	return e.Manifest != nil && (r.cfg.CanOpen == nil || r.cfg.CanOpen(e.Manifest))
}

// count tells in the record how much of the target is proved with the drills of the run so far. A run for the freshest
// snapshot has not read all of them, and where a record could not be read nobody knows.
func (r *Runner) count(v *view, rec *proof.Record, drills []proof.Drill, req Request) {
	if r.cfg.CoverWithin == 0 || req.Trigger == proof.TriggerFresh || v.unread != nil {
		return
	}
	c := r.cover(v, v.catalogue.Entries)
	for _, d := range drills {
		if d.Level.Archive() {
			continue
		}
		i := slices.IndexFunc(v.catalogue.Entries, func(e repo.Entry) bool { return e.ID.String() == d.Snapshot })
		if i < 0 {
			continue // it is gone
		}
		before := r.cover(v, v.catalogue.Entries[i:i+1])
		switch {
		case before.Restorable == 0:
		case d.Outcome == proof.Passed && d.Level == proof.LevelDrill:
			c.Drilled += 1 - before.Drilled
		case d.Outcome == proof.Failed:
			c.Drilled -= before.Drilled
		}
	}
	rec.Coverage = &c
}

// cover is how much of these entries was proved before the run.
func (r *Runner) cover(v *view, entries []repo.Entry) proof.Coverage {
	return proof.Cover(entries, v.history, r.cfg.CoverWithin, r.cfg.Now(), r.canOpen)
}

// Outcome is what a record comes to: the worst of its drills.
func Outcome(rec *proof.Record) proof.Outcome {
	worst := proof.Passed
	for _, d := range rec.Drills {
		if severity(d.Outcome) > severity(worst) {
			worst = d.Outcome
		}
	}
	return worst
}

func severity(o proof.Outcome) int {
	return cmp.Or(map[proof.Outcome]int{proof.Passed: 1, proof.Inconclusive: 2, proof.Failed: 3}[o], 2)
}
