package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/members"
)

// TestTriples: a drill learns when the log begins that an answer stems from, so that a snapshot from before a restore in place
// is not held against the members of after it.
func TestTriples(t *testing.T) {
	state := t.TempDir()
	log := `{"member":"a1","revision":90,"compact_revision":80,"hash":7,"seen":"2026-11-22T10:00:00Z","etcd_cluster_id":"c1","first":"2026-11-22T09:00:00Z"}
{"member":"b1","revision":95,"compact_revision":85,"hash":8,"seen":"2026-11-22T10:30:00Z","etcd_cluster_id":"c1","first":"2026-11-22T10:20:00Z"}
`
	if err := os.WriteFile(filepath.Join(state, "members.jsonl"), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := members.OpenLog(state)
	if err != nil {
		t.Fatal(err)
	}
	at := func(hour, minute int) time.Time { return time.Date(2026, 11, 22, hour, minute, 0, 0, time.UTC) }
	want := []drill.Triple{
		{Member: "b1", Revision: 95, CompactRevision: 85, Hash: 8, Seen: at(10, 30), EtcdClusterID: "c1", Since: at(9, 0)},
		{Member: "a1", Revision: 90, CompactRevision: 80, Hash: 7, Seen: at(10, 0), EtcdClusterID: "c1", Since: at(9, 0)},
	}
	if d := cmp.Diff(want, drillSetup{members: said}.triples()(100, 70)); d != "" {
		t.Error(d)
	}
	if (drillSetup{}).triples() != nil {
		t.Error("a host that asks no members has answers")
	}
}

// TestOwnOnly: without trust.file the node judges nobody's snapshots but its own.
func TestOwnOnly(t *testing.T) {
	for file, want := range map[string]bool{"": true, "/etc/drd/allowed_signers": false} {
		var s drillSetup
		if err := s.configure(&config.Config{Trust: config.Trust{File: file}}); err != nil {
			t.Fatal(err)
		}
		if s.ownOnly != want {
			t.Errorf("trust.file %q: own only %v", file, s.ownOnly)
		}
	}
}
