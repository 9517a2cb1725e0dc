package restore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/restore"
)

// TestAudit: what is downloaded is recorded before, and what became of it after, whatever that was.
func TestAudit(t *testing.T) {
	l := newLedger(t, nil, 1)
	past := func(ctx context.Context, plan *restore.Plan) error {
		_, err := restore.RunWith(ctx, plan, l.k.identities, inspector(t), nil, restore.Options{})
		return err
	}
	for _, c := range []struct {
		name string
		req  restore.Request
		run  func(ctx context.Context, plan *restore.Plan) error // nil: to a file
		with func()                                              // before the run
		want []string
	}{
		{"snapshot", restore.Request{Revision: 10}, nil, nil, []string{"object.download begun", "object.decrypt done", "restore.install begun", "restore.install done"}},
		{"revision", restore.Request{Revision: 35}, nil, nil, []string{
			"segments.download begun 3", "object.download begun", "object.decrypt done", "segments.decrypt done 3", "restore.install begun", "restore.install done",
		}},
		{"time", restore.Request{At: secondOf(26)}, nil, nil, []string{
			"segments.download begun 2", "segments.decrypt done 1", "object.download begun", "object.decrypt done", "segments.decrypt done 2", "restore.install begun", "restore.install done",
		}},
		{"past", restore.Request{SinceAt: secondOf(23), Revision: 35, InScratch: true}, past, nil, []string{
			"segments.download begun 3", "segments.decrypt done 1", "object.download begun", "object.decrypt done", "segments.decrypt done 3",
		}},
		{"segment gone", restore.Request{Revision: 35}, nil, func() { l.remove(0, 1) }, []string{"segments.download begun 3", "segments.decrypt failed 3"}},
		{"snapshot damaged", restore.Request{Revision: 15}, nil, func() { spoil(t, l.targets[0].payloadFile(l.snapshot.manifest)) }, []string{
			"segments.download begun 1", "object.download begun", "object.decrypt failed", "segments.decrypt failed 1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, events := recorded(t)
			req := c.req
			if req.InScratch {
				req.Scratch = t.TempDir()
			} else {
				req.Output = filepath.Join(t.TempDir(), "f")
			}
			plan, err := restore.MakePlan(ctx, sources(l.targets...), l.k.trust, req, captureTime.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if c.with != nil {
				c.with()
			}
			run := c.run
			if run == nil {
				run = func(ctx context.Context, plan *restore.Plan) error {
					_, err := restore.Run(ctx, plan, l.k.identities, inspector(t), nil)
					return err
				}
			}
			if err := run(ctx, plan); (err != nil) != (c.with != nil) {
				t.Errorf("restore: %v", err)
			}
			if d := cmp.Diff(c.want, events()); d != "" {
				t.Error(d)
			}
		})
	}
}

// recorded returns a context with an audit log, and what reads it: "event outcome count".
func recorded(t *testing.T) (context.Context, func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), audit.FileName)
	log := audit.New(audit.Config{Place: func() (string, string) { return path, cluster }, Journal: filepath.Join(t.TempDir(), "none")})
	return audit.Into(t.Context(), log), func() (events []string) {
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
			event := fmt.Sprintf("%s %s", r.Event, r.Outcome)
			if r.Count > 0 {
				event += fmt.Sprintf(" %d", r.Count)
			}
			events = append(events, event)
		}
		return events
	}
}
