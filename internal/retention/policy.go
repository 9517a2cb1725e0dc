// Package retention decides which snapshots and segments of one target stay and which go, and says why.
//
// A catalogue, the segments of the archive, a policy and the time go in; one decision for each entry comes out. The package
// touches nothing and asks nobody, so what it decides can be printed, tested and repeated: package prune carries it out.
//
// It is built so that it cannot be the disaster. Only what this node could restore itself (repo.StateOK: whole, signed by
// a key it trusts) counts toward a rule, and only that is ever deleted. Forged, unsigned and foreign entries push nothing
// out, however many there are. A rebuilt cluster starts a timeline of its own and cannot age out what was there
// before. And while the newest backup is overdue nothing is deleted at all: a producer that is broken, or a clock
// that is wrong, must not be pruned to nothing. docs/retention.md tells operators the same.
package retention

import (
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// Policy says what stays. A snapshot that any rule keeps stays. A policy without a rule keeps everything.
type Policy struct {
	// KeepWithin keeps everything younger than this, and the newest that is not: so that every moment of this
	// time has a snapshot before it.
	KeepWithin time.Duration
	// Last keeps the newest so many snapshots of each timeline.
	Last int
	// Hourly keeps the newest snapshot of each hour, for the last so many hours that have one; the others do so by
	// day, ISO week, month and year. While there are fewer, the oldest snapshot is kept as well.
	Hourly, Daily, Weekly, Monthly, Yearly int
	// MinCopies is how many snapshots are left at least, on the current timeline and in all. At least 1.
	MinCopies int
	// ArchiveWithin is the time of which every second that can be restored stays so: the segments, and the snapshots that they
	// follow. 0: no segment goes, and none keeps a snapshot.
	ArchiveWithin time.Duration
	// ArchiveSpread is by how much that time may begin earlier or later for another node that prunes the same target at the same moment:
	// how long a prune takes, and clocks that differ. The archive is kept for so much longer. 0: DefaultSpread.
	ArchiveSpread time.Duration

	// Zone is where hours, days, weeks, months and years begin and end; nil: UTC.
	Zone *time.Location
	// Period is the longest time between two ticks of the schedule. When the newest snapshot is older than twice
	// this, nothing is deleted. Without it (0) nobody knows whether it is, and nothing is deleted either.
	Period time.Duration
	// Proved are the snapshots of this target that were restored in a drill, by ID, and when. The newest of them
	// stays until a newer one is proved.
	Proved map[string]time.Time
}

// Empty reports whether the policy has no rule. MinCopies alone is none: it only adds to the others.
func (p Policy) Empty() bool {
	return p.KeepWithin <= 0 && p.Last <= 0 && p.Hourly <= 0 && p.Daily <= 0 && p.Weekly <= 0 && p.Monthly <= 0 && p.Yearly <= 0
}

// shortestReach is how long a timeline is kept at least after its last snapshot. That a cluster was rebuilt on Friday
// evening, and from what, is found out in the week after.
const shortestReach = 7 * 24 * time.Hour

// reach is how far back the policy looks, by the longest of its rules: after that time without a new snapshot, a
// timeline that went on would have kept none of those that are there now.
func (p Policy) reach() time.Duration {
	const day = 24 * time.Hour
	return max(
		shortestReach, p.KeepWithin,
		times(p.Last, p.Period),
		times(p.Hourly, time.Hour), times(p.Daily, day), times(p.Weekly, 7*day), times(p.Monthly, 31*day), times(p.Yearly, 366*day),
	)
}

// times is n*d, or the longest duration there is when that is more.
func times(n int, d time.Duration) time.Duration {
	const longest = time.Duration(1<<63 - 1)
	switch {
	case n <= 0 || d <= 0:
		return 0
	case time.Duration(n) > longest/d:
		return longest
	}
	return time.Duration(n) * d
}

func (p Policy) zone() *time.Location {
	if p.Zone == nil {
		return time.UTC
	}
	return p.Zone
}

// Fate is what becomes of an entry.
type Fate string

// The fates, as they are shown and stand in JSON output.
const (
	Keep   Fate = "keep"
	Delete Fate = "delete"
)

// Decision is what becomes of one entry, and why.
type Decision struct {
	Entry   *repo.Entry // of the catalogue
	Fate    Fate
	Reasons []string // at least one; for people
}

// String is the decision on one line: "keep: newest, daily 1 of 7".
func (d Decision) String() string {
	return string(d.Fate) + ": " + strings.Join(d.Reasons, ", ")
}

// keep adds a reason to keep the entry. What spoke for deleting it does not matter any more.
func (d *Decision) keep(reason string) {
	if d.Fate == Delete {
		d.Reasons = nil
	}
	d.Fate = Keep
	if !slices.Contains(d.Reasons, reason) {
		d.Reasons = append(d.Reasons, reason)
	}
}
