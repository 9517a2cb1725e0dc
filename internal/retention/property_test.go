package retention

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/drd-project/drd/internal/repo"
)

// history is what several nodes may have left in a target, over several timelines, with clocks that are wrong and
// things that are no backups in between.
type history struct {
	entries []repo.Entry
	now     time.Time
	policy  Policy
}

var lookAlikes = []repo.State{
	repo.StateUnreadable, repo.StateNewerFormat, repo.StateBadManifest, repo.StateBadSignature, repo.StateUnknownSigner,
	repo.StateExpiredSigner, repo.StateUnsigned, repo.StatePayloadMissing, repo.StatePayloadSize, repo.StateUnverified, repo.StateIncomplete,
}

// drawBehind is a history in which members may also fall behind, and clocks change what came first.
func drawBehind(t *rapid.T) history {
	h := drawHistory(t)
	for i := range h.entries {
		if rapid.IntRange(0, 4).Draw(t, "stands still") == 0 {
			h.entries[i].ID.Revision = int64(rapid.IntRange(1, 1000).Draw(t, "revision"))
			h.entries[i].Manifest.Revision = h.entries[i].ID.Revision
		}
	}
	h.sort()
	return h
}

func drawHistory(t *rapid.T) history {
	h := history{now: time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)}
	h.policy = drawPolicy(t)
	at := h.now
	timelines := []string{lineB, lineA, "00000000000000cc"}
	line := 0
	for range rapid.IntRange(0, 60).Draw(t, "snapshots") {
		at = at.Add(-drawStep(t))
		if rapid.IntRange(0, 14).Draw(t, "rebuilt") == 0 && line < len(timelines)-1 {
			line++
		}
		e := entry(at.Add(drawSkew(t)), uint64(rapid.IntRange(0xa1, 0xa3).Draw(t, "node")), timelines[line], repo.StateOK)
		h.entries = append(h.entries, e)
	}
	h.sort()
	return h
}

func drawStep(t *rapid.T) time.Duration {
	return time.Duration(rapid.OneOf(rapid.IntRange(1, 90), rapid.IntRange(90, 3000), rapid.IntRange(3000, 60_000)).Draw(t, "minutes")) * time.Minute
}

// drawSkew is how wrong a node's clock is: mostly not at all, sometimes days.
func drawSkew(t *rapid.T) time.Duration {
	if rapid.IntRange(0, 9).Draw(t, "clock is wrong") != 0 {
		return 0
	}
	return time.Duration(rapid.IntRange(-5000, 5000).Draw(t, "minutes wrong")) * time.Minute
}

func drawPolicy(t *rapid.T) Policy {
	n := func(name string) int { return max(0, rapid.IntRange(-3, 8).Draw(t, name)) }
	zones := []string{"UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"}
	loc, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	return Policy{
		KeepWithin: time.Duration(n("keep_within")) * 12 * time.Hour, Last: n("last"), Hourly: n("hourly"), Daily: n("daily"),
		Weekly: n("weekly"), Monthly: n("monthly"), Yearly: n("yearly"), MinCopies: n("min_copies"), Zone: loc,
		Period: time.Duration(rapid.SampledFrom([]int{0, 6, 24, 24 * 60}).Draw(t, "period")) * time.Hour,
	}
}

// sort orders the entries as a catalogue does, and drops what has the ID of another.
func (h *history) sort() {
	slices.SortStableFunc(h.entries, func(a, b repo.Entry) int { return a.ID.Compare(b.ID) })
	h.entries = slices.CompactFunc(h.entries, func(a, b repo.Entry) bool { return a.ID.Compare(b.ID) == 0 })
}

func (h history) decide() []Decision {
	return decide(h.entries, h.policy, h.now)
}

// without is the history after a prune that got through the deletions for which done says so.
func (h history) without(decisions []Decision, done func(Decision) bool) history {
	next := h
	next.entries = nil
	for _, d := range decisions {
		if d.Fate == Keep || !done(d) {
			next.entries = append(next.entries, *d.Entry)
		}
	}
	return next
}

// good are the entries that can be restored and are not dated in the future, oldest first.
func (h history) good() []repo.Entry {
	var good []repo.Entry
	for _, e := range h.entries {
		if e.State == repo.StateOK && !e.ID.Time.After(h.now.Add(repo.FutureSkew)) {
			good = append(good, e)
		}
	}
	return good
}

func all(Decision) bool { return true }

// TestPruneKeepsEnough: after any prune the newest is there, there are min_copies or all that there were, nothing that is
// not drd's business was touched, and a second prune finds nothing to do.
func TestPruneKeepsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		decisions := h.decide()
		if len(decisions) != len(h.entries) {
			t.Fatalf("%d decisions on %d entries", len(decisions), len(h.entries))
		}
		for i, d := range decisions {
			if d.Entry != &h.entries[i] && d.Entry.ID.Compare(h.entries[i].ID) != 0 || len(d.Reasons) == 0 || (d.Fate != Keep && d.Fate != Delete) {
				t.Fatalf("decision %d on %s: %s", i, h.entries[i].ID, d)
			}
		}
		next := h.without(decisions, all)
		before, after := h.good(), next.good()
		if len(before) > 0 && after[len(after)-1].ID.Compare(before[len(before)-1].ID) != 0 {
			t.Fatal("the newest is gone")
		}
		if want := min(max(1, h.policy.MinCopies), len(before)); len(after) < want {
			t.Fatalf("%d are left, at least %d have to", len(after), want)
		}
		if len(h.entries)-len(before) != len(next.entries)-len(after) {
			t.Fatal("something from the future is gone")
		}
		if again := count(next.decide(), Delete); again != 0 {
			t.Fatalf("a second prune deletes %d more:\n%s", again, told(next.decide()))
		}
	})
}

// TestMembersBehind: with members that stand still, too, the newest stays, and what a restore takes, and enough; and a
// few prunes later there is nothing to do.
func TestMembersBehind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawBehind(t)
		for range 10 {
			decisions := h.decide()
			next := h.without(decisions, all)
			before, after := h.good(), next.good()
			if len(before) > 0 && after[len(after)-1].ID.Compare(before[len(before)-1].ID) != 0 {
				t.Fatal("the newest is gone")
			}
			if latest, err := (&repo.Catalogue{Entries: h.entries}).Latest(h.now, false); err == nil && fates(decisions)[latest.ID.String()] != Keep {
				t.Fatalf("what a restore takes would go: %s", latest.ID)
			}
			if want := min(max(1, h.policy.MinCopies), len(before)); len(after) < want {
				t.Fatalf("%d are left, at least %d have to", len(after), want)
			}
			if len(next.entries) == len(h.entries) {
				return
			}
			h = next
		}
		t.Fatal("there is always more to delete")
	})
}

// TestInterruptedPrune: however far a prune got, in whatever order, the next one keeps all that this one would have kept.
func TestInterruptedPrune(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		decisions := h.decide()
		part := h.without(decisions, func(Decision) bool { return rapid.Bool().Draw(t, "deleted") })
		then := fates(part.decide())
		for _, d := range decisions {
			if d.Fate == Keep && then[d.Entry.ID.String()] != Keep {
				t.Fatalf("%s: first %s, then %s", d.Entry.ID, d, told(part.decide()))
			}
		}
	})
}

// TestLookAlikes: nothing that is not ok changes the fate of what is, and nothing of it goes but old litter.
func TestLookAlikes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		before := fates(h.decide())
		flooded := h
		flooded.entries = slices.Clone(h.entries)
		for range rapid.IntRange(1, 40).Draw(t, "look-alikes") {
			at := h.now.Add(time.Duration(rapid.IntRange(-100_000, 10_000).Draw(t, "minutes from now")) * time.Minute)
			flooded.entries = append(flooded.entries, entry(at, 0xbad, lineB, rapid.SampledFrom(lookAlikes).Draw(t, "state")))
		}
		flooded.sort()
		for _, d := range flooded.decide() {
			want, mine := before[d.Entry.ID.String()]
			switch {
			case mine && d.Fate != want:
				t.Fatalf("%s: %s before, now %s", d.Entry.ID, want, d)
			case !mine && d.Fate == Delete && (d.Entry.State != repo.StateIncomplete || h.now.Sub(d.Entry.ID.Time) <= LitterAge):
				t.Fatalf("%s (%s): %s", d.Entry.ID, d.Entry.State, d)
			}
		}
	})
}

// TestLateProducer: with every policy, nothing is deleted while the newest backup is overdue.
func TestLateProducer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		good := h.good()
		if len(good) == 0 {
			return
		}
		h.policy.Period = time.Hour
		h.now = good[len(good)-1].ID.Time.Add(2*time.Hour + time.Duration(rapid.IntRange(1, 1_000_000).Draw(t, "seconds later"))*time.Second)
		for _, later := range h.good() {
			if h.now.Sub(later.ID.Time) <= 2*time.Hour {
				return // what was from the future is the newest now
			}
		}
		if n := count(h.decide(), Delete); n != 0 {
			t.Fatalf("%d are deleted:\n%s", n, told(h.decide()))
		}
	})
}

// TestOwnTimeline: what happens on other timelines changes the fate of no snapshot, but for what min_copies adds, as long
// as the newest stays on the timeline that it is on.
func TestOwnTimeline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		good := h.good()
		if len(good) == 0 {
			return
		}
		h.policy.MinCopies = 1
		current := good[len(good)-1].Manifest.Timeline
		alone := h
		alone.entries = slices.DeleteFunc(slices.Clone(h.entries), func(e repo.Entry) bool { return e.Manifest.Timeline != current })
		want := fates(alone.decide())
		for _, d := range h.decide() {
			if d.Entry.Manifest.Timeline == current && d.Fate != want[d.Entry.ID.String()] {
				t.Fatalf("%s: alone %s, with others %s", d.Entry.ID, want[d.Entry.ID.String()], d)
			}
		}
	})
}
