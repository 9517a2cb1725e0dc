package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/repo"
)

// audited is a context with the audit log at path.
func audited(t *testing.T, path string) context.Context {
	t.Helper()
	return audit.Into(t.Context(), audit.New(audit.Config{
		Place: func() (string, string) { return path, cluster }, Journal: filepath.Join(t.TempDir(), "none"),
	}))
}

// TestAuditEnd: the signed manifest says where the audit log ended, also while others write to it.
func TestAuditEnd(t *testing.T) {
	n := newNode(t, 1)
	path := filepath.Join(n.state, audit.FileName)
	ctx := audited(t, path)
	result, err := n.run(ctx, n.member)
	if err != nil || result.Manifest.Audit != nil {
		t.Fatalf("with an empty log: %v, %+v", err, result)
	}
	audit.Note(ctx, audit.Event{Name: audit.DaemonStart})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // as other processes do
		defer close(stopped)
		for other := audited(t, path); ; audit.Note(other, audit.Event{Name: audit.PruneDelete}) {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	result, err = n.run(ctx, n.member)
	close(stop)
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	end := result.Manifest.Audit
	if end == nil || end.Host != host || end.Sequence < 1 {
		t.Fatalf("audit: %+v", end)
	}
	chain, err := audit.Verify(path, audit.Anchor{Sequence: end.Sequence, Hash: end.SHA256, Witness: audit.Snapshots})
	if err != nil || chain.Matched[audit.Snapshots] != 1 {
		t.Errorf("%+v, %v", chain, err)
	}
	c, err := n.cfg.Targets[0].Repo.Catalogue(t.Context(), n.keys.Trust)
	if err != nil || len(c.Entries) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if e := c.Entries[1]; e.State != repo.StateOK || e.Manifest.Audit == nil || *e.Manifest.Audit != *end {
		t.Errorf("in the target: %+v", e)
	}
}

// TestAuditUnreadable: a backup is worth more than what it says of the audit log.
func TestAuditUnreadable(t *testing.T) {
	n := newNode(t, 1)
	path := filepath.Join(n.state, audit.FileName)
	if err := os.Mkdir(path, 0o700); err != nil { // root cannot read that as a file either
		t.Fatal(err)
	}
	result, err := n.run(audited(t, path), n.member)
	if err := errors.Join(err, os.Remove(path)); err != nil || result.Manifest.Audit != nil {
		t.Errorf("%v, %+v", err, result)
	}
	if !strings.Contains(n.log.String(), "does not say where the audit log ends") {
		t.Errorf("nobody is told: %s", &n.log)
	}
}
