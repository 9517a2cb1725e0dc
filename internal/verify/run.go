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
}

// look reads a target. Records that cannot be read are an error: without them nobody knows what to try, and coverage
// would be a lie.
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
	if err == nil {
		err = h.Unreadable()
	}
	if err != nil {
		return nil, err
	}
	return &view{t, c, h}, nil
}

func (r *Runner) nameOf(t drill.Target) proof.Target {
	return proof.Target{Name: t.Name, Location: t.Repo.Bucket().Location()}
}

// against makes the run against one target. nil: nothing is left to do, or ctx ended before anything was found out.
func (r *Runner) against(ctx context.Context, t drill.Target, req Request) *Result {
	r.flush(ctx, t)
	v, err := r.look(ctx, t, req)
	var ids []repo.ID
	if err == nil {
		ids, err = r.choose(v, req)
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return &Result{Target: t.Name, Err: err}
	}
	rec := &proof.Record{
		Kind: proof.RecordKind, Format: proof.RecordFormat, Cluster: t.Repo.Cluster(), Host: r.cfg.Host, Trigger: req.Trigger,
		Target: r.nameOf(t), Started: r.now(), Drd: r.cfg.Build,
	}
	for _, id := range ids {
		d := r.cfg.Driller.Drill(ctx, t, id, req.Level, censusBefore(v.history, id.Time), req.Watcher)
		if ctx.Err() != nil && d.Outcome == proof.Inconclusive {
			break // given up by whoever asked, which says nothing of the snapshot
		}
		rec.Drills = append(rec.Drills, d)
	}
	if len(rec.Drills) == 0 {
		return nil
	}
	rec.Ended = r.now()
	rec.ID = proof.NewID(rec.Ended, r.cfg.Host)
	r.count(v, rec, req)
	result := r.record(ctx, t, rec)
	return &result
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
			if d.Kubernetes != nil && d.CapturedAt.Before(captured) && !d.CapturedAt.Before(newest.CapturedAt) {
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
		return named(v.catalogue, req.ID)
	case req.Trigger == proof.TriggerFresh:
		return r.fresh(v, req.Level), nil
	}
	opt := proof.SelectOptions{Now: r.cfg.Now(), CanOpen: r.canOpen, Host: r.cfg.Host, Seed: rand.Uint64(), Max: mostDrills}
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
func named(c *repo.Catalogue, prefix string) ([]repo.ID, error) {
	var found []repo.ID
	var names []string
	for _, e := range c.Entries {
		if name := e.ID.String(); name == prefix {
			return []repo.ID{e.ID}, nil
		} else if strings.HasPrefix(name, prefix) {
			found, names = append(found, e.ID), append(names, name)
		}
	}
	switch len(found) {
	case 0:
		return nil, hint.New(fmt.Errorf("%w: there is no snapshot %.80q", repo.ErrNothing, prefix), "drd list shows what is in the target")
	case 1:
		return found, nil
	}
	return nil, hint.New(fmt.Errorf("%w: %d snapshots begin with %.80q", ErrAmbiguous, len(found), prefix), "name one of %s", strings.Join(names[:min(len(names), 10)], ", "))
}

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

// count tells in the record how much of the target is proved with it. A run for the freshest snapshot has not read all of
// them.
func (r *Runner) count(v *view, rec *proof.Record, req Request) {
	if r.cfg.CoverWithin == 0 || req.Trigger == proof.TriggerFresh {
		return
	}
	c := r.cover(v, v.catalogue.Entries)
	for _, d := range rec.Drills {
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
