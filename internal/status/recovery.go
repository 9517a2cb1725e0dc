package status

import (
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
)

// Archive is how the archive of a target goes on behind one of its snapshots.
type Archive struct {
	Reached time.Time // newest instant that can be restored from there on, without a hole
	End     time.Time // newest instant that any segment tells of; zero: there is none
	Missing int64     // the revision where a hole begins that has segments behind it; 0: there is no hole
}

// rebuiltTold is how long a change of the etcd cluster is a problem: a weekend, so that nobody misses it, and not the year for which the
// snapshots of a cluster that really was rebuilt may be kept.
const rebuiltTold = 72 * time.Hour

// judgeRecovery names what keeps the targets from restoring to a recent instant, gravest first.
func (r *Report) judgeRecovery(seen []Seen, cfg Config) {
	r.judgeAge(seen, cfg)
	r.judgeArchiveAge(seen, cfg)
	for i := range seen {
		s, t := &seen[i], r.Targets[i]
		if s.err != nil {
			r.problem(KindRecovery, fmt.Errorf("target %s: %w", t.Name, s.err))
		} else if s.stale(r.Time, cfg) && s.taken.Before(r.captured) {
			r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: its newest snapshot is from %s, another target has one from %s", t.Name, s.taken.Format(time.RFC3339), r.captured.Format(time.RFC3339)),
				"drd check"))
		}
		r.judgeTip(t, s, cfg)
		r.judgeSnapshots(t, s)
		r.judgeWaiting(t, s, cfg)
	}
}

// stale reports whether the newest snapshot of a target is older than it should be.
func (s *Seen) stale(now time.Time, cfg Config) bool {
	return !s.taken.IsZero() && now.Sub(s.taken) > SnapshotLate(s.period(cfg.Period))
}

// judgeAge says that the newest snapshot of all targets is too old.
func (r *Report) judgeAge(seen []Seen, cfg Config) {
	newest := slices.IndexFunc(seen, func(s Seen) bool { return !s.taken.IsZero() && s.taken.Equal(r.captured) })
	if newest < 0 || !seen[newest].stale(r.Time, cfg) {
		return
	}
	r.problem(KindRecovery, hint.New(fmt.Errorf("the newest snapshot is from %s, and one is due every %s", r.captured.Format(time.RFC3339), seen[newest].period(cfg.Period)),
		"systemctl status drd, then drd check"))
}

// judgeArchiveAge says that the archive stands still. One target that is ahead is enough: a directory of one node has an archive only while
// that node writes it. Where it ends in a hole, judgeTip says so.
func (r *Report) judgeArchiveAge(seen []Seen, cfg Config) {
	if r.RecoveryPoint == nil || cfg.ArchiveLate <= 0 || r.Time.Sub(*r.RecoveryPoint) <= cfg.ArchiveLate {
		return
	}
	expected := cfg.Period > 0 || slices.ContainsFunc(seen, func(s Seen) bool { return s.archives() })
	if !expected || slices.ContainsFunc(seen, func(s Seen) bool { return s.archive.Missing > 0 }) {
		return
	}
	r.problem(KindRecovery, hint.New(fmt.Errorf("the archive ends at %s in every target: what changed since would be lost", r.RecoveryPoint.Format(time.RFC3339)),
		"systemctl status drd on each node: one of them must be writing it"))
}

// judgeTip names what is wrong with the archive of one target. A hole may be closed within minutes: segments arrive in any order, and
// the daemon takes a snapshot where it lost one. So it is a problem when it makes the recovery point late.
func (r *Report) judgeTip(t Target, s *Seen, cfg Config) {
	switch a := s.archive; {
	case s.unarchived != nil:
		r.problem(KindRecovery, fmt.Errorf("target %s: how far its archive reaches is not known: %w", t.Name, s.unarchived))
	case repo.InFuture(a.Reached, r.Time) || repo.InFuture(a.End, r.Time):
		r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: its archive ends in the future, at %s, which does not count", t.Name, newer(a.Reached, a.End).UTC().Format(time.RFC3339)),
			"timedatectl, here and on the node that writes it"))
	case a.Missing > 0 && t.RecoveryPoint != nil && r.Time.Sub(*t.RecoveryPoint) > cfg.ArchiveLate:
		r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: its archive has a hole at revision %d: what came after %s cannot be restored from it", t.Name, a.Missing, t.RecoveryPoint.Format(time.RFC3339)),
			"drd snapshot: the archive goes on from a new snapshot"))
	}
}

// judgeSnapshots names snapshots of one target that are not what they should be.
func (r *Report) judgeSnapshots(t Target, s *Seen) {
	if t.Future > 0 {
		r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: %s of the future, the newest is %s: this host's clock is wrong, or that of the node that took it was", t.Name, count(t.Future, "snapshot"), s.ahead),
			"timedatectl, here and there"))
	}
	if s.damaged > 0 {
		r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: the payload of %s is missing or has another size, the newest is %s", t.Name, count(s.damaged, "signed snapshot"), s.worst),
			"drd list names all; find out who else deletes or writes there, and delete what is left of them: retention leaves that to you"))
	}
	if m := s.moved; m != nil && r.Time.Sub(m.at) <= rebuiltTold {
		r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: its snapshots since %s are of etcd cluster %s, those before of %s", t.Name, m.at.Format(time.RFC3339), m.to, m.from),
			"was the cluster rebuilt or restored? then all is well, and this ends after %s; else another cluster writes under the name %s", Coarse(rebuiltTold), repo.Printable(r.Cluster)))
	}
}

// judgeWaiting says that a target takes nothing.
func (r *Report) judgeWaiting(t Target, s *Seen, cfg Config) {
	late, why := SnapshotLate(s.period(cfg.Period)), ""
	if t.LastError != "" {
		why = ": " + t.LastError
	}
	if t.WaitingSince != nil && r.Time.Sub(*t.WaitingSince) > late {
		r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: %s waiting on this host, the oldest since %s%s", t.Name, count(t.Waiting, "snapshot"), t.WaitingSince.Format(time.RFC3339), why),
			"drd check says why it takes none; the daemon goes on trying"))
	}
	if cfg.ArchiveLate > 0 {
		late = cfg.ArchiveLate
	}
	if t.SegmentsSince != nil && r.Time.Sub(*t.SegmentsSince) > late {
		r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: %s of the archive waiting on this host, the oldest since %s%s", t.Name, count(t.SegmentsWaiting, "segment"), t.SegmentsSince.Format(time.RFC3339), why),
			"drd check says why it takes none; the daemon goes on trying"))
	}
}

func newer(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
