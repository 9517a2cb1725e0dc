package restore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
)

// TestPlanNamesTheClock: a time that a clock told which was wrong is not shown as if it were sure.
func TestPlanNamesTheClock(t *testing.T) {
	at, revision := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), int64(7)
	p := &Plan{Wanted: &Wanted{Revision: &revision, At: &at, Exact: true, ClockNote: "the wall clock was 3 s behind times already recorded, which were held"}}
	var text strings.Builder
	p.writeWanted(func(_, format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) })
	want := "2026-11-22T10:00:00Z, exactly: revision 7\n" +
		"when this was archived, the wall clock was 3 s behind times already recorded, which were held: the time may be off by as much\n"
	if text.String() != want {
		t.Errorf("%s", text.String())
	}
}

// TestGrowth: of the segment that holds the end, which may be a day, the part before it counts; of one that tells the time, all.
func TestGrowth(t *testing.T) {
	segment := func(first, last int64) *repo.SegmentEntry {
		s := &repo.Segment{Timeline: "00000000000000a1", First: first, Last: last, Events: last - first + 1}
		s.Object.Size, s.Plain.Size = 100, 4000*s.Events-40*s.Events
		return &repo.SegmentEntry{Name: s.Name(), Segment: s}
	}
	two := []*repo.SegmentEntry{segment(11, 20), segment(21, 120)}
	for _, test := range []struct {
		low, high int64
		want      int64
	}{
		{120, 120, 200 + 110*5000},
		{45, 45, 200 + (10+25)*5000},
		{21, 21, 200 + (10+1)*5000},
		{40, 45, 200 + 110*5000}, // a time
	} {
		got := growth(aim{chain: &archive.Chain{Segments: two, Low: test.low, High: test.high}})
		if got != test.want {
			t.Errorf("revisions %d to %d: %d bytes, want %d", test.low, test.high, got, test.want)
		}
	}
}
