// Package revisions reckons with ranges of revisions: what snapshots and segments cover, alone and together. It knows neither.
package revisions

import (
	"cmp"
	"slices"
)

// Range is a range of revisions, both ends included.
type Range struct{ First, Last int64 }

// Has reports whether a revision is in the range.
func (r Range) Has(revision int64) bool { return r.First <= revision && revision <= r.Last }

// Union merges ranges that overlap or touch, and returns what is left in order. It sorts all, and changes nothing else in it.
func Union(all []Range) []Range {
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	var out []Range
	for _, r := range all {
		if n := len(out); n > 0 && r.First-1 <= out[n-1].Last {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}
