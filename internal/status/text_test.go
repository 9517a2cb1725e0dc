package status_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/status"
)

var update = flag.Bool("update", false, "rewrite the golden files from what the code does now")

var at = time.Date(2026, 11, 22, 10, 5, 7, 0, time.UTC)

func before(d time.Duration) *time.Time {
	t := at.Add(-d)
	return &t
}

// reports are what a person may see on a good and on a bad night.
func reports() map[string]*status.Report {
	took, due := 41.3, 3
	target := func(name, location string) status.Target {
		return status.Target{
			Name: name, Location: location, Readable: true, RecoveryPoint: before(12 * time.Second), Restorable: 214, Oldest: before(200 * 24 * time.Hour), Due: &due,
			Proved: before(6 * time.Hour), ArchiveProved: &status.ArchiveProof{Revision: 48102, At: *before(6 * time.Hour)},
		}
	}
	good := func() *status.Report {
		return &status.Report{
			Cluster: "prod-east", Time: at, Healthy: true, RecoveryPoint: before(12 * time.Second), Snapshot: "20261122T060000Z-r48211-8e9e05c52164694d",
			Proof: proof.StateDataProved, ProofAt: before(3 * time.Hour), Proved: before(6*time.Hour + 34*time.Minute), RestoreSeconds: &took,
			NextSnapshot: before(-115 * time.Minute), NextDrill: before(-17 * time.Hour), Problems: []status.Problem{},
			Targets: []status.Target{target("primary", "s3://prod-backups/etcd at https://s3.eu-central-1.amazonaws.com"), target("nas", "file:///mnt/nas/drd")},
		}
	}
	failed := good()
	failed.Healthy, failed.Proof, failed.ProofAt, failed.RestoreSeconds = false, proof.StateFailed, before(20*time.Minute), nil
	failed.Targets[0].Failed, failed.Targets[0].Other, failed.Targets[0].Lost = 2, 1, 1
	failed.Targets[1].Waiting, failed.Targets[1].WaitingSince = 1, before(7*time.Hour)
	for range 12 {
		failed.Problems = append(failed.Problems, status.Problem{Kind: status.KindProof, Text: "target primary: the drill of X FAILED:\n\x1b[2Jhashkv: 1 instead of 2", Hints: []string{"drd verify ID tries again"}})
	}
	stale := good()
	stale.Healthy, stale.RecoveryPoint, stale.Proof, stale.ProofAt, stale.Proved, stale.RestoreSeconds, stale.NextDrill = false, before(25*time.Hour), proof.StateUnproven, nil, nil, nil, nil
	stale.Targets[0].Proved, stale.Targets[0].ArchiveProved, stale.Targets[0].Due = nil, nil, nil
	stale.Targets[1] = status.Target{
		Name: "nas", Location: "file:///mnt/nas/drd", Waiting: 4, WaitingSince: before(26 * time.Hour), SegmentsWaiting: 1240, SegmentsSince: before(27 * time.Hour),
		LastError: "write: no space left on device",
	}
	stale.Targets[0].Future, stale.Targets[0].SegmentsWaiting, stale.Targets[0].SegmentsSince = 1, 1, before(3*time.Second)
	stale.Problems = []status.Problem{{Kind: status.KindRecovery, Text: "the newest snapshot is from 2026-11-21T09:05:07Z, and one is due every 6h0m0s", Hints: []string{"systemctl status drd, then drd check"}}}
	sound := good()
	sound.Healthy, sound.RecoveryPoint, sound.FailedNewer, sound.Proof = false, before(20*time.Hour), "20261122T090000Z-r48411-8e9e05c52164694d", proof.StateProved
	none := &status.Report{
		Cluster: "prod-east", Time: at, Targets: []status.Target{{Name: "nas", Location: "file:///mnt/nas/drd", Readable: true}},
		Problems: []status.Problem{{Kind: status.KindRecovery, Text: "target nas: nothing to restore", Hints: []string{"drd snapshot takes one"}}},
	}
	fast := good()
	seconds := 3.21
	fast.RestoreSeconds, fast.Proof, fast.ProofAt = &seconds, proof.StateProved, before(time.Minute)
	return map[string]*status.Report{"healthy": good(), "failed": failed, "stale": stale, "none": none, "proved": fast, "sound": sound}
}

func TestText(t *testing.T) {
	for name, r := range reports() {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := r.WriteText(&out); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Error(diff)
			}
			for line := range strings.Lines(out.String()) {
				if n := utf8.RuneCountInString(line); n > 81 && !strings.HasPrefix(line, "problem: ") {
					t.Errorf("%d columns: %s", n-1, line)
				}
			}
			if n := strings.Count(out.String(), "\n"); n > 36 {
				t.Errorf("%d lines", n)
			}
		})
	}
}

// TestArchiveLate: an archive that does not move is a problem, also while snapshots are young enough.
func TestArchiveLate(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	s := newSite(t, 2)
	s.put(now.Add(-time.Hour), 0, 1)
	s.cfg.ArchiveLate = 10 * time.Minute
	r := status.Look(t.Context(), s.cfg, now)
	if r.Healthy || r.Safe() || strings.Count(texts(r), "the archive ends at ") != 1 {
		t.Errorf("%s", texts(r))
	}
	s.cfg.ArchiveLate = time.Hour
	if r := status.Look(t.Context(), s.cfg, now); !r.Safe() {
		t.Errorf("%s", texts(r))
	}
}

// TestSafe: what is wrong with the cluster does not make its backups less safe.
func TestSafe(t *testing.T) {
	s := newSite(t, 1)
	s.manifest.Alarms = []string{"NOSPACE on member a1"}
	s.put(time.Now().Add(-time.Hour), 0)
	r := status.Look(t.Context(), s.cfg, time.Now())
	if r.Healthy || !r.Safe() {
		t.Errorf("healthy %v, safe %v: %s", r.Healthy, r.Safe(), texts(r))
	}
}
