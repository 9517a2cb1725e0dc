package members

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
)

func TestComparisons(t *testing.T) {
	line := func(member string, revision int64, hash uint32, result string) repo.Comparison {
		return repo.Comparison{Member: member, Revision: revision, CompactRevision: 10, Hash: hash, Result: result}
	}
	for name, tt := range map[string]struct {
		said []entry
		want []repo.Comparison
	}{
		"nobody":            {nil, nil},
		"one member":        {[]entry{said("a", 20, 10, 2, 1)}, nil},
		"nothing in common": {[]entry{said("a", 20, 10, 2, 1), said("b", 30, 10, 3, 1)}, nil},
		"two agree":         {[]entry{said("b", 20, 10, 2, 1), said("a", 20, 10, 2, 1)}, []repo.Comparison{line("a", 20, 2, "equal"), line("b", 20, 2, "equal")}},
		"one of three":      {[]entry{said("a", 20, 10, 2, 1), said("b", 20, 10, 9, 1), said("c", 20, 10, 2, 1)}, []repo.Comparison{line("a", 20, 2, "differs"), line("b", 20, 9, "differs"), line("c", 20, 2, "differs")}},
		"the newest counts": {[]entry{said("a", 20, 10, 2, 1), said("b", 20, 10, 9, 1), said("a", 30, 10, 5, 3), said("b", 30, 10, 5, 3)}, []repo.Comparison{line("a", 30, 5, "equal"), line("b", 30, 5, "equal")}},
		"too long ago":      {[]entry{said("a", 20, 10, 2, -70), said("b", 20, 10, 2, -70)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, t.TempDir())
			add(t, l, 4, tt.said...)
			if diff := cmp.Diff(tt.want, l.Comparisons("c", at(5))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := l.Comparisons("another", at(5)); got != nil {
				t.Errorf("of another cluster: %+v", got)
			}
		})
	}
}
