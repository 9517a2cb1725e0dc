package verify

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
)

// storeTimeout bounds the writing of a record, which has some kilobytes: the drills themselves are over, and a target that
// takes longer gets it at the next run.
const storeTimeout = time.Minute

// record signs what was found and stores it in the target it is about, or keeps it until the target takes it.
func (r *Runner) record(ctx context.Context, t drill.Target, rec *proof.Record) Result {
	result := Result{Target: t.Name, Record: rec}
	if r.cfg.Signer == nil {
		return result
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stored, left, err := proof.Store(ctx, t.Repo, rec, r.cfg.Signer)
	result.Recorded, result.Unrecorded = err == nil, err
	for _, s := range slices.Concat(stored, left) {
		rec.ID = s.Record.ID // another record may have been written in the same second
	}
	if r.pending == nil {
		return result
	}
	for _, s := range left {
		if dropped, err := r.pending.Add(s); err != nil {
			result.Unrecorded = errors.Join(result.Unrecorded, err)
		} else if dropped > 0 {
			r.cfg.Log.Warn("too many drill records wait for a target: the oldest are dropped", "target", t.Name, "dropped", dropped)
		}
	}
	return result
}

// flush brings the records to the target that it did not take before. That it fails again is no news.
func (r *Runner) flush(ctx context.Context, t drill.Target) {
	if r.pending == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	written, refused, err := r.pending.Flush(ctx, t.Name, t.Repo, r.cfg.Signer)
	if written > 0 {
		r.cfg.Log.Info("drill records that waited are stored", "target", t.Name, "records", written)
	}
	if err != nil {
		r.cfg.Log.Debug("drill records still wait", "target", t.Name, "refused", refused, "error", err)
	}
}
