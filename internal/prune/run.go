package prune

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

// Outcome is what became of a deletion.
type Outcome string

// The outcomes, as they stand in JSON output.
const (
	Deleted  Outcome = "deleted"
	Gone     Outcome = "gone"      // another node was faster
	Locked   Outcome = "locked"    // the store keeps it until its retention ends; a later prune deletes it
	Changed  Outcome = "changed"   // not what was decided on any more, and left alone
	Failed   Outcome = "failed"    // it should have been deleted and could not be
	NotTried Outcome = "not-tried" // so should it, but the target refuses deletions, does not work, or prune was interrupted
)

const (
	// grace is how long the snapshot under way may still take after an interrupt, so that none is left half deleted. Service
	// managers kill after 90 s.
	grace = 20 * time.Second
	// maxFailures in a row mean that the target does not work, and not that an object is special.
	maxFailures = 3
	// maxManifest is more than a manifest can have, in bytes: it bounds what is read to compare one.
	maxManifest = 1<<20 + 1
)

// Result is what became of one item that was to be deleted.
type Result struct {
	Item    *Item
	Outcome Outcome
	Err     error // why, for all but Deleted and Gone
}

// Run deletes what the plan says, in its order. The results tell of every deletion of the plan. It stops early when
// the target refuses deletions altogether, when three fail in a row, and when ctx ends, after the snapshot under way.
func (p *Plan) Run(ctx context.Context) Results {
	var results Results
	var stop error
	failures := 0
	for _, item := range p.Deletions() {
		if stop == nil && ctx.Err() != nil {
			stop = context.Cause(ctx)
		}
		if stop != nil {
			results = append(results, Result{item, NotTried, stop})
			continue
		}
		outcome, err := p.delete(ctx, item)
		results = append(results, Result{item, outcome, err})
		if outcome != Failed {
			failures = 0
			continue
		}
		if failures++; errors.Is(err, storage.ErrDenied) || failures == maxFailures {
			stop = err
		}
	}
	return results
}

// delete makes one attempt at an item.
func (p *Plan) delete(ctx context.Context, item *Item) (Outcome, error) {
	ctx, cancel := lasting(ctx)
	defer cancel()
	if item.Kind == KindUpload {
		err := storage.Abort(ctx, p.repo.Bucket(), item.Upload)
		if errors.Is(err, storage.ErrNotExist) {
			return Gone, nil
		}
		return judge(err)
	}
	there, err := p.there(ctx, item)
	if err != nil {
		return Failed, err
	}
	if err := p.unchanged(ctx, item, there); err != nil {
		if errors.Is(err, errChanged) {
			return Changed, err
		}
		return Failed, err
	}
	if len(there) == 0 {
		return Gone, nil
	}
	for _, o := range item.Objects {
		if !has(there, o.Key) {
			continue // a versioned bucket would get a delete marker for nothing
		}
		if err := p.repo.Bucket().Delete(ctx, o.Key); err != nil && !errors.Is(err, storage.ErrNotExist) {
			return judge(err)
		}
	}
	return Deleted, nil
}

// judge tells the ways in which a store can refuse.
func judge(err error) (Outcome, error) {
	switch {
	case err == nil:
		return Deleted, nil
	case errors.Is(err, storage.ErrLocked):
		return Locked, err
	case errors.Is(err, storage.ErrDenied):
		return Failed, hint.New(err, "if these credentials must not delete, leave `retention` out of this node's configuration and prune with others, elsewhere: docs/retention.md")
	}
	return Failed, err
}

// there lists the item's directory again.
func (p *Plan) there(ctx context.Context, item *Item) ([]storage.Object, error) {
	var found []storage.Object
	for o, err := range p.repo.Bucket().List(ctx, p.repo.Prefix()+item.ID.String()+"/") {
		if err != nil {
			return nil, fmt.Errorf("look at %s again: %w", item.ID, err)
		}
		found = append(found, o)
	}
	return found, nil
}

var errChanged = errors.New("it is not what was decided on any more; the next prune decides anew")

// unchanged compares what is there with what was decided on. What is missing is no change: another node prunes, too. An
// upload that goes on after all shows by its manifest.
func (p *Plan) unchanged(ctx context.Context, item *Item, there []storage.Object) error {
	for _, o := range there {
		known := slices.ContainsFunc(item.Objects, func(k storage.Object) bool {
			return k.Key == o.Key && k.Size == o.Size && k.Modified.Equal(o.Modified)
		})
		if !known {
			return fmt.Errorf("%q came or changed: %w", o.Key, errChanged)
		}
		if o.Key != p.repo.ManifestKey(item.ID) {
			continue
		}
		digest, err := p.digest(ctx, o.Key)
		switch {
		case errors.Is(err, storage.ErrNotExist):
		case err != nil:
			return fmt.Errorf("look at %s again: %w", item.ID, err)
		case digest != item.digest:
			return fmt.Errorf("its manifest has SHA-256 %s, was %s: %w", digest, item.digest, errChanged)
		}
	}
	return nil
}

// digest is the hex SHA-256 of an object of at most maxManifest bytes.
func (p *Plan) digest(ctx context.Context, key string) (string, error) {
	r, err := p.repo.Bucket().Open(ctx, key, 0, maxManifest)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, io.LimitReader(r, maxManifest))
	return hex.EncodeToString(sum.Sum(nil)), errors.Join(err, r.Close())
}

func has(objects []storage.Object, key string) bool {
	return slices.ContainsFunc(objects, func(o storage.Object) bool { return o.Key == key })
}

// lasting returns a context that ends a while after ctx does.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}
