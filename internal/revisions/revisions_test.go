package revisions

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnion(t *testing.T) {
	for name, c := range map[string]struct{ all, want []Range }{
		"none":         {nil, nil},
		"one":          {[]Range{{5, 7}}, []Range{{5, 7}}},
		"in disorder":  {[]Range{{20, 21}, {5, 7}}, []Range{{5, 7}, {20, 21}}},
		"overlap":      {[]Range{{5, 9}, {7, 12}}, []Range{{5, 12}}},
		"touch":        {[]Range{{8, 9}, {5, 7}}, []Range{{5, 9}}},
		"a hole":       {[]Range{{5, 7}, {9, 9}}, []Range{{5, 7}, {9, 9}}},
		"inside":       {[]Range{{5, 20}, {7, 9}, {21, 22}}, []Range{{5, 22}}},
		"twice":        {[]Range{{5, 7}, {5, 7}}, []Range{{5, 7}}},
		"to the limit": {[]Range{{5, math.MaxInt64}, {math.MaxInt64, math.MaxInt64}}, []Range{{5, math.MaxInt64}}},
	} {
		if diff := cmp.Diff(c.want, Union(c.all)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestHas(t *testing.T) {
	r := Range{5, 7}
	for revision, want := range map[int64]bool{4: false, 5: true, 6: true, 7: true, 8: false} {
		if r.Has(revision) != want {
			t.Errorf("%d: %v", revision, !want)
		}
	}
}
