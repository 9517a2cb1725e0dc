package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
)

// past is how far back a store must reach. The zero value asks for nothing.
type past struct {
	low   int64          // every revision from here on; 0: nothing is asked
	clock *archive.Chain // of the instant that was asked for: its Clock tells which revision from low on it is; nil: low is it
	known *archive.Point // nobody can tell which one it is: low is this one, known to have been there before
}

// pastOf finds out where a request looks back to, as far as no segment need be opened for it.
func pastOf(h *archive.History, req Request) (past, error) {
	if req.SinceAt.IsZero() {
		return past{low: req.Since}, nil
	}
	chain, err := h.AtTime(req.SinceAt)
	if err == nil {
		p := past{low: chain.Low}
		if chain.Clock != nil {
			p.clock = chain
		}
		return p, nil
	}
	if known := h.KnownBy(req.SinceAt); known.Revision > 0 { // more than was asked for, and nothing less
		return past{low: known.Revision, known: &known}, nil
	}
	return past{}, err
}

// lookBack makes the chain reach back as far as the request wants.
func (f *finding) lookBack(req Request) error {
	if !req.looksBack() {
		return nil
	}
	p, err := pastOf(f.history, req)
	if err != nil {
		return err
	}
	if p.low > f.chain.High && p.known == nil && p.clock == nil {
		return &RequestError{fmt.Errorf("revision %d, to look back to, comes after revision %d", p.low, f.chain.High)}
	}
	chain, err := f.history.Reaching(f.chain, p.low)
	if gap := new(archive.Unreachable); errors.As(err, &gap) {
		return newTooFarBack(gap, f.chain.High)
	}
	if err == nil {
		f.chain, f.past = chain, p
	}
	return err
}

// newTooFarBack says why no store of a point holds what was asked for, and how far back one can reach.
func newTooFarBack(gap *archive.Unreachable, point int64) error {
	text := fmt.Sprintf("%v: no store at revision %d holds every revision from %d of timeline %s on", repo.ErrNothing, point, gap.Revision, gap.Timeline)
	if gap.MissingFirst <= gap.MissingLast {
		text += fmt.Sprintf(": revisions %d to %d are missing", gap.MissingFirst, gap.MissingLast)
	}
	err := error(&outOfReach{gap: gap, text: fmt.Sprintf("%s; it can reach back to revision %d", text, gap.After.Revision)})
	return hint.New(err, "look back to revision %d at most", gap.After.Revision)
}

// findPast reads which revision was there at the instant to look back to.
func (r *run) findPast(ctx context.Context, open archive.OpenFunc) error {
	if r.past.low == 0 || r.since != 0 {
		return nil
	}
	if r.past.clock == nil {
		if k := r.past.known; k != nil {
			r.notice("which revision was there at %s is not known: looking back to revision %d, which was there at %s",
				r.request.SinceAt.Format(time.RFC3339), k.Revision, k.Time.Format(time.RFC3339))
		}
		r.since = r.past.low
		return nil
	}
	m, err := archive.RevisionAt(ctx, r.past.clock, open)
	r.since = m.Revision
	return err
}

// reachBack is a chain to the same point that reaches back as far as the first one did.
func (r *run) reachBack(h *archive.History, c *archive.Chain) (*archive.Chain, error) {
	if r.past.low == 0 {
		return c, nil
	}
	p := past{low: r.since}
	if r.since == 0 {
		var err error
		if p, err = pastOf(h, r.request); err != nil {
			return nil, err
		}
	}
	next, err := h.Reaching(c, p.low)
	if err == nil {
		r.past = p
	}
	return next, err
}
