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
	passed *proof.Drill // the newest whole drill that passed; nil: none
	at     time.Time    // when its record was written
}

// summarize reads the records from the newest to the oldest. cover is the time within which each snapshot should be drilled.
func summarize(h *proof.History, c *repo.Catalogue, cover time.Duration, now time.Time) proofs {
	var p proofs
	p.LastPassed, _ = h.LastPassed()
	for _, r := range slices.Backward(h.Records()) {
		if r.State != repo.StateOK {
			continue
		}
		if p.Result == "" && telling(r.Record) {
			p.Result = metrics.Result(verify.Outcome(r.Record))
		}
		if p.passed == nil {
			p.passed, p.at = passedDrill(r.Record), r.Record.Ended
		}
	}
	p.Uncovered = proof.Cover(c.Entries, h, cover, now, nil).Uncovered()
	return p
}

// telling says whether a record tells how the target stands: whole drills do, and data proofs that failed. That fresh
// snapshots can be read must not hide that an older one cannot be restored.
func telling(r *proof.Record) bool {
	return slices.ContainsFunc(r.Drills, func(d proof.Drill) bool {
		return d.Level == proof.LevelDrill || d.Outcome == proof.Failed
	})
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
		f.tell.proved("no restore is proved")
		return
	}
	f.metrics.SetRecovery(metrics.Recovery{Whole: seconds(newest.passed.Seconds), Etcd: seconds(newest.passed.RecoverySeconds)})
	f.tell.proved("restore last proved " + clock(newest.at))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
