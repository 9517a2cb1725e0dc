package retention

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
)

const lineA, lineB = "00000000000000aa", "00000000000000bb"

// parents of the timelines in samples.
func parentOf(timeline string) string {
	if timeline == lineB {
		return lineA
	}
	return ""
}

// entry is one as a catalogue has it. Objects were stored a minute after the capture.
func entry(at time.Time, member uint64, timeline string, state repo.State) repo.Entry {
	e := repo.Entry{ID: repo.ID{Time: at, Revision: 1 + at.Unix()/60, Member: member}, State: state, Modified: at.Add(time.Minute)}
	if state != repo.StateIncomplete && state != repo.StateUnreadable && state != repo.StateBadManifest && state != repo.StateNewerFormat {
		e.Manifest = &repo.Manifest{ID: e.ID.String(), Revision: e.ID.Revision, EtcdClusterID: "c1", Timeline: timeline, TimelineParent: parentOf(timeline), CaptureStart: at, Object: repo.Object{Size: 1}}
	}
	e.Payload = storage.Object{Key: "payload of " + e.ID.String(), Size: 1}
	return e
}

// every returns good entries of one node, the newest at newest.
func every(step time.Duration, n int, newest time.Time) []repo.Entry {
	var entries []repo.Entry
	for i := range n {
		entries = append(entries, entry(newest.Add(-time.Duration(n-1-i)*step), 0xa1, lineA, repo.StateOK))
	}
	return entries
}

// decide is Decide where nothing is archived.
func decide(entries []repo.Entry, p Policy, now time.Time) []Decision {
	snapshots, _ := Decide(&repo.Catalogue{Entries: entries}, nil, p, now)
	return snapshots
}

func when(tb testing.TB, text string) time.Time {
	tb.Helper()
	for _, layout := range []string{"2006-01-02T15:04:05Z", "2006-01-02T15:04Z", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	tb.Fatalf("%q is no time", text)
	return time.Time{}
}

func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatal(err)
	}
	return loc
}

// told is the decisions as golden files have them: time, state where it is not ok, timeline where it is not the first.
func told(decisions []Decision) string {
	var b strings.Builder
	for _, d := range decisions {
		e := d.Entry
		fmt.Fprint(&b, e.ID.Time.Format("2006-01-02T15:04:05Z"))
		if e.State != repo.StateOK {
			fmt.Fprint(&b, " ", e.State)
		}
		if e.Manifest != nil && e.Manifest.Timeline == lineB {
			fmt.Fprint(&b, " B")
		}
		fmt.Fprintf(&b, "  %s\n", d)
	}
	return b.String()
}

// parseEntries reads "TIME [STATE] [B]" lines.
func parseEntries(tb testing.TB, text string) []repo.Entry {
	tb.Helper()
	var entries []repo.Entry
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		state, line := repo.StateOK, lineA
		for _, w := range words[1:] {
			if w == "B" {
				line = lineB
			} else {
				state = repo.State(w)
			}
		}
		entries = append(entries, entry(when(tb, words[0]), 0xa1, line, state))
	}
	return entries
}

func fates(decisions []Decision) map[string]Fate {
	out := make(map[string]Fate)
	for _, d := range decisions {
		out[d.Entry.ID.String()] = d.Fate
	}
	return out
}

func count(decisions []Decision, f Fate) int {
	n := 0
	for _, d := range decisions {
		if d.Fate == f {
			n++
		}
	}
	return n
}
