package retention

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
)

var update = flag.Bool("update", false, "rewrite the golden files from what the code does now")

const sixHours = 6 * time.Hour

// TestGolden judges histories by policies and compares every decision with testdata/NAME.golden.
func TestGolden(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)
	hourlyForDays := every(time.Hour, 72, noon.Add(-30*time.Minute))
	for _, c := range []struct {
		name    string
		entries []repo.Entry
		policy  Policy
		now     time.Time
	}{
		{"last", every(sixHours, 6, noon.Add(-30*time.Minute)), Policy{Last: 3}, noon},
		{"keep_within", every(sixHours, 8, noon.Add(-30*time.Minute)), Policy{KeepWithin: 24 * time.Hour}, noon},
		{"keep_within_exact", every(sixHours, 8, noon), Policy{KeepWithin: 24 * time.Hour}, noon},
		{"hourly", hourlyForDays[60:], Policy{Hourly: 5}, noon},
		{"daily", every(8*time.Hour, 12, noon.Add(-30*time.Minute)), Policy{Daily: 3}, noon},
		{"daily_not_full", every(8*time.Hour, 12, noon.Add(-30*time.Minute)), Policy{Daily: 7}, noon},
		{"weekly", every(24*time.Hour, 25, noon.Add(-30*time.Minute)), Policy{Weekly: 3}, noon},
		{"weekly_over_new_year", every(24*time.Hour, 12, when(t, "2027-01-06")), Policy{Weekly: 2}, when(t, "2027-01-06T01:00Z")},
		{"monthly", every(10*24*time.Hour, 15, noon.Add(-30*time.Minute)), Policy{Monthly: 2}, noon},
		{"yearly", every(100*24*time.Hour, 15, noon.Add(-30*time.Minute)), Policy{Yearly: 2}, noon},
		{"design", every(sixHours, 40, noon.Add(-30*time.Minute)), Policy{KeepWithin: 48 * time.Hour, Last: 8, Hourly: 24, Daily: 7, Weekly: 5, Monthly: 12, MinCopies: 3}, noon},
		{"min_copies", every(sixHours, 6, noon.Add(-30*time.Minute)), Policy{Last: 1, MinCopies: 4}, noon},
		{"no_rule", every(sixHours, 4, noon), Policy{MinCopies: 1}, noon},
		{"late", append(every(sixHours, 4, noon.Add(-13*time.Hour)), entry(noon.Add(-3*time.Hour), 0xb1, lineA, repo.StateUnsigned)), Policy{Last: 1, Period: sixHours}, noon},
		{"zone_berlin", every(2*time.Hour, 13, noon.Add(-30*time.Minute)), Policy{Daily: 2, Zone: zone(t, "Europe/Berlin")}, noon},
		{"zone_kathmandu", every(30*time.Minute, 9, noon.Add(-30*time.Minute)), Policy{Hourly: 3, Zone: zone(t, "Asia/Kathmandu")}, noon},
		{"dst_repeated_hour", every(30*time.Minute, 8, when(t, "2026-10-25T02:30Z")), Policy{Hourly: 5, Zone: zone(t, "Europe/Berlin")}, when(t, "2026-10-25T02:40Z")},
		{"dst_skipped_hour", every(30*time.Minute, 8, when(t, "2026-03-29T02:30Z")), Policy{Hourly: 3, Zone: zone(t, "Europe/Berlin")}, when(t, "2026-03-29T02:40Z")},
		{"states", parseEntries(t, states), Policy{Last: 1}, noon},
		{"timelines", parseEntries(t, timelines), Policy{Last: 2, Daily: 2, MinCopies: 1}, noon},
		{"timelines_min_copies", parseEntries(t, timelines), Policy{Last: 1, MinCopies: 3}, noon},
		{"timeline_ended", parseEntries(t, timelineEnded), Policy{Last: 1, MinCopies: 1}, noon},
		{"timeline_ended_min_copies", parseEntries(t, timelineEnded), Policy{Last: 1, MinCopies: 4}, noon},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.policy.Period == 0 {
				c.policy.Period = 100 * 24 * time.Hour // never late
			}
			if c.name == "timeline_ended" || c.name == "timeline_ended_min_copies" {
				c.policy.Period = sixHours
			}
			compareGolden(t, c.name, told(decide(c.entries, c.policy, c.now)))
		})
	}
}

// One of each state, and two that are good.
const states = `
2026-11-01 ok
2026-11-02 incomplete
2026-11-03 unreadable
2026-11-04 newer-format
2026-11-05 bad-manifest
2026-11-06 bad-signature
2026-11-07 unknown-signer
2026-11-08 expired-signer
2026-11-09 unsigned
2026-11-10 payload-missing
2026-11-11 payload-size
2026-11-12 unverified
2026-11-21T13:00Z incomplete
2026-11-22T10:00Z ok
2026-11-22T12:29Z incomplete
2026-11-22T12:36Z ok
2027-11-22T12:00Z ok
2027-11-22T13:00Z incomplete
`

// The cluster was rebuilt on the 20th. Its revisions are low again; time decides.
const timelines = `
2026-11-15T12:00Z
2026-11-16T12:00Z
2026-11-17T12:00Z
2026-11-18T12:00Z
2026-11-19T12:00Z
2026-11-20T12:00Z B
2026-11-21T12:00Z B
2026-11-22T00:00Z B
2026-11-22T06:00Z B
2026-11-22T12:00Z B
`

const timelineEnded = `
2026-11-13T12:00Z
2026-11-14T12:00Z
2026-11-22T00:00Z B
2026-11-22T06:00Z B
`

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v\nhint: go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-golden +now:\n%s", diff)
	}
}

// TestFlood: a thousand newer look-alikes of every kind that nobody vouches for change the fate of no good snapshot.
func TestFlood(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)
	p := Policy{KeepWithin: 24 * time.Hour, Last: 4, Hourly: 6, Daily: 7, Weekly: 5, Monthly: 12, Yearly: 2, MinCopies: 3, Period: sixHours}
	good := every(sixHours, 60, now.Add(-30*time.Minute))
	before := fates(decide(good, p, now))
	kinds := []repo.State{repo.StateUnsigned, repo.StateUnknownSigner, repo.StateBadSignature, repo.StateExpiredSigner, repo.StateBadManifest, repo.StateNewerFormat, repo.StateIncomplete, repo.StateUnverified}
	var flood []repo.Entry
	for i := range 1000 {
		flood = append(flood, entry(now.Add(-time.Duration(i)*time.Second), 0xbad, lineB, kinds[i%len(kinds)]))
	}
	all := append(slices.Clone(good), flood...)
	slices.SortFunc(all, func(a, b repo.Entry) int { return a.ID.Compare(b.ID) })
	decisions := decide(all, p, now)
	after := fates(decisions)
	for id, want := range before {
		if after[id] != want {
			t.Errorf("%s: %s instead of %s", id, after[id], want)
		}
	}
	for _, d := range decisions {
		if d.Entry.ID.Member == 0xbad && d.Fate != Keep {
			t.Errorf("%s (%s) would be deleted: %s", d.Entry.ID, d.Entry.State, d)
		}
	}
	if n := count(decisions, Delete); n == 0 {
		t.Error("nothing is deleted, so this proves nothing")
	}
}

// TestProved: the last proved snapshot stays, wherever it is, until a newer one is proved.
func TestProved(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)
	entries := append(parseEntries(t, timelineEnded), every(sixHours, 5, now)...)
	slices.SortFunc(entries, func(a, b repo.Entry) int { return a.ID.Compare(b.ID) })
	p := Policy{Last: 1, MinCopies: 1, Period: sixHours}
	old, newer, unknown := entries[0].ID.String(), entries[3].ID.String(), "20200101T000000Z-r1-a1"
	for _, c := range []struct {
		proved []string
		want   string
	}{
		{nil, ""}, {[]string{unknown}, ""}, {[]string{old}, old}, {[]string{old, newer}, newer},
	} {
		p.Proved = make(map[string]time.Time)
		for i, id := range c.proved {
			p.Proved[id] = now.Add(-time.Duration(i) * time.Hour) // the older snapshot was proved later
		}
		for _, d := range decide(entries, p, now) {
			if got := strings.Contains(d.String(), "last proved, on 2026-11-22"); got != (d.Entry.ID.String() == c.want) {
				t.Errorf("proved %q: %s is %s", c.proved, d.Entry.ID, d)
			}
		}
	}
}

// TestForkWithinASecond: of two snapshots with the same second, the newest is the one whose timeline came from the other's,
// not the one with the higher revision.
func TestForkWithinASecond(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	before, after := entry(at, 0xa1, lineA, repo.StateOK), entry(at, 0xa1, lineB, repo.StateOK)
	before.ID.Revision, after.ID.Revision = 1000, 5
	before.Manifest.Revision, after.Manifest.Revision = 1000, 5
	got := told(decide([]repo.Entry{after, before}, Policy{Daily: 1, Period: sixHours}, at))
	want := "2026-11-22T12:00:00Z B  keep: newest, daily 1 of 1\n" +
		"2026-11-22T12:00:00Z  keep: newest of timeline 00000000000000aa, daily 1 of 1\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMemberBehind: the snapshots of a member that stands still, taken a minute after each good one, push no good one out.
func TestMemberBehind(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)
	p := Policy{Last: 3, Daily: 5, Weekly: 2, MinCopies: 2, Period: sixHours}
	good := every(sixHours, 40, now.Add(-30*time.Minute))
	before := fates(decide(good, p, now))
	var all []repo.Entry
	for _, e := range good {
		stale := entry(e.ID.Time.Add(time.Minute), 0xb1, lineA, repo.StateOK)
		stale.ID.Revision = good[0].ID.Revision - 1
		stale.Manifest.Revision = stale.ID.Revision
		all = append(all, e, stale)
	}
	decisions := decide(all, p, now)
	kept := 0
	for _, d := range decisions {
		want, mine := before[d.Entry.ID.String()]
		if mine && d.Fate == Delete && want == Keep {
			t.Errorf("%s would go: %s", d.Entry.ID, d)
		}
		if !mine && d.Fate == Keep {
			kept++
		}
	}
	if kept == 0 || kept > 12 {
		t.Errorf("%d of the member that stands still are kept", kept)
	}
}

// TestLate is the limit itself, to the second; and what is not known counts as late.
func TestLate(t *testing.T) {
	newest := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		period, after time.Duration
		deletes       int
	}{
		{sixHours, 12 * time.Hour, 4},
		{sixHours, 12*time.Hour + time.Second, 0},
		{0, time.Minute, 0},
		{-1, time.Minute, 0},
		{sixHours, -4 * time.Minute, 4},
		{sixHours, -6 * time.Minute, 0}, // all of them lie in the future, or nothing newer is known
	} {
		entries := every(time.Second, 5, newest)
		got := count(decide(entries, Policy{Last: 1, Period: c.period}, newest.Add(c.after)), Delete)
		if got != c.deletes {
			t.Errorf("period %s, %s later: %d deleted, want %d", c.period, c.after, got, c.deletes)
		}
	}
}

// TestLitterWaits: litter goes only when it is old by both clocks, and not while the producer is late.
func TestLitterWaits(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		named, stored, newest time.Duration // ago
		want                  Fate
	}{
		{25 * time.Hour, 25 * time.Hour, time.Hour, Delete},
		{24 * time.Hour, 25 * time.Hour, time.Hour, Keep},
		{25 * time.Hour, 24 * time.Hour, time.Hour, Keep},
		{25 * time.Hour, time.Hour, time.Hour, Keep},         // a slow upload of an old capture
		{time.Hour, 25 * time.Hour, time.Hour, Keep},         // a store whose clock is behind
		{25 * time.Hour, -time.Hour, time.Hour, Keep},        // a store whose clock is ahead
		{-25 * time.Hour, 25 * time.Hour, 0, Keep},           // a name from the future
		{25 * time.Hour, 25 * time.Hour, sixHours * 3, Keep}, // nothing new for too long
	} {
		litter := entry(now.Add(-c.named), 0xb1, lineA, repo.StateIncomplete)
		litter.Modified = now.Add(-c.stored)
		entries := []repo.Entry{litter, entry(now.Add(-c.newest), 0xa1, lineA, repo.StateOK)}
		if got := decide(entries, Policy{Last: 1, Period: sixHours}, now)[0]; got.Fate != c.want {
			t.Errorf("named %s, stored %s ago: %s", c.named, c.stored, got)
		}
	}
	unknown := entry(now.Add(-48*time.Hour), 0xb1, lineA, repo.StateIncomplete)
	unknown.Modified = time.Time{}
	entries := []repo.Entry{unknown, entry(now, 0xa1, lineA, repo.StateOK)}
	if got := decide(entries, Policy{Last: 1, Period: sixHours}, now)[0]; got.Fate != Keep {
		t.Errorf("a store that tells no time: %s", got)
	}
}

// TestReach: how long an old timeline stays follows the longest rule, and a week at least.
func TestReach(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		policy Policy
		want   time.Duration
	}{
		{Policy{Last: 1, Period: time.Hour}, 7 * day},
		{Policy{Last: 100, Period: sixHours}, 25 * day},
		{Policy{KeepWithin: 9 * day, Daily: 8}, 9 * day},
		{Policy{Hourly: 24 * 30}, 30 * day},
		{Policy{Weekly: 5}, 35 * day},
		{Policy{Monthly: 12}, 372 * day},
		{Policy{Yearly: 3}, 1098 * day},
		{Policy{Yearly: 100_000}, 1<<63 - 1},
	} {
		if got := c.policy.reach(); got != c.want {
			t.Errorf("%+v reaches %s, want %s", c.policy, got, c.want)
		}
	}
}

// TestClockOverMidnight: where the clock goes back over midnight a day comes twice, and takes one place.
func TestClockOverMidnight(t *testing.T) {
	newfoundland := zone(t, "America/St_Johns") // until 2011 its clocks went back at 00:01
	r := bucketRule{"daily", 2, func(at time.Time) string { return at.Format(time.DateOnly) }}
	var line []*Decision
	for _, text := range []string{"2010-11-07T03:40Z", "2010-11-07T03:20Z", "2010-11-07T02:40Z", "2010-11-07T02:30:30Z", "2010-11-07T02:20Z", "2010-11-05T12:00Z"} {
		e := entry(when(t, text), 0xa1, lineA, repo.StateOK)
		line = append(line, &Decision{Entry: &e})
	}
	r.keep(line, newfoundland)
	var got []string
	for _, d := range line {
		got = append(got, fmt.Sprintf("%s %v", d.Entry.ID.Time.In(newfoundland).Format("01-02 15:04:05"), d.Reasons))
	}
	want := []string{
		"11-07 00:10:00 [daily 1 of 2]", "11-06 23:50:00 [daily 2 of 2]", "11-06 23:10:00 []", "11-07 00:00:30 []", "11-06 23:50:00 []", "11-05 09:30:00 []",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
