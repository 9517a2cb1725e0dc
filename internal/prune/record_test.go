package prune

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
)

// audited is a context with an audit log at path.
func audited(t *testing.T, path string) context.Context {
	t.Helper()
	return audit.Into(t.Context(), audit.New(audit.Config{
		Place: func() (string, string) { return path, cluster }, Journal: filepath.Join(t.TempDir(), "none"),
	}))
}

// recorded are the events in the log, a line each.
func recorded(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r audit.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		events = append(events, fmt.Sprintf("%s %s %s %d %s", r.Event, r.Outcome, r.Object, r.Count, r.Target))
	}
	return events
}

// TestRecorded: the audit log has the beginning, each deletion and the end.
func TestRecorded(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 3)
	path := filepath.Join(t.TempDir(), audit.FileName)
	plan := p.plan(last(1))
	if err := plan.Run(audited(t, path)).Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("prune.begin begun %s 2 %s", cluster, plan.Target),
		fmt.Sprintf("prune.delete begun %s 0 %s", ids[0], plan.Target),
		fmt.Sprintf("prune.delete done %s 0 %s", ids[0], plan.Target),
		fmt.Sprintf("prune.delete begun %s 0 %s", ids[1], plan.Target),
		fmt.Sprintf("prune.delete done %s 0 %s", ids[1], plan.Target),
		fmt.Sprintf("prune.end done %s 2 %s", cluster, plan.Target),
	}
	if d := cmp.Diff(want, recorded(t, path)); d != "" {
		t.Error(d)
	}
	if results := p.plan(last(1)).Run(audited(t, path)); len(results) != 0 || len(recorded(t, path)) != 6 {
		t.Error("a prune with nothing to delete is recorded")
	}
}

// TestRecordedBefore: what is deleted stands in the audit log before, also of segments that go several at once.
func TestRecordedBefore(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 8) // 43 h to 1 h ago
	segments := p.segments(time.Hour, 42)
	path := filepath.Join(t.TempDir(), audit.FileName)
	var mu sync.Mutex
	begun := make(map[string]bool) // the record before each deletion
	w := &watched{Bucket: p.repo.Bucket(), before: func(string) error {
		mu.Lock()
		defer mu.Unlock()
		all := recorded(t, path)
		begun[all[len(all)-1]] = true
		return nil
	}}
	plan := p.planOver(p.over(w), within(22*time.Hour))
	results := plan.Run(audited(t, path))
	if results.Err() != nil {
		t.Fatal(results.Err())
	}
	want := make(map[string]bool)
	for _, r := range results {
		if !r.Item.Archived() {
			want[fmt.Sprintf("prune.delete begun %s 0 %s", r.Item.ID, plan.Target)] = true
		}
	}
	want[fmt.Sprintf("prune.delete begun %s 0 %s", segments[0].Name(), plan.Target)] = true // the first goes alone
	want[fmt.Sprintf("prune.delete begun %s to %s 17 %s", segments[1].Name(), segments[17].Name(), plan.Target)] = true
	if d := cmp.Diff(want, begun); d != "" {
		t.Error(d)
	}
}

// TestNotRecorded: nothing is deleted where it cannot be recorded, and nothing more where that stops in the middle.
func TestNotRecorded(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 4)
	state := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(state, nil, 0o600); err != nil { // no directory can be made there
		t.Fatal(err)
	}
	path := filepath.Join(state, audit.FileName)
	results := p.plan(last(1)).Run(audited(t, path))
	if results.Count(NotTried) != 3 || results.Err() == nil || len(hint.Of(results.Err())) == 0 {
		t.Errorf("%s, %v", results, results.Err())
	}
	if left := p.plan(last(1)).Deletions(); len(left) != 3 {
		t.Errorf("%d of 3 are left to be deleted", len(left))
	}

	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	w := &watched{Bucket: p.repo.Bucket(), before: func(string) error {
		return errors.Join(os.RemoveAll(state), os.WriteFile(state, nil, 0o600)) // the object goes, its record cannot be written
	}}
	results = p.planOver(p.over(w), last(1)).Run(audited(t, path))
	if results.Count(Deleted) != 1 || results.Count(NotTried) != 2 || results.Err() == nil {
		t.Errorf("%s, %v", results, results.Err())
	}
	if left := p.plan(last(1)).Deletions(); len(left) != 2 || left[0].ID != ids[1] {
		t.Errorf("%d of 2 are left to be deleted", len(left))
	}
}
