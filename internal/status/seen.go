package status

import (
	"context"
	"errors"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

// Seen is what one look at a target found. It is small, whatever the target holds, and does not change.
type Seen struct {
	Target
	latest  *repo.Entry // the newest that a restore would take; nil: none
	history *proof.History
	failed  []failure // those that Target.Failed counts, oldest first
	took    float64   // seconds until etcd answered, in the newest drill that passed; 0: there is none
	tookAt  time.Time // end of that drill
	err     error     // why it was not read, or holds nothing
	unknown error     // why its drill records were not read

	unarchived error // why it is not known how far its archive reaches
}

// failure is a snapshot on which the newest word is that it cannot be restored.
type failure struct {
	id string
	proof.Standing
}

// See sums up a catalogue of a target, and the drill records that were read of it; nil: they were not, and unknown may say why.
func See(name string, c *repo.Catalogue, h *proof.History, unknown error, now time.Time) Seen {
	if h == nil {
		h = &proof.History{}
	}
	s := Seen{Target: Target{Name: name, Location: c.Location, Readable: true}, history: h, unknown: unknown}
	for i := range c.Entries {
		s.count(&c.Entries[i])
	}
	s.Failed = len(s.failed)
	s.drills()
	latest, err := c.Latest(now, false)
	if err != nil {
		s.err = err
		return s
	}
	alone := *latest // so that the whole catalogue is not kept with it
	s.latest = &alone
	s.RecoveryPoint = known(alone.Manifest.CaptureStart)
	return s
}

func (s *Seen) count(e *repo.Entry) {
	if !e.Restorable(false) {
		s.Other++
		return
	}
	if s.Restorable++; s.Restorable == 1 {
		s.Oldest = known(e.Manifest.CaptureStart)
	}
	if standing := s.history.OfEntry(e); standing.State == proof.StateFailed {
		s.failed = append(s.failed, failure{e.ID.String(), standing})
	}
}

// drills takes over what the records say of the target as a whole.
func (s *Seen) drills() {
	if at, ok := s.history.LastPassed(); ok {
		s.Proved = &at
	}
	if at, what, ok := s.history.LastArchivePassed(); ok {
		s.ArchiveProved = &ArchiveProof{Revision: what.Revision, At: at}
	}
	for _, rec := range s.history.Records() {
		if rec.State != repo.StateOK {
			continue
		}
		for _, d := range rec.Record.Drills {
			if d.Level == proof.LevelDrill && d.Outcome == proof.Passed && d.RecoverySeconds > 0 {
				s.took, s.tookAt = d.RecoverySeconds, rec.Record.Ended
			}
		}
	}
}

// Unread is of a target that could not be read.
func Unread(name, location string, err error) Seen {
	return Seen{Target: Target{Name: name, Location: location}, history: &proof.History{}, err: err}
}

// Latest is the newest snapshot that a restore would take; nil: there is none.
func (s *Seen) Latest() *repo.Entry { return s.latest }

// Reaching is the same with an archive that leads on from the newest snapshot to that instant, or an error that kept that from being
// found out. An instant before the snapshot's does not count.
func (s Seen) Reaching(at time.Time, err error) Seen {
	if err != nil {
		s.unarchived = err
	} else if s.RecoveryPoint != nil && at.After(*s.RecoveryPoint) {
		s.unarchived, s.RecoveryPoint = nil, known(at)
	}
	return s
}

func look(ctx context.Context, t replicate.Target, cfg Config, now time.Time) Seen {
	ctx, cancel := context.WithTimeout(ctx, targetTimeout)
	defer cancel()
	c, err := t.Repo.Catalogue(ctx, cfg.Trust)
	if err != nil {
		return Unread(t.Name, t.Repo.Bucket().Location(), slow(ctx, err))
	}
	h, unknown := readProof(ctx, t, c, cfg, now)
	s := See(t.Name, c, h, unknown, now)
	if cfg.Due != nil && h != nil {
		due := cfg.Due(c, h, now)
		s.Due = &due
	}
	if cfg.Newest != nil && s.latest != nil {
		at, err := cfg.Newest(ctx, t.Repo, s.latest)
		return s.Reaching(at, slow(ctx, err))
	}
	return s
}

// slow adds to the error of a look that took too long what helps where the target is not dead, but has much to tell.
func slow(ctx context.Context, err error) error {
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return hint.New(err, "it did not answer all within %s: run drd status again, which goes on with what was read by now", targetTimeout)
}

// readProof reads the drill records that may be about a snapshot which is there.
func readProof(ctx context.Context, t replicate.Target, c *repo.Catalogue, cfg Config, now time.Time) (*proof.History, error) {
	h, err := proof.Read(ctx, t.Repo, cfg.Trust, proof.ReadOptions{
		Target: proof.Target{Name: t.Name}, Since: proof.Oldest(c.Entries), Limit: proof.MostRecords, Now: now,
	})
	if err != nil {
		return nil, slow(ctx, err)
	}
	return h, slow(ctx, h.Unreadable())
}
