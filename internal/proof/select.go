package proof

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// Choice is one snapshot that a run should drill.
type Choice struct {
	Entry  *repo.Entry // of the entries that were given
	Reason string      // for people: why this one
}

// Why a snapshot is chosen.
const (
	reasonNewest     = "the newest that a restore would take"
	reasonUnusable   = "the newest of all, which cannot be restored as it is"
	reasonOpenable   = "the newest that this host can open"
	reasonDue        = "due, to be covered in time"
	reasonRandom     = "one at random"
	reasonNeverTried = "never drilled"
	reasonLongAgo    = "drilled longest ago"
)

// SelectOptions say how much to choose.
type SelectOptions struct {
	Now time.Time
	// Period is the time in which every snapshot should be drilled, and RunsPerPeriod how many runs this host makes in it,
	// 1 at least. Period 0: one older snapshot a run.
	Period        time.Duration
	RunsPerPeriod int
	// CanOpen says whether this host has a key for an entry that can be restored; nil: for all.
	CanOpen func(*repo.Entry) bool
	// Host is who asks, as its records name it: what was never drilled is due a period after its first drill, so that the
	// first run of a new verifier need not try everything. "": after the first drill of any host.
	Host string
	// OwnOnly says that nobody but this host is trusted here. What others have signed is then not chosen: nothing is wrong with
	// it, it is just not this host's to judge.
	OwnOnly bool
	Seed    uint64 // of what is left to chance
	Max     int    // choices at most; 0: 100. What is due and beyond it waits, and Cover reports it.
}

// Select chooses what a run should drill now, in this order: the newest entry, be it that it cannot be restored, which is
// to be found out; the newest restore point; and as many older ones that every snapshot which this host can open
// is drilled once in each period, one at random among them.
//
// Of what can be restored but not opened here nothing is chosen, unless nothing else is there: then the run says so.
// h must have been read back to a period ago. Equal arguments give equal choices.
func Select(entries []repo.Entry, h *History, opt SelectOptions) []Choice {
	if opt.CanOpen == nil {
		opt.CanOpen = func(*repo.Entry) bool { return true }
	}
	opt.Max = cmp.Or(opt.Max, maxDrills)
	chosen := selectNewest(entries, opt)
	var pool []candidate
	began := h.began(opt)
	for i := range entries {
		e := &entries[i]
		if !e.Restorable(false) || future(e, opt.Now) || !opt.CanOpen(e) || slices.ContainsFunc(chosen, func(c Choice) bool { return c.Entry == e }) {
			continue
		}
		pool = append(pool, newCandidate(e, h, began, opt))
	}
	chosen = append(chosen, selectOlder(pool, opt)...)
	return chosen[:min(len(chosen), opt.Max)]
}

func future(e *repo.Entry, now time.Time) bool { return repo.InFuture(e.ID.Time, now) }

// selectNewest returns at most two: the newest of all if that is not restorable, and the newest restore point.
func selectNewest(entries []repo.Entry, opt SelectOptions) []Choice {
	var chosen []Choice
	latest, _ := (&repo.Catalogue{Entries: entries}).Latest(opt.Now, false) // nil: there is none, which is its only error
	if e := newestRead(entries, opt); e != nil && !e.Restorable(false) && (latest == nil || e.ID.Compare(latest.ID) > 0) {
		chosen = append(chosen, Choice{e, reasonUnusable})
	}
	if latest == nil {
		return chosen
	}
	if !opt.CanOpen(latest) {
		if e := newestOpenable(entries, opt); e != nil {
			return append(chosen, Choice{e, reasonOpenable})
		}
	}
	return append(chosen, Choice{latest, reasonNewest})
}

// newestRead is the newest entry whose manifest was read, whatever it was found to be.
func newestRead(entries []repo.Entry, opt SelectOptions) *repo.Entry {
	var newest *repo.Entry
	for i := range entries {
		e := &entries[i]
		switch e.State {
		case repo.StateIncomplete, repo.StateUnread, repo.StateUnreadable, repo.StateNewerFormat:
			continue // nothing is known of it, so nothing is wrong with it
		case repo.StateUnknownSigner:
			if opt.OwnOnly {
				continue
			}
		}
		if !future(e, opt.Now) && (newest == nil || e.ID.Compare(newest.ID) > 0) {
			newest = e
		}
	}
	return newest
}

func newestOpenable(entries []repo.Entry, opt SelectOptions) *repo.Entry {
	var newest *repo.Entry
	for i := range entries {
		e := &entries[i]
		if e.Restorable(false) && !future(e, opt.Now) && (newest == nil || e.ID.Compare(newest.ID) > 0) && opt.CanOpen(e) {
			newest = e
		}
	}
	return newest
}

// candidate is an older snapshot with the time by which it is to be drilled.
type candidate struct {
	entry    *repo.Entry
	last     time.Time // of the last conclusive drill; zero: never
	deadline time.Time
}

// newCandidate sets the deadline: a period after the last drill, and without one after the snapshot was captured or this
// host began, whatever is later.
func newCandidate(e *repo.Entry, h *History, began time.Time, opt SelectOptions) candidate {
	c := candidate{entry: e, last: h.drilled[subjectOf(e)]}
	from := c.last
	if from.IsZero() {
		from = e.ID.Time
		if began.After(from) {
			from = began
		}
	}
	c.deadline = from.Add(opt.Period)
	return c
}

// began is when this host first drilled, as far as is known: now when it never did, and long ago when there are records
// that were not read.
func (h *History) began(opt SelectOptions) time.Time {
	if h.truncated {
		return time.Time{}
	}
	for rec, d := range h.drills() {
		if d.Level == LevelDrill && (opt.Host == "" || rec.Host == opt.Host) {
			return rec.Started
		}
	}
	return opt.Now
}

// selectOlder chooses from the pool. Each run takes its share of the pool; what would miss its deadline although
// all later runs take theirs is taken now, too, so that no deadline is missed whatever happens to the share.
func selectOlder(pool []candidate, opt SelectOptions) []Choice {
	if len(pool) == 0 {
		return nil
	}
	slices.SortStableFunc(pool, func(a, b candidate) int { return a.deadline.Compare(b.deadline) })
	share, due := 1, 0
	if opt.Period > 0 {
		runs := max(1, opt.RunsPerPeriod)
		share = (len(pool)-1)/max(1, runs-1) + 1 // rounded up; one run of them may fail, see dueNow
		due = dueNow(pool, share, opt.Period/time.Duration(runs), opt.Now)
	}
	var chosen []Choice
	for _, c := range pool[:due] {
		chosen = append(chosen, Choice{c.entry, reasonDue})
	}
	rest := pool[due:]
	if len(rest) == 0 {
		return chosen
	}
	random := rand.New(rand.NewPCG(opt.Seed, uint64(len(rest)))).IntN(len(rest))
	chosen = append(chosen, Choice{rest[random].entry, reasonRandom})
	rest = slices.Delete(slices.Clone(rest), random, random+1)
	return append(chosen, longestAgo(rest, share-due-1)...)
}

// dueNow is how many of the pool, in the order of deadlines, must be drilled in this run. The i-th can wait if the runs
// that follow until its deadline take i together; one of them is held back, for runs are late, and may fail.
func dueNow(pool []candidate, share int, interval time.Duration, now time.Time) int {
	due := 0
	for i, c := range pool {
		later := max(0, int(c.deadline.Sub(now)/max(interval, 1))-1)
		if later > len(pool) {
			later = len(pool) // enough in any case, and no overflow
		}
		due = max(due, i+1-share*later)
	}
	return due
}

// longestAgo are n of the candidates: what was never drilled first, newest first, then what was drilled longest ago.
func longestAgo(rest []candidate, n int) []Choice {
	slices.SortStableFunc(rest, func(a, b candidate) int {
		if a.last.IsZero() && b.last.IsZero() {
			return b.entry.ID.Compare(a.entry.ID)
		}
		return a.last.Compare(b.last)
	})
	var chosen []Choice
	for _, c := range rest[:max(0, min(n, len(rest)))] {
		reason := reasonLongAgo
		if c.last.IsZero() {
			reason = reasonNeverTried
		}
		chosen = append(chosen, Choice{c.entry, reason})
	}
	return chosen
}
