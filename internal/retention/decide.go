package retention

import (
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

const (
	// LitterAge is how old an unfinished upload has to be, by its name and by the store's clock, before it counts as given up.
	LitterAge = 24 * time.Hour
	// DefaultSpread is more than a prune may take, by as much as clocks differ that nobody has complained about.
	DefaultSpread = 2 * time.Hour
	// lateAfter periods of the schedule without a new snapshot the producer is late. One tick may fail and be made up for.
	lateAfter = 2
)

const notKept = "not kept by any rule"

// Decide returns a decision for every entry of c and for every segment, in their order. now is this machine's clock; both must
// have been read with trust, for entries whose signature nobody checked are kept.
func Decide(c *repo.Catalogue, segments []repo.SegmentEntry, p Policy, now time.Time) ([]Decision, []SegmentDecision) {
	latest, _ := c.Latest(now, false) // nil: there is none, which is its only error
	snapshots := decideSnapshots(c, latest, p, now)
	archived := decideSegments(segments, snapshots, latest, p, now)
	if reason := p.hold(latest, now); reason != "" {
		keepAll(snapshots, reason)
		keepAllSegments(archived, reason)
	}
	return snapshots, archived
}

// decideSnapshots applies the rules for snapshots. latest is the one that a restore would take.
func decideSnapshots(c *repo.Catalogue, latest *repo.Entry, p Policy, now time.Time) []Decision {
	decisions := make([]Decision, len(c.Entries))
	var good []*Decision // what can be restored, newest first
	for i := range c.Entries {
		d := &decisions[i]
		d.Entry = &c.Entries[i]
		switch e := d.Entry; {
		case future(e, now):
			d.keep("dated in the future")
		case e.State == repo.StateIncomplete:
			d.judgeLitter(now)
		case e.State != repo.StateOK:
			d.keep(leftAlone(e.State))
		default:
			good = append(good, d)
		}
	}
	slices.SortStableFunc(good, func(a, b *Decision) int { return b.Entry.ID.Compare(a.Entry.ID) })
	judge(good, latest, p, now)
	return decisions
}

func future(e *repo.Entry, now time.Time) bool { return repo.InFuture(e.ID.Time, now) }

// judgeLitter decides on objects without a manifest. Both ages count: the store's clock and the writer's may each be wrong.
func (d *Decision) judgeLitter(now time.Time) {
	if now.Sub(d.Entry.ID.Time) <= LitterAge || now.Sub(d.Entry.Modified) <= LitterAge || d.Entry.Modified.IsZero() {
		d.keep("upload in progress: there is no manifest yet")
		return
	}
	d.Fate, d.Reasons = Delete, []string{"litter: there is no manifest after 24 hours"}
}

// leftAlone says why an entry that has a manifest is none of retention's business.
func leftAlone(s repo.State) string {
	switch s {
	case repo.StateUnsigned, repo.StateUnknownSigner, repo.StateExpiredSigner, repo.StateBadSignature:
		return fmt.Sprintf("not signed by a trusted key (%s)", s)
	case repo.StateUnverified:
		return "its signature was not checked"
	case repo.StateNewerFormat:
		return "written by a newer drd (newer-format)"
	case repo.StateUnread:
		return "not looked at (unread)"
	case repo.StateUnreadable:
		return "could not be read (unreadable)"
	}
	return fmt.Sprintf("damaged, for a person to look at (%s)", s)
}

// judge decides on the snapshots that can be restored, newest first. latest is the one that a restore would take.
func judge(good []*Decision, latest *repo.Entry, p Policy, now time.Time) {
	if latest == nil { // then nothing is good either; if it were, it would stay
		for _, d := range good {
			d.keep("not to be restored")
		}
		return
	}
	current := group{timeline: latest.Manifest.Timeline}
	groups := grouped(good)
	for g, line := range groups {
		p.judgeLine(line, g, g == current, now)
	}
	for _, d := range good {
		if d.Entry.ID.Compare(latest.ID) == 0 && d != groups[current][0] {
			d.keep("what a restore takes")
		}
	}
	if good[0].Fate != Keep {
		good[0].keep("the last that was taken")
	}
	p.keepProved(good)
	p.keepMinimum(groups[current])
	p.keepMinimum(good)
	for _, d := range good {
		if d.Fate == "" {
			d.Fate, d.Reasons = Delete, []string{notKept}
		}
	}
}

// group is what the rules are applied to by itself.
type group struct {
	timeline string
	// behind: of a member that had fallen behind, or dated by a clock that was wrong. They are later than others of the
	// timeline and know less: if they counted with those, the newest of a day could be the one that lacks it.
	behind bool
}

// grouped sorts snapshots, newest first, into groups, newest first.
func grouped(good []*Decision) map[group][]*Decision {
	furthest := make(map[string]int64) // revision by timeline
	groups := make(map[group][]*Decision)
	for _, d := range slices.Backward(good) {
		m := d.Entry.Manifest
		g := group{m.Timeline, d.Entry.ID.Revision < furthest[m.Timeline]}
		furthest[m.Timeline] = max(furthest[m.Timeline], d.Entry.ID.Revision)
		groups[g] = append(groups[g], d)
	}
	for _, line := range groups {
		slices.Reverse(line)
	}
	return groups
}

// keepProved keeps the newest snapshot that a drill restored, be it on an old timeline.
func (p Policy) keepProved(good []*Decision) {
	for _, d := range good {
		if at, ok := p.Proved[d.Entry.ID.String()]; ok {
			d.keep("last proved, on " + at.In(p.zone()).Format(time.DateOnly))
			return
		}
	}
}

// keepMinimum keeps more, newest first, until there are enough. What other rules keep counts.
func (p Policy) keepMinimum(entries []*Decision) {
	enough, kept := max(p.MinCopies, 1), 0
	for _, d := range entries {
		if d.Fate == Keep {
			kept++
		}
	}
	for _, d := range entries {
		if kept >= enough {
			return
		}
		if d.Fate != Keep {
			kept++
			d.keep(fmt.Sprintf("min_copies %d of %d", kept, enough))
		}
	}
}

// Hold says why nothing of this target may be deleted now, whatever the rules say; "": it may. Decide heeds it.
func Hold(c *repo.Catalogue, p Policy, now time.Time) string {
	latest, _ := c.Latest(now, false) // nil: there is none, which is its only error
	return p.hold(latest, now)
}

func (p Policy) hold(latest *repo.Entry, now time.Time) string {
	switch {
	case p.Empty():
		return "no retention is configured"
	case p.Period <= 0:
		return "how often snapshots are due is not known"
	case latest == nil:
		return "producer is late: there is no backup that can be restored"
	}
	age, limit := now.Sub(latest.ID.Time), times(lateAfter, p.Period)
	if age > limit {
		return fmt.Sprintf("producer is late: the newest backup is %s old, twice the schedule is %s", coarse(age), coarse(limit))
	}
	return ""
}

// keepAll turns every deletion around.
func keepAll(decisions []Decision, reason string) {
	for i := range decisions {
		if d := &decisions[i]; d.Fate == Delete {
			d.keep(reason)
		}
	}
}

// coarse writes a duration in its largest units: "13h", "45m", "12d".
func coarse(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour && d%time.Hour >= time.Minute:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
