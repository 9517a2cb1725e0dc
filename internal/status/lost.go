package status

import (
	"fmt"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

// judgeLost names the newest loss of each target that has received nothing since. A newer snapshot there makes up for it.
func (r *Report) judgeLost(lost []replicate.Loss) {
	for _, t := range r.Targets {
		newest, at := newestLoss(lost, t.Name)
		if newest == nil || t.RecoveryPoint != nil && t.RecoveryPoint.After(at.Time) {
			continue
		}
		r.problem(KindRecovery, hint.New(fmt.Errorf("target %s: it will never have snapshot %s: %s", t.Name, newest.Snapshot, repo.Printable(newest.Reason)),
			"drd check says what is wrong with the target; drd snapshot takes a new one"))
	}
}

// newestLoss is the one of the newest snapshot.
func newestLoss(lost []replicate.Loss, target string) (newest *replicate.Loss, at repo.ID) {
	for i := range lost {
		if lost[i].Target != target {
			continue
		}
		id, err := repo.ParseID(lost[i].Snapshot)
		if err == nil && (newest == nil || id.Time.After(at.Time)) {
			newest, at = &lost[i], id
		}
	}
	return newest, at
}
