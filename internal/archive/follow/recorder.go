package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
)

const (
	maxCheckpoints = 64  // in one segment, as package repo allows
	maxTold        = 256 // that are remembered, in order not to tell them again; etcd remembers ten of each member
)

// recorder writes changes into segments, one after the other, from a position on.
type recorder struct {
	f       *Follower
	at      Position // of what Ready has taken
	member  repo.Member
	compact int64 // of the member, as it is known
	clock   *archive.Clock

	draft *archive.Draft // nil between segments
	begun time.Time      // of the draft, on this process's clock

	fresh   bool // it began without a revision, and nothing was handed over yet
	refused bool // Ready has failed: it gets nothing more
}

// append writes one change. stamp says when what follows was seen, ttl for how long the lease that it names was granted. Of a change that
// no segment holds the error wraps ErrUnfit.
func (r *recorder) append(e mvcc.Entry, stamp archive.Stamp, ttl func(id int64) (int64, error)) error {
	if len(e.Value) > archive.MaxValue {
		return fmt.Errorf("%w: revision %s has %d MiB, at most %d", ErrUnfit, e.Position, len(e.Value)>>20, archive.MaxValue>>20)
	}
	if r.draft == nil {
		var err error
		if r.draft, err = archive.Begin(r.f.cfg.Dir, r.f.cfg.Recipients, e.Main); err != nil {
			return err
		}
		r.begun = time.Now()
	}
	if stamp.Late {
		r.draft.LateStamp(stamp.Time)
	} else {
		r.draft.Stamp(stamp.Time)
	}
	if err := r.tellLease(e, ttl); err != nil {
		return fmt.Errorf("revision %s: %w", e.Position, err)
	}
	return r.draft.Append(e)
}

func (r *recorder) tellLease(e mvcc.Entry, ttl func(id int64) (int64, error)) error {
	kv, err := mvcc.ParseValue(e.Value)
	if err != nil || kv.Lease == 0 {
		return err
	}
	seconds, err := ttl(kv.Lease)
	if err != nil {
		return err
	}
	r.draft.Lease(kv.Lease, seconds)
	return nil
}

// last is the revision of the newest change that was written, be it in the draft.
func (r *recorder) last() int64 {
	if r.draft == nil {
		return r.at.Revision
	}
	return r.draft.Last()
}

// full reports whether the draft should be finished before another revision begins.
func (r *recorder) full() bool { return r.draft != nil && r.draft.Size() >= r.f.cfg.FlushBytes }

// finish completes the draft, whose last revision must be whole, and hands it over. to is an instant until which nothing else is
// known to have happened.
func (r *recorder) finish(ctx context.Context, to time.Time) error {
	draft := r.draft
	r.draft = nil
	sealed, err := draft.Finish(r.facts(draft.Last(), to))
	if err != nil {
		return err
	}
	return r.hand(ctx, sealed)
}

// silence hands over a segment that says that nothing happened until to.
func (r *recorder) silence(ctx context.Context, to time.Time) error {
	draft, err := archive.Begin(r.f.cfg.Dir, r.f.cfg.Recipients, r.at.Revision+1)
	if err != nil {
		return err
	}
	r.draft = draft
	return r.finish(ctx, to)
}

func (r *recorder) hand(ctx context.Context, sealed *archive.Sealed) error {
	s := sealed.Segment
	manifest, err := r.f.cfg.Ready(ctx, sealed)
	if err != nil {
		r.refused = true
		return errors.Join(fmt.Errorf("%w: revisions %d to %d: %w", ErrRefused, s.First, s.Last, err), sealed.Remove())
	}
	r.fresh = false
	density := r.at.RevisionBytes
	r.at = After(s, manifest)
	if s.Silence() {
		r.at.RevisionBytes = density
	}
	r.f.tell(s.Checkpoints)
	return nil
}

// facts describes a segment up to revision last.
func (r *recorder) facts(last int64, to time.Time) archive.Facts {
	from := r.at.Time
	return archive.Facts{
		Cluster: r.f.cfg.Cluster, EtcdClusterID: r.at.EtcdClusterID, Timeline: r.at.Timeline, Member: r.member,
		From: from, To: latest(from, to), CompactRevision: r.compact, Checkpoints: r.f.untold(last),
		LastRevisionSHA256: r.at.RevisionSHA256, ClockSkewNote: r.clock.Note(),
		Previous: r.at.Manifest, Base: r.at.Base, Build: r.f.cfg.Build,
	}
}

// discard gives the draft up.
func (r *recorder) discard() error {
	if r.draft == nil {
		return nil
	}
	draft := r.draft
	r.draft = nil
	return draft.Discard()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// untold are the checkpoints up to a revision that no segment has yet.
func (f *Follower) untold(last int64) []repo.Checkpoint {
	if f.cfg.Checkpoints == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []repo.Checkpoint
	for _, c := range f.cfg.Checkpoints() {
		if c.Revision <= last && len(out) < maxCheckpoints && !slices.Contains(f.told, c) && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// tell remembers checkpoints that are in a segment.
func (f *Follower) tell(told []repo.Checkpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, told...)
	f.told = slices.Delete(f.told, 0, max(0, len(f.told)-maxTold))
}
