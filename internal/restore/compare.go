package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
)

// ErrDiverged is wrapped when a store that was made of segments has not the hash that live members gave of it.
var ErrDiverged = errors.New("the restored store is not what a live member had")

// maxKnown bounds how many revisions a restore compares with what live members said: each costs a pass over the store, which
// takes about half a second for each GiB.
const maxKnown = 2

// Comparison is the hash that a live member gave, beside that of the restored store.
type Comparison struct {
	Member          string `json:"member"` // hex
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
	Hash            uint32 `json:"hash"`
	Result          string `json:"result"` // repo.ResultEqual or repo.ResultDiffers
}

// knownHashes are what live members answered about the history of a timeline, as the manifests of snapshots tell it.
func knownHashes(all *repo.Catalogue, timeline string) []Comparison {
	var known []Comparison
	for i := range all.Entries {
		m := all.Entries[i].Manifest
		if m == nil || m.Timeline != timeline {
			continue
		}
		for _, c := range m.Compared {
			if c.Revision > 0 { // the member did answer
				known = append(known, Comparison{Member: c.Member, Revision: c.Revision, CompactRevision: c.CompactRevision, Hash: c.Hash})
			}
		}
	}
	return known
}

// checkpoints are those that the segments of a chain carry.
func checkpoints(c *archive.Chain, upTo int64) []Comparison {
	var known []Comparison
	for _, p := range c.Checkpoints(upTo) {
		known = append(known, Comparison{Member: p.Member, Revision: p.Revision, CompactRevision: p.CompactRevision, Hash: p.Hash})
	}
	return known
}

// repeatable are those of the known hashes that a store can be compared with: it must hold the revision, and all that the
// member had. They are in order, the newest revision first, each once.
func repeatable(known []Comparison, f snapshot.Facts) []Comparison {
	known = slices.DeleteFunc(slices.Clone(known), func(c Comparison) bool {
		return c.Revision > f.Revision || c.CompactRevision < f.CompactRevision
	})
	slices.SortFunc(known, func(a, b Comparison) int {
		return cmp.Or(cmp.Compare(b.Revision, a.Revision), cmp.Compare(b.CompactRevision, a.CompactRevision), cmp.Compare(a.Member, b.Member), cmp.Compare(a.Hash, b.Hash))
	})
	return slices.Compact(known)
}

// compareLive compares a store that is not simply a snapshot with what live members said of its past.
func (r *run) compareLive(ctx context.Context) error {
	if r.plan.Wanted == nil {
		return nil
	}
	known := repeatable(append(checkpoints(r.chain, r.facts.Revision), r.plan.known...), r.facts)
	if len(known) == 0 {
		return nil
	}
	return r.step(StepCompare, 0, func() error {
		for range maxKnown {
			n := 1 // so many are of one revision
			for n < len(known) && known[n].Revision == known[0].Revision && known[n].CompactRevision == known[0].CompactRevision {
				n++
			}
			if err := r.compareOne(ctx, known[:n]); err != nil {
				return err
			}
			if known = known[n:]; len(known) == 0 {
				return nil
			}
		}
		return nil
	})
}

// compareOne compares the hashes that members gave for one revision. Where one agrees, another that does not had diverged.
// Where none does, segments may be to blame, so that a store made of them is refused; a snapshot is what was
// stored and signed.
func (r *run) compareOne(ctx context.Context, known []Comparison) error {
	ours, err := r.hash(ctx, r.ws.path(scratchDB), known[0].Revision, known[0].CompactRevision)
	if err != nil {
		return err
	}
	agreed := false
	for _, c := range known {
		c.Result = repo.ResultEqual
		if c.Hash != ours.Value {
			c.Result = repo.ResultDiffers
			r.notice("member %s had other content at revision %d than the restored store: its HashKV was %d, here it is %d", c.Member, c.Revision, c.Hash, ours.Value)
		}
		agreed = agreed || c.Hash == ours.Value
		r.result.Compared = append(r.result.Compared, c)
	}
	if agreed || r.replayed == 0 {
		return nil
	}
	c := known[0]
	err = fmt.Errorf("%w: HashKV at revision %d, compacted at %d, is %d, member %s had %d", ErrDiverged, c.Revision, c.CompactRevision, ours.Value, c.Member, c.Hash)
	return hint.New(err, "choose a snapshot with --id: it needs no segments")
}
