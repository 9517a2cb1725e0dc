package members

import (
	"cmp"
	"slices"
	"time"
)

// compareWithin is how far apart two answers may be to be compared. A member may lag by minutes, and remembers ten
// compactions; longer ago the cluster may have been restored to an older state, in which the same revision has other content.
const compareWithin = time.Hour

// pair is what triples must agree in to be comparable.
type pair struct{ revision, compact int64 }

func (t Triple) pair() pair { return pair{t.Revision, t.CompactRevision} }

// groups are the triples of equal pairs, the newest revision first. Of each pair only those are there that were
// seen within compareWithin of its newest, and only those of the members given.
func groups(entries []entry, members map[string]bool) [][]Triple {
	byPair := make(map[pair][]Triple)
	for _, e := range entries { // oldest first
		if members[e.Member] {
			byPair[e.pair()] = append(byPair[e.pair()], e.Triple)
		}
	}
	var out [][]Triple
	for _, g := range byPair {
		newest := g[len(g)-1].Seen
		out = append(out, slices.DeleteFunc(g, func(t Triple) bool { return newest.Sub(t.Seen) > compareWithin }))
	}
	slices.SortFunc(out, func(a, b []Triple) int {
		return cmp.Or(cmp.Compare(b[0].Revision, a[0].Revision), cmp.Compare(b[0].CompactRevision, a[0].CompactRevision))
	})
	return out
}

// judge compares the members with each other. compared tells when each was last compared, by
// the newest pair of revisions that it shares with another. A difference that is overtaken for all of its members, because newer
// answers of theirs agree, is over: the data was overwritten.
func judge(entries []entry, members map[string]bool) (diverged []Divergence, compared map[string]time.Time) {
	compared = make(map[string]time.Time)
	for _, g := range groups(entries, members) {
		sides := sidesOf(g)
		if len(sides) == 1 && len(sides[0].Members) == 1 {
			continue
		}
		news := false
		for _, t := range g {
			if compared[t.Member].IsZero() {
				news, compared[t.Member] = true, g[len(g)-1].Seen
			}
		}
		if len(sides) > 1 && news {
			diverged = append(diverged, Divergence{
				Revision: g[0].Revision, CompactRevision: g[0].CompactRevision, Seen: g[len(g)-1].Seen, Sides: sides,
			})
		}
	}
	return diverged, compared
}

// sidesOf sorts the members of a group by what they answered: the answer of most members first.
func sidesOf(group []Triple) []Side {
	var sides []Side
	for _, t := range group {
		i := slices.IndexFunc(sides, func(s Side) bool { return s.Hash == t.Hash })
		if i < 0 {
			i, sides = len(sides), append(sides, Side{Hash: t.Hash})
		}
		if !slices.Contains(sides[i].Members, t.Member) {
			sides[i].Members = append(sides[i].Members, t.Member)
		}
	}
	for _, s := range sides {
		slices.Sort(s.Members)
	}
	slices.SortFunc(sides, func(a, b Side) int {
		return cmp.Or(cmp.Compare(len(b.Members), len(a.Members)), cmp.Compare(a.Members[0], b.Members[0]), cmp.Compare(a.Hash, b.Hash))
	})
	return sides
}
