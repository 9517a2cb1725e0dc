package retention

import (
	"fmt"
	"time"
)

// judgeLine applies the rules to the snapshots of one group, newest first. It leaves without a fate what no rule keeps.
//
// Each timeline is judged by itself, so a cluster that was rebuilt, and takes many snapshots of nothing, does not use up
// the places of what it was before. A timeline that has ended gets no new snapshots that would push the old ones
// out, so its end is a matter of time: when its newest snapshot is older than the policy reaches, all of it goes.
func (p Policy) judgeLine(line []*Decision, of group, current bool, now time.Time) {
	newest := line[0]
	age := now.Sub(newest.Entry.ID.Time)
	if !current && age > p.reach() {
		for _, d := range line {
			d.Fate, d.Reasons = Delete, []string{fmt.Sprintf("its timeline ended %s ago, and the policy reaches back %s", coarse(age), coarse(p.reach()))}
		}
		return
	}
	switch {
	case current:
		newest.keep("newest")
	case of.behind:
		newest.keep("newest of those that are behind earlier ones of timeline " + of.timeline)
	default:
		newest.keep("newest of timeline " + of.timeline)
	}
	p.keepWithin(line, now)
	for i, d := range line[:min(max(p.Last, 0), len(line))] {
		d.keep(fmt.Sprintf("last %d of %d", i+1, p.Last))
	}
	for _, r := range p.buckets() {
		r.keep(line, p.zone())
	}
}

// keepWithin keeps what is young enough, and one that is not: without it, the first moments of the time to be covered
// would have no snapshot before them.
func (p Policy) keepWithin(line []*Decision, now time.Time) {
	if p.KeepWithin <= 0 {
		return
	}
	for _, d := range line {
		if now.Sub(d.Entry.ID.Time) > p.KeepWithin {
			d.keep("keep_within: the newest from before it")
			return
		}
		d.keep("keep_within")
	}
}

// bucketRule keeps the newest snapshot of each bucket, for the newest count buckets that have one.
type bucketRule struct {
	name  string
	count int
	of    func(local time.Time) string // names the bucket of a time
}

func (p Policy) buckets() []bucketRule {
	return []bucketRule{
		// The offset tells apart the two hours of the same name when daylight saving time ends.
		{"hourly", p.Hourly, func(t time.Time) string { return t.Format("2006-01-02T15 -0700") }},
		{"daily", p.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{"weekly", p.Weekly, func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d week %d", year, week)
		}},
		{"monthly", p.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
		{"yearly", p.Yearly, func(t time.Time) string { return t.Format("2006") }},
	}
}

// keep goes through snapshots from the newest. While there are fewer buckets than places, the oldest snapshot of all takes
// one more: it is the one that grows into the bucket that is missing. Without it a policy of 12 months would, in its
// first year, hold nothing that is older than the month's last snapshots.
func (r bucketRule) keep(line []*Decision, zone *time.Location) {
	if r.count <= 0 {
		return
	}
	seen := make(map[string]bool) // some clocks go back over midnight, so a day can come twice
	for i, d := range line {
		bucket := r.of(d.Entry.ID.Time.In(zone))
		switch oldest := i == len(line)-1; {
		case !seen[bucket] && len(seen) == r.count:
			return
		case !seen[bucket]:
			seen[bucket] = true
			d.keep(fmt.Sprintf("%s %d of %d", r.name, len(seen), r.count))
		case oldest && len(seen) < r.count:
			d.keep(fmt.Sprintf("%s: the oldest, with %d of %d", r.name, len(seen), r.count))
		}
	}
}
