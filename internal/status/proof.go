package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/advisory"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
)

// maxNamed bounds how many snapshots a problem names.
const maxNamed = 3

// judgeProof names what drills found, and where they are overdue.
func (r *Report) judgeProof(seen []Seen, period time.Duration) {
	for i, f := range seen {
		t := r.Targets[i]
		if f.unknown != nil {
			r.problem(KindProof, fmt.Errorf("target %s: its drill records: %w", t.Name, f.unknown))
		}
		r.judgeFailed(t.Name, f)
		r.judgeArchive(t.Name, f)
		if period > 0 && f.unknown == nil {
			r.judgeOverdue(t, f, period)
		}
	}
}

// judgeFailed names the snapshots whose newest drill failed, and what else failed in the newest run that found anything out: that
// may be one that cannot be restored by its manifest already.
func (r *Report) judgeFailed(target string, f Seen) {
	var failed []string
	var last proof.Standing
	add := func(id string, s proof.Standing) {
		failed = append(failed, id)
		if !s.At.Before(last.At) {
			last = s
		}
	}
	for _, one := range f.failed {
		add(one.id, one.Standing)
	}
	for _, rec := range f.history.LastRun(conclusive) {
		for _, d := range rec.Drills {
			if d.Outcome == proof.Failed && !d.Level.Archive() && !slices.Contains(failed, d.Snapshot) && (f.latest == nil || d.Snapshot > f.latest.ID.String()) {
				add(d.Snapshot, f.history.Of(d.Snapshot, d.ManifestSHA256))
			}
		}
	}
	if len(failed) == 0 {
		return
	}
	slices.Reverse(failed)
	more := ""
	if n := len(failed) - maxNamed; n > 0 {
		failed, more = failed[:maxNamed], fmt.Sprintf(" and %d more", n)
	}
	r.problem(KindProof, hint.New(fmt.Errorf("target %s: the drill of %s%s FAILED, the last on %s: %s", target, strings.Join(failed, ", "), more, last.At.Format(time.RFC3339), last.Cause),
		"drd verify ID tries again and shows every check; restore another snapshot, or from another target"))
}

// conclusive says whether a record tells of the target, and not only that something could not be found out.
func conclusive(rec *proof.Record) bool {
	return rec.Telling() && slices.ContainsFunc(rec.Drills, func(d proof.Drill) bool { return d.Outcome != proof.Inconclusive })
}

// judgeOverdue says that no drill passed for too long, or ever. A target that is younger than that had no chance yet.
func (r *Report) judgeOverdue(t Target, f Seen, period time.Duration) {
	var err error
	switch {
	case t.Proved != nil && r.Time.Sub(*t.Proved) > ProofLate(period):
		err = fmt.Errorf("target %s: the last drill that passed was on %s: more than twice the schedule's %s have passed", t.Name, t.Proved.Format(time.RFC3339), period)
	case t.Proved == nil && t.Restorable > 0 && r.Time.Sub(f.first()) > ProofLate(period):
		err = fmt.Errorf("target %s: no drill of it passed yet, although verify.schedule asks for one every %s", t.Name, period)
	default:
		return
	}
	r.problem(KindProof, hint.New(err, "drd verify shows why"))
}

// first is when somebody is known to have had a snapshot there to drill: retention may keep none for as long as drills have not passed.
func (s *Seen) first() time.Time {
	if at, ok := s.history.First(); ok && at.Before(*s.Oldest) {
		return at
	}
	return *s.Oldest
}

// judgeMembers names the members that held something else than the snapshot, in the newest one of all targets that was compared.
func (r *Report) judgeMembers(seen []Seen) {
	var newest *repo.Entry
	for _, s := range seen {
		if s.compared != nil && (newest == nil || s.compared.Manifest.CaptureStart.After(newest.Manifest.CaptureStart)) {
			newest = s.compared
		}
	}
	if newest == nil {
		return
	}
	if members, _ := newest.Manifest.Differing(); len(members) > 0 {
		r.problem(KindCluster, hint.New(fmt.Errorf("members of etcd hold other data than snapshot %s of member %s: %s", newest.ID, newest.Manifest.Member.ID, strings.Join(members, ", ")),
			"docs/alerts.md#drdmembersdiverged says how to find out which of them is wrong"))
	}
}

// judgeCluster names what the newest snapshot says of the cluster that it was taken from.
func (r *Report) judgeCluster(newest *repo.Entry) {
	if newest == nil {
		return
	}
	m := newest.Manifest
	if len(m.Alarms) > 0 {
		r.problem(KindCluster, hint.New(fmt.Errorf("the cluster has an alarm, by its newest snapshot: %s", strings.Join(m.Alarms, ", ")),
			"etcdctl alarm list; etcd takes no writes while NOSPACE is set, and CORRUPT means that members differ"))
	}
	r.judgeServer(m.EtcdVersion)
}

// judgeServer names the bugs that the server of the newest snapshot is known to have and a patch update removes. One that needs
// a new minor version is for drd check: a state that nobody can change tonight must not hide what somebody can.
func (r *Report) judgeServer(version string) {
	var bugs []string
	fixed := ""
	for _, i := range advisory.Known(version) {
		if i.Patch {
			bugs = append(bugs, i.ID+" ("+i.Summary+")")
			fixed = i.Fixed
		}
	}
	if len(bugs) > 0 {
		r.problem(KindCluster, hint.New(fmt.Errorf("etcd %s is known to have %s", version, strings.Join(bugs, ", ")), "update etcd to the newest patch release of its version, %s or later", fixed))
	}
}
