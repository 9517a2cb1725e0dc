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

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
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
	// batch is how many segments go before it is asked again whether to go on, atOnce how many of them at the same time: each is
	// three requests that wait for the store most of the time.
	batch  = 64
	atOnce = 8
)

// Result is what became of one item that was to be deleted.
type Result struct {
	Item    *Item
	Outcome Outcome
	Err     error // why, for all but Deleted and Gone
}

// Run deletes what the plan says, in its order. The results tell of every deletion of the plan. It stops early when
// the target refuses deletions altogether, when three fail in a row, and when ctx ends, after the snapshot under way. Segments
// are many and small, and go several at once. Nothing is deleted that the audit log in ctx does not have before.
func (p *Plan) Run(ctx context.Context) Results {
	r := &run{plan: p, read: make(map[repo.SegmentName]error)}
	items := p.Deletions()
	if len(items) == 0 {
		return nil
	}
	r.stop = p.record(ctx, audit.Event{Name: audit.PruneBegin, Outcome: audit.Begun, Count: int64(len(items))})
	if r.stop == nil {
		defer func() { p.noteEnd(ctx, r.results) }()
	}
	for len(items) > 0 {
		n := r.next(items)
		if r.stop == nil && ctx.Err() != nil {
			r.stop = context.Cause(ctx)
		}
		r.take(ctx, items[:n])
		items = items[n:]
	}
	return r.results
}

// run is a Run under way.
type run struct {
	plan     *Plan
	results  Results
	stop     error                      // why nothing more is tried
	failures int                        // in a row
	read     map[repo.SegmentName]error // merged segments that were read, and what came of it
	warm     bool                       // a segment was deleted, so the others may go several at once
}

// next is how many of the items are taken at once.
func (r *run) next(items []*Item) int {
	n := 0
	for n < len(items) && n < batch && items[n].Archived() {
		n++
	}
	if n == 0 || !r.warm {
		return 1
	}
	return n
}

// take makes one attempt at each item.
func (r *run) take(ctx context.Context, items []*Item) {
	results := make(Results, len(items))
	r.readMerged(ctx, items)
	if r.stop == nil {
		r.stop = r.plan.recordBegun(ctx, items)
	}
	var group errgroup.Group
	group.SetLimit(min(atOnce, max(1, r.plan.repo.Bucket().Properties().Parallel)))
	for i, item := range items {
		results[i] = Result{Item: item}
		if r.stop != nil {
			results[i].Outcome, results[i].Err = NotTried, r.stop
			continue
		}
		group.Go(func() error {
			results[i].Outcome, results[i].Err = r.delete(ctx, item)
			return nil
		})
	}
	_ = group.Wait() // each result has its own error
	for _, result := range results {
		r.count(result)
		if err := r.plan.recordResult(ctx, result); err != nil {
			r.stop = err
		}
	}
	r.results = append(r.results, results...)
}

// count decides by a result whether to go on.
func (r *run) count(result Result) {
	switch {
	case result.Outcome == NotTried, r.unread(result.Item) != nil:
		return
	case result.Outcome != Failed:
		r.failures, r.warm = 0, r.warm || result.Item.Archived()
		return
	}
	if r.failures++; errors.Is(result.Err, storage.ErrDenied) || r.failures == maxFailures {
		r.stop = result.Err
	}
}

// delete makes one attempt at an item.
func (r *run) delete(ctx context.Context, item *Item) (Outcome, error) {
	ctx, cancel := lasting(ctx)
	defer cancel()
	switch item.Kind {
	case KindSegment:
		if err := r.unread(item); err != nil {
			return unreadOutcome(err), err
		}
		return r.plan.deleteSegment(ctx, item)
	case KindSegmentLitter:
		return r.plan.deleteSegmentLitter(ctx, item)
	}
	return r.plan.delete(ctx, item)
}

// delete makes one attempt at a snapshot, or at what is left of one.
func (p *Plan) delete(ctx context.Context, item *Item) (Outcome, error) {
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
	content, err := p.small(ctx, key)
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), err
}

// small reads an object, of which at most maxManifest bytes.
func (p *Plan) small(ctx context.Context, key string) ([]byte, error) {
	r, err := p.repo.Bucket().Open(ctx, key, 0, maxManifest)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, maxManifest))
	return content, errors.Join(err, r.Close())
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
