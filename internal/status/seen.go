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
	latest *repo.Entry // the newest that a restore would take and that does not stand failed, by proof.History.Sound; nil: none
	// failedNewer is the ID of the newest that a restore would take, where that stands failed and latest does not; "": latest is that.
	failedNewer string
	taken       time.Time // capture of the newest that a restore would take, failed or not; zero: there is none
	history     *proof.History
	failed      []failure // those that Target.Failed counts, oldest first
	took        float64   // seconds until etcd answered, in the newest drill that passed; 0: there is none
	tookAt      time.Time // end of that drill
	err         error     // why it was not read, or holds nothing
	unknown     error     // why its drill records were not read

	ahead    string        // the newest of those that Target.Future counts
	damaged  int           // snapshots with a trusted signature that have lost their payload
	worst    string        // the newest of them
	pace     time.Duration // from one snapshot to the next, of late
	moved    *move         // the newest change of the etcd cluster; nil: there is none
	compared *repo.Entry   // the newest that was compared with live members; nil: none was

	archive    Archive // behind latest
	unarchived error   // why that is not known
}

// move is where the snapshots go over from one etcd cluster to another.
type move struct {
	from, to string // IDs in hex
	at       time.Time
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
	s.count(c, now)
	s.Failed = len(s.failed)
	s.drills()
	latest, err := c.Latest(now, false)
	if err != nil {
		s.err = err
		return s
	}
	s.taken, s.latest = latest.Manifest.CaptureStart, alone(h.Sound(c, now))
	if s.latest.ID != latest.ID {
		s.failedNewer = latest.ID.String()
	}
	return s
}

// alone is a copy of an entry, so that the whole catalogue is not kept with it.
func alone(e *repo.Entry) *repo.Entry {
	if e == nil {
		return nil
	}
	one := *e
	return &one
}

// count goes over all entries, which are in the order of their capture.
func (s *Seen) count(c *repo.Catalogue, now time.Time) {
	var good []*repo.Entry
	for i := range c.Entries {
		e := &c.Entries[i]
		switch {
		case !e.Restorable(false):
			s.Other++
			if e.State == repo.StatePayloadMissing || e.State == repo.StatePayloadSize {
				s.damaged++
				s.worst = e.ID.String()
			}
		case repo.InFuture(e.ID.Time, now):
			s.Future++
			s.ahead = e.ID.String()
		default:
			good = append(good, e)
		}
	}
	s.Restorable, s.pace = len(good), pace(good)
	for i, e := range good {
		if standing := s.history.OfEntry(e); standing.State == proof.StateFailed {
			s.failed = append(s.failed, failure{e.ID.String(), standing})
		}
		if _, said := e.Manifest.Differing(); said {
			s.compared = e
		}
		if i == 0 {
			s.Oldest = known(e.Manifest.CaptureStart)
		} else if from, to := good[i-1].Manifest.EtcdClusterID, e.Manifest.EtcdClusterID; from != to {
			s.moved = &move{from, to, e.Manifest.CaptureStart}
		}
	}
	s.compared = alone(s.compared)
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

// Latest is the newest snapshot that a restore would take and that does not stand failed, if there is such a one; nil: there is none.
func (s *Seen) Latest() *repo.Entry { return s.latest }

// Archived is the same with what was found of the archive behind Latest, or an error that kept that from being found out.
func (s Seen) Archived(a Archive, err error) Seen {
	s.archive, s.unarchived = a, err
	return s
}

// standing is the target with the newest instant that can be restored from it. What a wrong clock has dated ahead does not count.
func (s *Seen) standing(now time.Time) Target {
	t := s.Target
	if s.latest == nil {
		return t
	}
	point := s.latest.Manifest.CaptureStart
	if at := s.archive.Reached; at.After(point) && !repo.InFuture(at, now) {
		point = at
	}
	t.RecoveryPoint = known(point)
	return t
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
	if cfg.Archive != nil && s.latest != nil {
		a, err := cfg.Archive(ctx, t.Repo, s.latest)
		return s.Archived(a, slow(ctx, err))
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
		Target: proof.Target{Name: t.Name}, Since: proof.Since(c.Entries, now), Limit: proof.MostRecords, Now: now,
	})
	if err != nil {
		return nil, slow(ctx, err)
	}
	return h, slow(ctx, h.Unreadable())
}
