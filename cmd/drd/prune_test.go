package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/prune"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

// refusing is a bucket from which nothing can be deleted, and why.
type refusing struct {
	storage.Bucket
	why error
}

func (r refusing) Delete(context.Context, string) error { return fmt.Errorf("delete: %w", r.why) }

// TestPruneRefused: a deletion that is refused is a failure, one that is locked a state.
func TestPruneRefused(t *testing.T) {
	g := prepare(t)
	trust, err := seal.LoadTrust(filepath.Join(g.dir, "keys", "allowed_signers"))
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := dir.Open(filepath.Join(g.dir, "repo"), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why           error
		code          int
		outcome, text string
	}{
		{storage.ErrDenied, exitFailed, "failed", "1 failed; 0 B freed"},
		{storage.ErrLocked, exitDone, "locked", "1 locked until retention ends; 0 B freed"},
	} {
		r, err := repo.Open(refusing{bucket, c.why}, "prod")
		if err != nil {
			t.Fatal(err)
		}
		run := func(flags pruneFlags) (string, int) {
			var out bytes.Buffer
			a := &app{out: &out, raw: &out, err: t.Output()}
			policy := retention.Policy{Last: 1, MinCopies: 1, Period: time.Hour}
			err := a.pruneAll(t.Context(), []prune.Target{{Name: "primary", Repo: r}}, trust, policy, time.Now(), flags)
			if err == nil {
				return out.String(), exitDone
			}
			if !strings.HasPrefix(err.Error(), "prune primary: 1 of 1 could not be deleted: ") || len(hint.Of(err)) == 0 {
				t.Errorf("error %v, hints %q", err, hint.Of(err))
			}
			return out.String(), exitCode(err)
		}
		text, code := run(pruneFlags{})
		if code != c.code || !strings.Contains(text, c.text) || !strings.Contains(text, g.first+": "+c.outcome+": delete: ") {
			t.Errorf("%v: exit code %d\n%s", c.why, code, text)
		}
		text, code = run(pruneFlags{asJSON: true})
		var document pruneOutput
		if err := json.Unmarshal([]byte(text), &document); err != nil || code != c.code {
			t.Fatalf("%v: exit code %d, %v", c.why, code, err)
		}
		if item := document.Targets[0].Items[0]; string(item.Outcome) != c.outcome || item.Error == "" || item.ID != g.first || document.Targets[0].Deleted != 0 {
			t.Errorf("%+v", document)
		}
	}
}
