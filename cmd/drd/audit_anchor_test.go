package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/preflight"
	"github.com/drd-project/drd/internal/repo"
)

// TestAuditAnchored: what a snapshot knows of the audit log finds an end that was cut off, which the chain and a command after it do not
// show.
func TestAuditAnchored(t *testing.T) {
	g := prepare(t)
	path := filepath.Join(g.dir, "state", audit.FileName)
	config := []string{"--config", filepath.Join(g.dir, "config.yaml")}
	keygen := func(dir string) { g.drd(t, append(config, "keygen", "--dir", filepath.Join(g.dir, dir))...) }
	keygen("a") // four records, after one of each of two snapshots
	keygen("b")
	m := g.snapshot(t, config)
	if m.Audit == nil || m.Audit.Sequence != 11 {
		t.Fatalf("audit: %+v", m.Audit)
	}
	if err := os.Remove(filepath.Join(g.dir, "keys", "identity.txt")); err != nil { // which drd check would read, and record that
		t.Fatal(err)
	}
	checkAudit(t, config, preflight.OK, "records 1 to 12, ", "agrees with this host's signed snapshots (3)")
	keygen("c")
	checkAudit(t, config, preflight.OK, "records 1 to 17, ", "signed snapshots (3)")

	whole := readAll(t, path)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	cut := bytes.Join(lines[:9], nil)
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(cut)
	if _, err := audit.Verify(path); err != nil {
		t.Errorf("the chain shows it: %v", err)
	}
	checkAudit(t, config, preflight.Fail, "it ends with record 10, ", "snapshot "+m.ID+" (captured "+m.CaptureStart.Format(time.RFC3339), " in primary) has record 11")
	keygen("d")
	if _, err := audit.Verify(path); err != nil {
		t.Errorf("the chain shows it: %v", err)
	}
	checkAudit(t, config, preflight.Fail, "audit.jsonl:11, record 11, is another one than snapshot "+m.ID)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Verify(path, audit.Anchor{Sequence: m.Audit.Sequence, Hash: m.Audit.SHA256, Where: "snapshot " + m.ID}); err == nil || !strings.Contains(err.Error(), "there is none, and snapshot "+m.ID) {
		t.Errorf("removed: %v", err)
	}
	checkAudit(t, config, preflight.Fail, "it begins with record 1, of ", "the state directory is a new one")

	write(whole)
	checkAudit(t, config, preflight.OK, "signed snapshots (3)")
}

// snapshot takes one and returns its manifest.
func (g *given) snapshot(t *testing.T, config []string) *repo.Manifest {
	t.Helper()
	var doc snapshotOutput
	if err := json.Unmarshal(g.drd(t, append([]string{"snapshot", "--json"}, config...)...), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Snapshot
}

// checkAudit runs drd check, of which the audit log's check must say all of want.
func checkAudit(t *testing.T, config []string, status preflight.Status, want ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "drd", append([]string{"check", "--json"}, config...)...).Output()
	var exit *exec.ExitError
	if failed := errors.As(err, &exit); failed != (status == preflight.Fail) || err != nil && !failed {
		t.Errorf("drd check: %v", err)
	}
	var doc struct{ Checks []preflight.Check }
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	for _, c := range doc.Checks {
		if c.Name != "audit log" {
			continue
		}
		for _, part := range want {
			if c.Status != status || !strings.Contains(c.Detail, part) {
				t.Errorf("%s: %+v, want %s", fmt.Sprint(config), c, part)
			}
		}
		return
	}
	t.Errorf("there is no check of the audit log in %s", out)
}
