// Package status answers the first question of a bad night: can this cluster be brought back, and to when?
//
// Everything it says was read from the targets and from the spool just now. It asks neither etcd nor the daemon, so it tells
// the truth when both are dead.
package status

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// targetTimeout bounds how long one target may take to be read.
const targetTimeout = 30 * time.Second

// Config names what to look at.
type Config struct {
	Cluster string
	Targets []replicate.Target
	Trust   *seal.Trust
	// Queue holds what waits for each target; its workers need not run.
	Queue *replicate.Queue
	// Period is the longest time between two ticks of the schedule. A recovery point older than twice that is a problem.
	Period time.Duration
}

// Report is one look. Its JSON form is a contract: see docs/json.md.
type Report struct {
	Cluster string    `json:"cluster"`
	Time    time.Time `json:"time"` // of the look, UTC
	Healthy bool      `json:"healthy"`
	// RecoveryPoint is the newest instant that any target can restore; nil: none can restore anything.
	RecoveryPoint *time.Time `json:"recovery_point"`
	Snapshot      string     `json:"snapshot,omitempty"` // that restores to it
	// Proved is when a restore of it was last tried with success; this version tries none.
	Proved   *time.Time `json:"proved"`
	Targets  []Target   `json:"targets"`
	Problems []Problem  `json:"problems"` // gravest first; empty when healthy
}

// Target is how one target stands.
type Target struct {
	Name          string     `json:"name"`
	Location      string     `json:"location"`
	Readable      bool       `json:"readable"`
	RecoveryPoint *time.Time `json:"recovery_point"` // nil: it was not read, or holds nothing that can be restored
	Restorable    int        `json:"restorable"`     // snapshots
	Other         int        `json:"other"`          // snapshots that cannot be restored as they are: drd list says why
	Waiting       int        `json:"waiting"`        // snapshots on this host that the target does not have yet
	WaitingSince  *time.Time `json:"waiting_since"`  // capture of the oldest of them
	Lost          int        `json:"lost"`           // snapshots that it will never have, ever
}

// Problem is one thing that a person should do something about.
type Problem struct {
	Text  string   `json:"text"`
	Hints []string `json:"hints"`
}

// Look reads all targets at once and the spool. It never fails: what cannot be read is a problem.
func Look(ctx context.Context, cfg Config, now time.Time) *Report {
	r := &Report{Cluster: cfg.Cluster, Time: now.UTC(), Targets: make([]Target, len(cfg.Targets)), Problems: []Problem{}}
	newest := make([]*repo.Entry, len(cfg.Targets))
	failed := make([]error, len(cfg.Targets))
	var wg sync.WaitGroup
	for i, t := range cfg.Targets {
		wg.Go(func() { r.Targets[i], newest[i], failed[i] = look(ctx, t, cfg.Trust, now) })
	}
	wg.Wait()
	r.queue(cfg.Queue)
	for _, e := range newest {
		if e != nil && (r.RecoveryPoint == nil || e.Manifest.CaptureStart.After(*r.RecoveryPoint)) {
			r.RecoveryPoint, r.Snapshot = &e.Manifest.CaptureStart, e.Manifest.ID
		}
	}
	r.judge(failed, cfg.Period)
	r.Healthy = len(r.Problems) == 0
	return r
}

func look(ctx context.Context, t replicate.Target, trust *seal.Trust, now time.Time) (Target, *repo.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	out := Target{Name: t.Name, Location: t.Repo.Bucket().Location()}
	c, err := t.Repo.Catalogue(ctx, trust)
	if err != nil {
		return out, nil, err
	}
	out.Readable = true
	for i := range c.Entries {
		if c.Entries[i].Restorable(false) {
			out.Restorable++
		} else {
			out.Other++
		}
	}
	latest, err := c.Latest(now, false)
	if err != nil {
		return out, nil, err
	}
	out.RecoveryPoint = &latest.Manifest.CaptureStart
	return out, latest, nil
}

func (r *Report) queue(q *replicate.Queue) {
	waiting, err := q.Look()
	if err != nil {
		r.problem(err)
	}
	for i, s := range waiting {
		t := &r.Targets[i]
		t.Waiting, t.Lost = s.Queued, s.Lost
		if !s.Oldest.IsZero() {
			oldest := s.Oldest.UTC()
			t.WaitingSince = &oldest
		}
	}
}

// judge names what is wrong, gravest first.
func (r *Report) judge(failed []error, period time.Duration) {
	late := 2 * period
	if r.RecoveryPoint != nil && r.Time.Sub(*r.RecoveryPoint) > late {
		r.problem(hint.New(fmt.Errorf("the newest snapshot is from %s: more than twice the schedule's %s have passed", r.RecoveryPoint.Format(time.RFC3339), period),
			"systemctl status drd, then drd check"))
	}
	for i, err := range failed {
		t := r.Targets[i]
		switch {
		case err != nil:
			r.problem(fmt.Errorf("target %s: %w", t.Name, err))
		case r.RecoveryPoint.Sub(*t.RecoveryPoint) > late:
			r.problem(hint.New(fmt.Errorf("target %s: its newest snapshot is from %s, another target has one from %s", t.Name, t.RecoveryPoint.Format(time.RFC3339), r.RecoveryPoint.Format(time.RFC3339)),
				"drd check"))
		}
		if t.WaitingSince != nil && r.Time.Sub(*t.WaitingSince) > late {
			r.problem(hint.New(fmt.Errorf("target %s: %d snapshots wait on this host, the oldest since %s", t.Name, t.Waiting, t.WaitingSince.Format(time.RFC3339)),
				"drd check says why it takes none; the daemon goes on trying"))
		}
	}
}

func (r *Report) problem(err error) {
	hints := hint.Of(err)
	if hints == nil {
		hints = []string{}
	}
	r.Problems = append(r.Problems, Problem{Text: cmp.Or(err.Error(), "unknown"), Hints: hints})
}
