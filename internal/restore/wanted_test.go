package restore

import (
	"fmt"
	"strings"
	"testing"
	"time"
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
