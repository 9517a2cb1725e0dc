package replicate

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/audit"
)

// TestDropRecorded: what is given up for a target is in the audit log, a gap once.
func TestDropRecorded(t *testing.T) {
	n := newNode(t, 1)
	n.enqueue(0)
	first, second := n.follow(1).Segment.Name(), n.follow(2).Segment.Name()
	path := filepath.Join(t.TempDir(), audit.FileName)
	ctx := audit.Into(t.Context(), audit.New(audit.Config{
		Place: func() (string, string) { return path, "prod" }, Journal: filepath.Join(t.TempDir(), "none"),
	}))
	entries, err := n.q.spool.entries()
	n.must(err)
	n.must(n.q.drop(ctx, snapshotRef(entries[0].id), "the spool was full"))
	n.must(n.q.drop(ctx, segmentRef(first), "the spool was full"))
	n.must(n.q.drop(ctx, segmentRef(second), "the spool was full")) // the gap grows
	want := []string{fmt.Sprintf("spool.drop done %s t0 0", entries[0].id), fmt.Sprintf("spool.drop done %s to %s t0 1", first, first)}
	if d := cmp.Diff(want, dropsIn(t, path)); d != "" {
		t.Error(d)
	}
}

func dropsIn(t *testing.T, path string) (events []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r audit.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		events = append(events, fmt.Sprintf("%s %s %s %s %d", r.Event, r.Outcome, r.Object, r.Target, r.Count))
	}
	return events
}
