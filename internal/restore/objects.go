package restore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Objects are what a plan's point is made of: a snapshot, and the segments that a run needs, those that tell the time included. Nobody may
// change them.
func (p *Plan) Objects() (base *repo.Entry, segments []*repo.SegmentEntry) {
	return p.chain.Base, needs(p.aim)
}

// Way are the segments that lead from the snapshot of a plan to its point, in order.
func (p *Plan) Way() []*repo.SegmentEntry { return slices.Clone(p.chain.Segments) }

// Listed are the segments that were looked at to make the plan, whether they can be used or not; none where a snapshot holds
// the point.
func (p *Plan) Listed() []repo.SegmentEntry {
	if p.found == nil {
		return nil
	}
	return p.found.merged
}

// Holding is what one target holds of the timeline that is current there, as ReadHistory found it.
type Holding struct {
	Timeline string
	History  *archive.History
	Segments []repo.SegmentEntry // of the timeline, whatever their state
}

// ReadHistory reads the commit records of the segments of the timeline that is current in a repository. nil: nothing can be restored. With
// trust nil nothing counts. now is as in MakePlan.
func ReadHistory(ctx context.Context, r *repo.Repository, cat *repo.Catalogue, trust *seal.Trust, now time.Time) (*Holding, error) {
	newest, err := cat.Latest(now, false)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // nothing to restore is no failure
	}
	timeline := newest.Manifest.Timeline
	found, err := r.ListSegments(ctx, repo.SegmentQuery{Timeline: timeline}, trust)
	if err != nil {
		return nil, err
	}
	h := archive.NewHistory(timeline, eligible(cat, newest, Request{}, now), found.Entries, false)
	return &Holding{Timeline: timeline, History: h, Segments: found.Entries}, nil
}

// unusable names the first segment that is there, cannot be used, and holds some of the revisions; last 0: all from first on.
func (a *archives) unusable(first, last int64) string {
	if a == nil {
		return ""
	}
	for i := range a.merged {
		e := &a.merged[i]
		if e.Problem != nil && e.State != repo.StateIncomplete && e.Name.Last >= first && (last == 0 || e.Name.First <= last) {
			return fmt.Sprintf("; segment %s is there, and is %s: %v", e.Name, e.State, e.Problem)
		}
	}
	return ""
}
