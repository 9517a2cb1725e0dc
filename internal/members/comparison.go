package members

import (
	"cmp"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// Comparisons is how the members compare with each other, for the manifest of a snapshot: by the newest pair of revisions
// that at least two of them gave within an hour before now, one line for each of these members. nil where there is no such pair.
// Where they are not all equal, every one of them differs: hashes do not say who is right.
//
// Nobody is asked. A snapshot of a large database must not make its members scan it.
func (l *Log) Comparisons(etcdClusterID string, now time.Time) []repo.Comparison {
	known := make(map[string]bool)
	var entries []entry
	for _, e := range l.all() {
		if e.EtcdClusterID == etcdClusterID && now.Sub(e.Seen) <= compareWithin {
			known[e.Member] = true
			entries = append(entries, e)
		}
	}
	for _, group := range groups(entries, known) {
		sides := sidesOf(group)
		if len(sides) > 1 || len(sides[0].Members) > 1 {
			return comparisons(group, len(sides) == 1)
		}
	}
	return nil
}

func comparisons(group []Triple, equal bool) []repo.Comparison {
	result := repo.ResultDiffers
	if equal {
		result = repo.ResultEqual
	}
	var out []repo.Comparison
	for _, t := range group {
		c := repo.Comparison{Member: t.Member, Hash: t.Hash, Revision: t.Revision, CompactRevision: t.CompactRevision, Result: result}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b repo.Comparison) int { return cmp.Compare(a.Member, b.Member) })
	return out
}
