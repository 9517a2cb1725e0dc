package restore

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/snapshot"
)

// cut takes away what came after a revision. What is left must have the hash that the whole store gave for that revision.
func (r *run) cut(ctx context.Context, revision int64) error {
	path := r.ws.path(scratchDB)
	return r.step(StepCut, 0, func() error {
		want, err := r.hash(ctx, path, revision, r.facts.CompactRevision)
		if err != nil {
			return err
		}
		if err := cutStore(ctx, path, revision); err != nil {
			return err
		}
		return r.inspectMade(ctx, want)
	})
}

// cutStore changes the store in this process: it has passed the inspection.
func cutStore(ctx context.Context, path string, revision int64) error {
	db, err := openStore(path)
	if err != nil {
		return err
	}
	if _, err := mvcc.Cut(ctx, db, revision); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("close the store cut at revision %d: %w", revision, err)
	}
	return nil
}

// inspectMade looks at a store that was brought to another revision: it must be sound and hash to want. It is what is
// edited from then on.
func (r *run) inspectMade(ctx context.Context, want snapshot.Hash) error {
	after, err := r.insp.Inspect(ctx, r.ws.path(scratchDB), nil)
	if err != nil {
		return fmt.Errorf("check the store made at revision %d: %w", want.Revision, err)
	}
	if err := compareMade(want, after); err != nil {
		return err
	}
	r.facts, r.result.Facts, r.changed = after, after, true
	return nil
}

// hash computes HashKV of a store in a child process.
func (r *run) hash(ctx context.Context, path string, revision, compact int64) (snapshot.Hash, error) {
	f, err := os.Open(path)
	if err != nil {
		return snapshot.Hash{}, fmt.Errorf("hash the store at revision %d: %w", revision, err)
	}
	defer f.Close()
	h, err := r.insp.HashFile(ctx, f, revision, compact)
	if err != nil {
		return snapshot.Hash{}, fmt.Errorf("hash the store at revision %d: %w", revision, err)
	}
	return h, nil
}
