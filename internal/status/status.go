// Package status answers the first question of a bad night: can this cluster be brought back, and to when?
//
// Everything it says was read from the targets and from the spool just now. It asks neither etcd nor the daemon, so it tells
// the truth when both are dead.
package status

import (
	"cmp"
	"context"
	"fmt"
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
	// Queue holds what waits for each target; nil: this host takes no snapshots. Its workers do not run here, unless Running says
	// that they do.
	Queue   *replicate.Queue
	Running bool
	// Archive reads how the archive goes on behind a snapshot of a target; nil: nobody looks at it.
	Archive func(ctx context.Context, r *repo.Repository, snapshot *repo.Entry) (Archive, error)
	// Unsound is why no daemon would start on this host, with its configuration as it is; nil: nothing is known against it.
	Unsound error
	// Lost are the snapshots that this host recorded as lost for a target, by replicate.Losses.
	Lost []replicate.Loss
	// Period is the longest time between two snapshots of the schedule: see SnapshotLate. 0: it is not known, and each target's own
	// snapshots tell it.
	Period time.Duration
	// VerifyPeriod is the same of the schedule of drills: see ProofLate. 0: there is no such schedule.
	VerifyPeriod time.Duration
	// ArchiveLate is how old the newest recovery point may be where the continuous archive moves it all the time, and how long a
	// segment may wait. 0: there is no archive. Without a Period it holds where an archive goes on: see archives.
	ArchiveLate time.Duration
	// Due is how many snapshots of a target retention lets go; nil: it is not known, or nothing is ever deleted.
	Due func(c *repo.Catalogue, h *proof.History, now time.Time) int
	// NextSnapshot and NextDrill are when this host takes and makes the next ones by schedule; zero: it does not.
	NextSnapshot, NextDrill time.Time
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
	// FailedNewer is the newest snapshot of the same target where that stands failed: Snapshot is the newest that does not.
	FailedNewer string     `json:"failed_newer,omitempty"`
	Proof       string     `json:"proof,omitempty"` // of this snapshot, one of proof.State…
	ProofAt     *time.Time `json:"proof_at"`        // when that was found out; nil: it was not
	// Proved is when a drill last restored a snapshot of any target; nil: none ever did.
	Proved *time.Time `json:"proved"`
	// ArchiveProved is the archived revision of any target that a drill restored last; nil: none ever was.
	ArchiveProved *ArchiveProof `json:"archive_proved"`
	// RestoreSeconds is how long a restore takes, as the newest drill that passed measured it; nil: none did.
	RestoreSeconds *float64   `json:"restore_seconds"`
	NextSnapshot   *time.Time `json:"next_snapshot"` // by the schedule of this host; nil: it has none
	NextDrill      *time.Time `json:"next_drill"`
	Targets        []Target   `json:"targets"`
	Problems       []Problem  `json:"problems"` // gravest first; empty when healthy

	captured time.Time // of the newest snapshot that a restore would take
}

// Target is how one target stands.
type Target struct {
	Name          string     `json:"name"`
	Location      string     `json:"location"`
	Readable      bool       `json:"readable"`
	RecoveryPoint *time.Time `json:"recovery_point"` // nil: it was not read, or holds nothing that can be restored
	Restorable    int        `json:"restorable"`     // snapshots, but for those of the future
	Future        int        `json:"future"`         // snapshots dated ahead of this host's clock, which count when their time has come
	Oldest        *time.Time `json:"oldest"`         // capture of the oldest of them
	Due           *int       `json:"due"`            // of them, how many retention lets go; nil: not known here
	Other         int        `json:"other"`          // snapshots that cannot be restored as they are: drd list says why
	Waiting       int        `json:"waiting"`        // snapshots on this host that the target does not have yet
	WaitingSince  *time.Time `json:"waiting_since"`  // capture of the oldest of them
	Lost          int        `json:"lost"`           // snapshots that it will never have, ever
	// SegmentsWaiting are the segments of the archive on this host that the target does not have yet.
	SegmentsWaiting int        `json:"segments_waiting"`
	SegmentsSince   *time.Time `json:"segments_waiting_since"` // since when the oldest of them waits
	// LastError is why the target took nothing at the last attempt, as the daemon knows it. "": it did, or that is not known here.
	LastError string     `json:"last_error,omitempty"`
	Proved    *time.Time `json:"proved"` // when a drill last restored a snapshot of it
	// ArchiveProved is the archived revision of it that a drill restored last.
	ArchiveProved *ArchiveProof `json:"archive_proved"`
	Failed        int           `json:"failed"` // snapshots on which the newest word is that they cannot be restored
}

// Problem is one thing that a person should do something about.
type Problem struct {
	Kind  Kind     `json:"kind"`
	Text  string   `json:"text"`
	Hints []string `json:"hints"`
}

// Kind says what a problem is about.
type Kind string

// The kinds of problems.
const (
	KindRecovery Kind = "recovery" // what can be restored from a target, or what it lacks
	KindProof    Kind = "proof"    // what drills found out, or that they did not
	KindCluster  Kind = "cluster"  // the protected cluster itself
	KindHost     Kind = "host"     // this host, on which no daemon would start
)

// Look reads all targets at once and the spool. It never fails: what cannot be read is a problem.
func Look(ctx context.Context, cfg Config, now time.Time) *Report {
	seen := make([]Seen, len(cfg.Targets))
	var wg sync.WaitGroup
	for i, t := range cfg.Targets {
		wg.Go(func() { seen[i] = look(ctx, t, cfg, now) })
	}
	wg.Wait()
	return Judge(cfg, seen, now)
}

// Judge says what follows from looks at all targets of the configuration, in their order. Of a
// queue that does not run here it reads the spool, and nothing else.
func Judge(cfg Config, seen []Seen, now time.Time) *Report {
	r := &Report{Cluster: cfg.Cluster, Time: now.UTC(), Targets: make([]Target, len(seen)), Problems: []Problem{}}
	for i, s := range seen {
		r.Targets[i] = s.standing(now)
	}
	r.NextSnapshot, r.NextDrill = known(cfg.NextSnapshot), known(cfg.NextDrill)
	if cfg.Queue != nil {
		r.queue(cfg.Queue, cfg.Running)
	}
	newest := r.summarize(seen)
	r.ArchiveProved = r.newestArchive()
	r.judgeRecovery(seen, cfg)
	r.judgeLost(cfg.Lost)
	r.judgeProof(seen, cfg.VerifyPeriod)
	r.judgeCluster(newest)
	r.judgeMembers(seen)
	r.judgeHost(cfg.Unsound)
	r.Healthy = len(r.Problems) == 0
	return r
}

// Safe says whether every target can restore to a recent instant, and whether that was proved as often as it should be. What is
// wrong with the cluster itself does not count.
func (r *Report) Safe() bool {
	return r.RecoveryPoint != nil && !slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Kind != KindCluster })
}

// known is nil for the zero time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// summarize chooses among the targets: the newest snapshot, and of several copies the one that is proved best. It
// returns its entry; nil: there is none.
func (r *Report) summarize(seen []Seen) *repo.Entry {
	var newest *repo.Entry
	var drilled time.Time // end of the drill that RestoreSeconds is of
	for i, f := range seen {
		if t := r.Targets[i]; t.Proved != nil && (r.Proved == nil || t.Proved.After(*r.Proved)) {
			r.Proved = t.Proved
		}
		if f.took > 0 && f.tookAt.After(drilled) {
			drilled, r.RestoreSeconds = f.tookAt, &f.took
		}
		if f.latest == nil {
			continue
		}
		standing := f.history.OfEntry(f.latest)
		if f.taken.After(r.captured) {
			r.captured = f.taken
		}
		point := r.Targets[i].RecoveryPoint
		if r.RecoveryPoint != nil && (point.Before(*r.RecoveryPoint) || (point.Equal(*r.RecoveryPoint) && worth(standing.State) <= worth(r.Proof))) {
			continue
		}
		newest, r.RecoveryPoint, r.Snapshot, r.FailedNewer = f.latest, point, f.latest.Manifest.ID, f.failedNewer
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

func (r *Report) judgeHost(unsound error) {
	if unsound != nil {
		r.problem(KindHost, hint.New(fmt.Errorf("no daemon would start on this host: %w", unsound), "drd config check tells when it is mended"))
	}
}

func (r *Report) problem(kind Kind, err error) {
	hints := hint.Of(err)
	if hints == nil {
		hints = []string{}
	}
	r.Problems = append(r.Problems, Problem{Kind: kind, Text: cmp.Or(err.Error(), "unknown"), Hints: hints})
}
