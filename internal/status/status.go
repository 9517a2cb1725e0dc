// Package status answers the first question of a bad night: can this cluster be brought back, and to when?
//
// Everything it says was read from the targets and from the spool just now. It asks neither etcd nor the daemon, so it tells
// the truth when both are dead.
package status

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
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
	// Queue holds what waits for each target; its workers need not run. nil: this host takes no snapshots.
	Queue *replicate.Queue
	// Newest is the newest instant that can be restored from a snapshot of a target and the archive behind it; nil: nobody
	// looks at the archive.
	Newest func(ctx context.Context, r *repo.Repository, snapshot *repo.Entry) (time.Time, error)
	// Lost are the snapshots that this host recorded as lost for a target, by replicate.Losses.
	Lost []replicate.Loss
	// Period is the longest time between two ticks of the schedule. A recovery point older than twice that is a problem.
	// 0: it is not known, and nothing is late.
	Period time.Duration
	// VerifyPeriod is the same of the schedule of drills: a target where none passed for twice that is a problem. 0: there
	// is no such schedule.
	VerifyPeriod time.Duration
}

// Report is one look. Its JSON form is a contract: see docs/json.md.
type Report struct {
	Cluster string    `json:"cluster"`
	Time    time.Time `json:"time"` // of the look, UTC
	Healthy bool      `json:"healthy"`
	// RecoveryPoint is the newest instant that any target can restore, from snapshots and the archive; nil: none can restore
	// anything.
	RecoveryPoint *time.Time `json:"recovery_point"`
	Snapshot      string     `json:"snapshot,omitempty"` // that restores to it
	Proof         string     `json:"proof,omitempty"`    // of this snapshot, one of proof.State…
	ProofAt       *time.Time `json:"proof_at"`           // when that was found out; nil: it was not
	// Proved is when a drill last restored a snapshot of any target; nil: none ever did.
	Proved *time.Time `json:"proved"`
	// ArchiveProved is the archived revision of any target that a drill restored last; nil: none ever was.
	ArchiveProved *ArchiveProof `json:"archive_proved"`
	Targets       []Target      `json:"targets"`
	Problems      []Problem     `json:"problems"` // gravest first; empty when healthy

	captured time.Time // of the newest snapshot that can be restored
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
	Proved        *time.Time `json:"proved"`         // when a drill last restored a snapshot of it
	// ArchiveProved is the archived revision of it that a drill restored last.
	ArchiveProved *ArchiveProof `json:"archive_proved"`
	Failed        int           `json:"failed"` // snapshots on which the newest word is that they cannot be restored
}

// found is what judge needs of a target beside that.
type found struct {
	latest  *repo.Entry // the newest that a restore would take; nil: none
	oldest  time.Time   // capture of the oldest that can be restored
	history *proof.History
	failed  []*repo.Entry // those that Target.Failed counts, oldest first
	err     error         // why it was not read, or holds nothing
	unknown error         // why its drill records were not read

	unarchived error // why it is not known how far its archive reaches
}

// Problem is one thing that a person should do something about.
type Problem struct {
	Text  string   `json:"text"`
	Hints []string `json:"hints"`
}

// Look reads all targets at once and the spool. It never fails: what cannot be read is a problem.
func Look(ctx context.Context, cfg Config, now time.Time) *Report {
	r := &Report{Cluster: cfg.Cluster, Time: now.UTC(), Targets: make([]Target, len(cfg.Targets)), Problems: []Problem{}}
	seen := make([]found, len(cfg.Targets))
	var wg sync.WaitGroup
	for i, t := range cfg.Targets {
		wg.Go(func() { r.Targets[i], seen[i] = look(ctx, t, cfg, now) })
	}
	wg.Wait()
	if cfg.Queue != nil {
		r.queue(cfg.Queue)
	}
	newest := r.summarize(seen)
	r.ArchiveProved = r.newestArchive()
	r.judge(seen, cfg.Period)
	r.judgeLost(cfg.Lost)
	r.judgeProof(seen, cfg.VerifyPeriod)
	r.judgeCluster(newest)
	r.Healthy = len(r.Problems) == 0
	return r
}

func look(ctx context.Context, t replicate.Target, cfg Config, now time.Time) (Target, found) {
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	out, seen := Target{Name: t.Name, Location: t.Repo.Bucket().Location()}, found{history: &proof.History{}}
	c, err := t.Repo.Catalogue(ctx, cfg.Trust)
	if err != nil {
		seen.err = err
		return out, seen
	}
	out.Readable = true
	seen.readProof(ctx, t, c, cfg.Trust, now)
	for i := range c.Entries {
		e := &c.Entries[i]
		if !e.Restorable(false) {
			out.Other++
			continue
		}
		if out.Restorable++; out.Restorable == 1 {
			seen.oldest = e.Manifest.CaptureStart
		}
		if seen.history.OfEntry(e).State == proof.StateFailed {
			seen.failed = append(seen.failed, e)
		}
	}
	out.Failed = len(seen.failed)
	if at, ok := seen.history.LastPassed(); ok {
		out.Proved = &at
	}
	if at, what, ok := seen.history.LastArchivePassed(); ok {
		out.ArchiveProved = &ArchiveProof{Revision: what.Revision, At: at}
	}
	if seen.latest, seen.err = c.Latest(now, false); seen.err == nil {
		point := seen.latest.Manifest.CaptureStart
		if cfg.Newest != nil {
			if at, err := cfg.Newest(ctx, t.Repo, seen.latest); err != nil {
				seen.unarchived = err
			} else {
				point = at
			}
		}
		out.RecoveryPoint = &point
	}
	return out, seen
}

// readProof reads the drill records that may be about a snapshot which is there.
func (f *found) readProof(ctx context.Context, t replicate.Target, c *repo.Catalogue, trust *seal.Trust, now time.Time) {
	h, err := proof.Read(ctx, t.Repo, trust, proof.ReadOptions{
		Target: proof.Target{Name: t.Name}, Since: proof.Oldest(c.Entries), Limit: proof.MostRecords, Now: now,
	})
	if err != nil {
		f.unknown = err
		return
	}
	f.history, f.unknown = h, h.Unreadable()
}

// summarize chooses among the targets: the newest snapshot, and of several copies the one that is proved best. It
// returns its entry; nil: there is none.
func (r *Report) summarize(seen []found) *repo.Entry {
	var newest *repo.Entry
	for i, f := range seen {
		if t := r.Targets[i]; t.Proved != nil && (r.Proved == nil || t.Proved.After(*r.Proved)) {
			r.Proved = t.Proved
		}
		if f.latest == nil {
			continue
		}
		standing := f.history.OfEntry(f.latest)
		if at := f.latest.Manifest.CaptureStart; at.After(r.captured) {
			r.captured = at
		}
		point := r.Targets[i].RecoveryPoint
		if r.RecoveryPoint != nil && (point.Before(*r.RecoveryPoint) || (point.Equal(*r.RecoveryPoint) && worth(standing.State) <= worth(r.Proof))) {
			continue
		}
		newest, r.RecoveryPoint, r.Snapshot = f.latest, point, f.latest.Manifest.ID
		r.Proof, r.ProofAt = standing.State, nil
		if standing.State != proof.StateUnproven {
			r.ProofAt = &standing.At
		}
	}
	return newest
}

// worth orders what is known of a snapshot.
func worth(state string) int {
	return slices.Index([]string{proof.StateFailed, proof.StateUnproven, proof.StateDataProved, proof.StateProved}, state)
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
func (r *Report) judge(seen []found, period time.Duration) {
	late := 2 * period
	if period <= 0 {
		late = math.MaxInt64
	}
	if r.RecoveryPoint != nil && r.Time.Sub(r.captured) > late {
		r.problem(hint.New(fmt.Errorf("the newest snapshot is from %s: more than twice the schedule's %s have passed", r.captured.Format(time.RFC3339), period),
			"systemctl status drd, then drd check"))
	}
	for i, f := range seen {
		t := r.Targets[i]
		switch {
		case f.err != nil:
			r.problem(fmt.Errorf("target %s: %w", t.Name, f.err))
		case r.RecoveryPoint.Sub(*t.RecoveryPoint) > late:
			r.problem(hint.New(fmt.Errorf("target %s: its newest snapshot is from %s, another target has one from %s", t.Name, t.RecoveryPoint.Format(time.RFC3339), r.RecoveryPoint.Format(time.RFC3339)),
				"drd check"))
		}
		if f.unarchived != nil {
			r.problem(fmt.Errorf("target %s: how far its archive reaches is not known: %w", t.Name, f.unarchived))
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
