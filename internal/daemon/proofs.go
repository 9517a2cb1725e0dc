package daemon

import (
	"slices"
	"time"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/verify"
)

// proofs is what matters of one target's drill records.
type proofs struct {
	metrics.Proof
	history   proof.History
	passed    *proof.Drill // the newest whole drill that passed; nil: none
	at        time.Time    // when its record was written
	truncated bool         // there are older records that were not read
}

// summarize reads the records from the newest to the oldest. cover is the time within which each snapshot should be drilled.
// As long as a snapshot that a restore would take stands failed, or archived revisions of a kind do, the result is that, whatever passed
// since.
func summarize(h *proof.History, c *repo.Catalogue, cover time.Duration, now time.Time) proofs {
	p := proofs{history: *h, truncated: h.Truncated()}
	p.LastPassed, _ = h.LastPassed()
	if p.LastPassed.IsZero() {
		p.Since = drillable(h, c)
	}
	for _, rec := range h.LastRun((*proof.Record).Telling) {
		p.Result = worse(p.Result, verify.Outcome(rec))
	}
	for _, r := range slices.Backward(h.Records()) {
		if r.State == repo.StateOK && p.passed == nil {
			p.passed, p.at = passedDrill(r.Record), r.Record.Ended
		}
	}
	for i := range c.Entries {
		if e := &c.Entries[i]; e.Restorable(false) && h.OfEntry(e).State == proof.StateFailed {
			p.Failed++
		}
	}
	if p.Failed > 0 || len(h.ArchiveFailed()) > 0 {
		p.Result = metrics.ResultFailed
	}
	p.Uncovered = proof.Cover(c.Entries, h, cover, now, nil).Uncovered()
	return p
}

// drillable is since when there was something to drill, as drd status takes it too: retention may keep no snapshot for as long as drills have
// not passed. zero: there is nothing.
func drillable(h *proof.History, c *repo.Catalogue) time.Time {
	i := slices.IndexFunc(c.Entries, func(e repo.Entry) bool { return e.Restorable(false) })
	if i < 0 {
		return time.Time{}
	}
	oldest := c.Entries[i].Manifest.CaptureStart
	if at, ok := h.First(); ok && at.Before(oldest) {
		return at
	}
	return oldest
}

// worse is the one of two results that people must hear of.
func worse(a metrics.Result, b proof.Outcome) metrics.Result {
	order := []metrics.Result{"", metrics.ResultPassed, metrics.ResultInconclusive, metrics.ResultFailed}
	return order[max(slices.Index(order, a), slices.Index(order, metrics.Result(b)))]
}

func passedDrill(r *proof.Record) *proof.Drill {
	for _, d := range slices.Backward(r.Drills) {
		if d.Level == proof.LevelDrill && d.Outcome == proof.Passed {
			return &d
		}
	}
	return nil
}

// publishProofs tells what all targets have together: the newest drill that passed, and when.
func (f *freshness) publishProofs() {
	var newest proofs
	for _, one := range f.known {
		if one.proofs.passed != nil && one.proofs.at.After(newest.at) {
			newest = one.proofs
		}
	}
	if newest.passed == nil {
		f.metrics.SetRecovery(metrics.Recovery{})
		f.tell.proved("no restore is proved")
		return
	}
	f.metrics.SetRecovery(metrics.Recovery{Whole: seconds(newest.passed.Seconds), Etcd: seconds(newest.passed.RecoverySeconds)})
	f.tell.proved("restore last proved " + clock(newest.at))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
