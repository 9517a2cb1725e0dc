package merge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
)

// chain are segments that go on from each other: each with the minutes that it takes, and its size in MiB. A size of 0 is a silence.
type chain struct {
	minutes, size int
}

var midnight = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// entries are a chain from some minutes after midnight on. Their names are their numbers.
func entries(start time.Duration, of ...chain) (all []*repo.SegmentEntry) {
	at, next := midnight.Add(start), int64(10)
	for i, c := range of {
		s := &repo.Segment{
			Cluster: "prod-east", EtcdClusterID: "cdf8", Timeline: timeline, Member: repo.Member{ID: "8e9e"}, First: next, Last: next - 1,
			From: at, To: at.Add(time.Duration(c.minutes) * time.Minute), Object: repo.Object{Size: 500, SHA256: fmt.Sprintf("%064d", i)},
		}
		if c.size > 0 {
			s.Last, s.Object.Size = next+9, int64(c.size)<<20
		}
		name := s.Name()
		name.Hash = fmt.Sprint(i)
		all = append(all, &repo.SegmentEntry{Name: name, State: repo.StateOK, Segment: s})
		at, next = s.To, s.Last+1
	}
	return all
}

func names(runs []run) string {
	var out []string
	for _, r := range runs {
		var one []string
		for _, e := range r {
			one = append(one, e.Name.Hash)
		}
		out = append(out, strings.Join(one, " "))
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	const m = time.Minute
	for name, tc := range map[string]struct {
		start time.Duration
		of    []chain
		at    time.Duration // when it is planned, after the archive's end
		cut   string
		want  string
	}{
		"nothing":                        {},
		"one":                            {of: []chain{{20, 1}}},
		"the newest is not merged":       {start: 30 * m, of: []chain{{10, 1}, {61, 1}}},
		"an hour":                        {start: 30 * m, of: []chain{{10, 1}, {10, 1}, {61, 1}}, want: "0 1"},
		"an hour of silence":             {start: 30 * m, of: []chain{{10, 0}, {0, 0}, {10, 0}, {61, 0}}, want: "0 1 2"},
		"an hour that has just ended":    {start: 30 * m, of: []chain{{10, 1}, {10, 1}, {19, 1}}},
		"an archive that has ended":      {start: 30 * m, of: []chain{{10, 1}, {10, 1}, {1, 1}}, at: 25 * time.Hour, want: "0 1"},
		"each hour by itself":            {start: 40 * m, of: []chain{{10, 1}, {9, 1}, {11, 1}, {20, 1}, {61, 1}}, want: "0 1; 2 3"},
		"the end of an hour is the next": {start: 40 * m, of: []chain{{10, 1}, {10, 1}, {10, 1}, {70, 1}}, want: "1 2"},
		"a large one stays":              {start: 10 * m, of: []chain{{5, 1}, {5, 1}, {5, 17}, {5, 1}, {5, 16}, {99, 1}}, want: "0 1; 3 4"},
		"no more than 64 MiB":            {start: 1 * m, of: []chain{{5, 16}, {5, 16}, {5, 16}, {5, 15}, {5, 2}, {5, 1}, {99, 1}}, want: "0 1 2 3; 4 5"},
		"cut":                            {start: 1 * m, of: []chain{{5, 1}, {5, 1}, {5, 1}, {5, 1}, {99, 1}}, cut: "2", want: "0 1; 2 3"},
		"hours before days": {
			start: 1 * m, of: []chain{{50, 1}, {60, 1}, {60, 1}, {5, 1}, {24 * 60, 1}}, want: "2 3",
		},
		"a day": {start: 1 * m, of: []chain{{50, 1}, {60, 1}, {60, 1}, {24 * 60, 1}}, want: "0 1 2"},
		"a day that is not over": {
			start: 20 * time.Hour, of: []chain{{50, 1}, {60, 1}, {60, 1}, {71, 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := entries(tc.start, tc.of...)
			now := midnight
			if len(all) > 0 {
				now = all[len(all)-1].Segment.To.Add(tc.at)
			}
			slices.Reverse(all) // the order is not the plan's
			if got := names(plan(all, func(n repo.SegmentName) bool { return n.Hash == tc.cut }, now)); got != tc.want {
				t.Errorf("planned %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPlanBounds(t *testing.T) {
	many := make([]chain, 2*repo.MaxMerged+3)
	all := entries(0, append(many, chain{24 * 60, 1})...)
	var lengths []int
	for _, r := range plan(all, func(repo.SegmentName) bool { return false }, midnight.Add(48*time.Hour)) {
		lengths = append(lengths, len(r))
	}
	if want := []int{repo.MaxMerged, repo.MaxMerged, 3}; !cmp.Equal(lengths, want) {
		t.Errorf("runs of %v, want %v", lengths, want)
	}
}

// TestPlanForeign: what belongs to something else does not go on from a segment, whatever its revisions and times.
func TestPlanForeign(t *testing.T) {
	for name, change := range map[string]func(*repo.Segment){
		"another cluster":      func(s *repo.Segment) { s.Cluster = "prod-west" },
		"another etcd cluster": func(s *repo.Segment) { s.EtcdClusterID = "cdf9" },
		"another member":       func(s *repo.Segment) { s.Member.ID = "8e9f" },
		"another timeline":     func(s *repo.Segment) { s.Timeline = "00000000000000b2" },
		"a gap":                func(s *repo.Segment) { s.First++ },
		"an overlap":           func(s *repo.Segment) { s.First-- },
		"a pause":              func(s *repo.Segment) { s.From = s.From.Add(1) },
	} {
		t.Run(name, func(t *testing.T) {
			all := entries(time.Minute, chain{5, 1}, chain{5, 1}, chain{99, 1})
			change(all[1].Segment)
			if got := names(plan(all, func(repo.SegmentName) bool { return false }, midnight.Add(3*time.Hour))); got != "" {
				t.Errorf("planned %q", got)
			}
		})
	}
}
