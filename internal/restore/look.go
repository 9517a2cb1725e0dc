package restore

import (
	"context"
	"sync"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// look is what one source answered.
type look struct {
	source Source
	cat    *repo.Catalogue
	err    error
}

// lookInto asks all sources at the same time.
func lookInto(ctx context.Context, sources []Source, trust *seal.Trust, req Request) []look {
	if req.InsecureSkipSignature {
		trust = nil // what a look with trust refuses it does not keep
	}
	id, err := repo.ParseID(req.ID)
	one := func(s Source) (*repo.Catalogue, error) { return s.Repo.Catalogue(ctx, trust) }
	if err == nil {
		one = func(s Source) (*repo.Catalogue, error) { return lookAt(ctx, s.Repo, id, trust) }
	}
	looks := make([]look, len(sources))
	var wg sync.WaitGroup
	for i, s := range sources {
		wg.Go(func() {
			cat, err := one(s)
			looks[i] = look{source: s, cat: cat, err: err}
		})
	}
	wg.Wait()
	return looks
}

// maxRivals bounds how many manifests beside the chosen one are read, of each kind.
const maxRivals = 10

// lookAt lists everything and reads the one snapshot only, if it is there. Where earlier snapshots have higher revisions
// it reads some of those, and of those just before it, too: they tell a rebuilt cluster from a member that was cut off.
func lookAt(ctx context.Context, r *repo.Repository, id repo.ID, trust *seal.Trust) (*repo.Catalogue, error) {
	cat, err := r.Recent(ctx, trust, 0)
	if err != nil {
		return nil, err
	}
	var before, further []int // nearest last
	for i, e := range cat.Entries {
		switch c := e.ID.Compare(id); {
		case c == 0:
			if err := read(ctx, r, cat, i, trust); err != nil {
				return nil, err
			}
		case e.State != repo.StateUnread || c > 0:
		case e.ID.Revision > id.Revision:
			further = append(further, i)
		default:
			before = append(before, i)
		}
	}
	if len(further) == 0 {
		return cat, nil
	}
	for _, i := range append(nearest(further), nearest(before)...) {
		if read(ctx, r, cat, i, trust) != nil {
			break // they only serve a warning: the snapshot itself can be restored without them
		}
	}
	return cat, nil
}

func nearest(indexes []int) []int { return indexes[max(0, len(indexes)-maxRivals):] }

// read replaces the i-th entry by one whose manifest was read.
func read(ctx context.Context, r *repo.Repository, cat *repo.Catalogue, i int, trust *seal.Trust) error {
	e, err := r.Look(ctx, cat.Entries[i].ID, trust)
	if err == nil {
		cat.Entries[i] = *e
	}
	return err
}
