package proof

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/drd-project/drd/internal/repo"
)

// history is one of drills that ended so long after testTime, of one host.
func history(host string, drills map[time.Duration][]Drill) *History {
	var records []*SignedRecord
	for after, all := range drills {
		at := testTime.Add(after)
		for i := range all {
			all[i].Started = at
		}
		rec := &Record{ID: NewID(at, host), Host: host, Started: at, Ended: at, Drills: all}
		records = append(records, &SignedRecord{ID: rec.ID, State: repo.StateOK, Record: rec, at: at})
	}
	return newHistory(records, false)
}

type choice struct {
	After  time.Duration // of the capture, after testTime
	Reason string
}

func told(chosen []Choice) []choice {
	var out []choice
	for _, c := range chosen {
		out = append(out, choice{c.Entry.ID.Time.Sub(testTime), c.Reason})
	}
	return out
}

func TestSelect(t *testing.T) {
	const day = 24 * time.Hour
	ok := func(days ...int) []repo.Entry {
		var entries []repo.Entry
		for _, d := range days {
			entries = append(entries, entry(snapshotID(time.Duration(d)*day), repo.StateOK))
		}
		return entries
	}
	broken := func(day0 int, state repo.State) repo.Entry { return entry(snapshotID(time.Duration(day0)*day), state) }
	drill := func(d int, outcome Outcome) []Drill {
		return []Drill{drilled(time.Duration(d)*day, LevelDrill, outcome)}
	}
	now := testTime.Add(100 * day)
	daily := SelectOptions{Now: now, Period: 30 * day, RunsPerPeriod: 30}
	for name, c := range map[string]struct {
		entries []repo.Entry
		h       *History
		opt     func(o SelectOptions) SelectOptions
		want    []choice
	}{
		"nothing":              {nil, &History{}, nil, nil},
		"one":                  {ok(99), &History{}, nil, []choice{{99 * day, reasonNewest}}},
		"two":                  {ok(98, 99), &History{}, nil, []choice{{99 * day, reasonNewest}, {98 * day, reasonRandom}}},
		"dated in the future":  {ok(99, 101), &History{}, nil, []choice{{99 * day, reasonNewest}}},
		"only in the future":   {ok(101), &History{}, nil, nil},
		"an upload is nothing": {append(ok(98), broken(99, repo.StateIncomplete)), &History{}, nil, []choice{{98 * day, reasonNewest}}},
		"not read":             {append(ok(98), broken(99, repo.StateUnreadable), broken(100, repo.StateUnread)), &History{}, nil, []choice{{98 * day, reasonNewest}}},
		"the newest is broken": {append(ok(98), broken(99, repo.StateBadSignature)), &History{}, nil, []choice{{99 * day, reasonUnusable}, {98 * day, reasonNewest}}},
		"an older is broken":   {append([]repo.Entry{broken(97, repo.StateUnsigned)}, ok(98)...), &History{}, nil, []choice{{98 * day, reasonNewest}}},
		"only broken":          {[]repo.Entry{broken(98, repo.StateUnsigned), broken(99, repo.StatePayloadMissing)}, &History{}, nil, []choice{{99 * day, reasonUnusable}}},
		"cannot open the newest": {ok(97, 98, 99), &History{}, func(o SelectOptions) SelectOptions {
			o.CanOpen = func(e *repo.Entry) bool { return e.ID.Time.Before(testTime.Add(99 * day)) }
			return o
		}, []choice{{98 * day, reasonOpenable}, {97 * day, reasonRandom}}},
		"cannot open anything": {ok(97, 98, 99), &History{}, func(o SelectOptions) SelectOptions {
			o.CanOpen = func(*repo.Entry) bool { return false }
			return o
		}, []choice{{99 * day, reasonNewest}}},
		"due after a month": {ok(1, 2, 90, 99), history("node1", map[time.Duration][]Drill{
			10 * day: drill(1, Passed), 70 * day: drill(2, Passed), 95 * day: drill(90, Passed),
		}), nil, []choice{{99 * day, reasonNewest}, {1 * day, reasonDue}, {2 * day, reasonDue}, {90 * day, reasonRandom}}},
		"a failure is a word, too": {ok(1, 2, 99), history("node1", map[time.Duration][]Drill{
			10 * day: drill(1, Failed), 98 * day: drill(1, Failed), 99 * day: drill(2, Passed),
		}), func(o SelectOptions) SelectOptions { o.Max = 2; return o }, []choice{{99 * day, reasonNewest}, {2 * day, reasonRandom}}},
		"inconclusive is none": {ok(1, 99), history("node1", map[time.Duration][]Drill{
			10 * day: drill(2, Passed), 99 * day: drill(1, Inconclusive),
		}), nil, []choice{{99 * day, reasonNewest}, {1 * day, reasonDue}}},
		"a new verifier has time": {ok(1, 2, 3, 4, 5, 99), history("node2", map[time.Duration][]Drill{1 * day: drill(77, Passed)}), func(o SelectOptions) SelectOptions {
			o.Host = "node1"
			return o
		}, []choice{{99 * day, reasonNewest}, {1 * day, reasonRandom}}},
		"records that were not read": {ok(1, 2, 99), &History{truncated: true}, nil, []choice{{99 * day, reasonNewest}, {1 * day, reasonDue}, {2 * day, reasonDue}}},
		"most":                       {ok(1, 2, 3, 99), &History{truncated: true}, func(o SelectOptions) SelectOptions { o.Max = 2; return o }, []choice{{99 * day, reasonNewest}, {1 * day, reasonDue}}},
		"no period":                  {ok(1, 2, 99), &History{truncated: true}, func(o SelectOptions) SelectOptions { o.Period = 0; return o }, []choice{{99 * day, reasonNewest}, {2 * day, reasonRandom}}},
		"a share each run": {ok(1, 2, 3, 4, 5, 6, 99), &History{}, func(o SelectOptions) SelectOptions {
			o.RunsPerPeriod = 3
			return o
		}, []choice{{99 * day, reasonNewest}, {1 * day, reasonRandom}, {6 * day, reasonNeverTried}, {5 * day, reasonNeverTried}}},
		"one run a period": {ok(1, 2, 99), &History{}, func(o SelectOptions) SelectOptions { o.RunsPerPeriod = 1; return o },
			[]choice{{99 * day, reasonNewest}, {1 * day, reasonDue}, {2 * day, reasonDue}}},
	} {
		t.Run(name, func(t *testing.T) {
			opt := daily
			if c.opt != nil {
				opt = c.opt(opt)
			}
			got := Select(c.entries, c.h, opt)
			if diff := cmp.Diff(c.want, told(got)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(told(got), told(Select(c.entries, c.h, opt))); diff != "" {
				t.Errorf("the second time it is other:\n%s", diff)
			}
		})
	}
}

// TestSelectAtRandom: what is left to chance reaches every snapshot.
func TestSelectAtRandom(t *testing.T) {
	var entries []repo.Entry
	for i := range 10 {
		entries = append(entries, entry(snapshotID(time.Duration(i)*time.Hour), repo.StateOK))
	}
	seen := make(map[time.Duration]bool)
	for seed := range uint64(200) {
		for _, c := range told(Select(entries, &History{}, SelectOptions{Now: testTime.Add(12 * time.Hour), Seed: seed})) {
			seen[c.After] = true
		}
	}
	if len(seen) != len(entries) {
		t.Errorf("%d of %d were ever chosen", len(seen), len(entries))
	}
}

// TestSelectCovers runs drills over months on a target that grows and is pruned, by a schedule that is late at times. At
// every moment everything that can be opened was drilled within the period, or was not there for so long.
func TestSelectCovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const period = 30 * 24 * time.Hour
		perPeriod := rapid.SampledFrom([]int{1, 4, 10, 30, 60}).Draw(t, "runs in a period")
		interval := period / time.Duration(perPeriod)
		every := time.Duration(rapid.IntRange(4, 72).Draw(t, "hours between snapshots")) * time.Hour
		var entries []repo.Entry
		for i := range rapid.IntRange(0, 60).Draw(t, "snapshots at the beginning") {
			entries = append(entries, entry(snapshotID(-time.Duration(i+1)*every), repo.StateOK))
		}
		slices.Reverse(entries)
		canOpen := func(e *repo.Entry) bool { return e.ID.Time.Unix()/3600%7 != 0 }
		last := make(map[string]time.Duration) // of the drill, after testTime
		drills := make(map[time.Duration][]Drill)
		at, next := time.Duration(0), time.Duration(0)
		for range 3*perPeriod + 5 {
			for ; next < at; next += every {
				entries = append(entries, entry(snapshotID(next), repo.StateOK))
			}
			if n := len(entries); n > 40 || (n > 2 && rapid.IntRange(0, 9).Draw(t, "prune") == 0) {
				from := rapid.IntRange(0, n-2).Draw(t, "from")
				entries = slices.Delete(entries, from, min(n-1, from+rapid.IntRange(1, 20).Draw(t, "pruned")))
			}
			now := testTime.Add(at)
			chosen := Select(entries, history("node1", drills), SelectOptions{
				Now: now, Period: period, RunsPerPeriod: perPeriod, CanOpen: canOpen, Host: "node1", Seed: uint64(at), Max: 1000,
			})
			for _, c := range chosen {
				id := c.Entry.ID.String()
				drills[at] = append(drills[at], drilled(c.Entry.ID.Time.Sub(testTime), LevelDrill, Passed))
				last[id] = at
			}
			for i := range entries {
				e := &entries[i]
				since, ok := last[e.ID.String()]
				if !ok {
					since = max(0, e.ID.Time.Sub(testTime)) // the first run was at 0
				}
				if canOpen(e) && at-since > period {
					t.Fatalf("on %s, %s was not drilled for %s", now, e.ID, at-since)
				}
			}
			// The next run comes early or late by a quarter of the interval; a single one in a period cannot be late.
			late := time.Duration(rapid.IntRange(-25, min(25, perPeriod-1)).Draw(t, "late"))
			at += interval + interval*late/100
		}
	})
}
