package verify

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
)

// archive stores a segment of these revisions in the first target, and returns where its payload lies.
func (h *host) archive(first, last int64, age time.Duration) string {
	h.t.Helper()
	d, err := archive.Begin(h.t.TempDir(), h.keys.Recipients, first)
	must := func(err error) {
		h.t.Helper()
		if err != nil {
			h.t.Fatal(err)
		}
	}
	must(err)
	at := time.Now().Add(-age).Truncate(time.Second).UTC()
	d.Stamp(at)
	for n := first; n <= last; n++ {
		value, err := proto.Marshal(&mvccpb.KeyValue{Key: []byte("k"), Value: []byte(fmt.Sprint(n)), CreateRevision: n, ModRevision: n, Version: 1})
		must(err)
		must(d.Append(mvcc.Entry{Position: mvcc.Position{Main: n}, Value: bytes.Clone(value)}))
	}
	sealed, err := d.Finish(archive.Facts{
		Cluster: "prod", EtcdClusterID: "c1", Timeline: "00000000000000a1", Member: repo.Member{ID: "a1"}, From: at.Add(-time.Second), To: at.Add(time.Second),
		CompactRevision: -1, Build: repo.Build{Version: "test"},
	})
	must(err)
	signed, err := repo.SignSegment(sealed.Segment, h.signer)
	must(err)
	r := h.cfg.Targets[0].Repo
	must(r.PutSegment(h.t.Context(), signed, sealed.Open))
	return filepath.Join(h.dirs[0], filepath.FromSlash(r.SegmentPayloadKey(sealed.Segment)))
}

// points are the archived revisions that a run tried, by kind.
func (h *host) points(req Request) map[string]int64 {
	h.t.Helper()
	if _, err := h.runner().Run(h.t.Context(), req); err != nil {
		h.t.Fatal(err)
	}
	tried := make(map[string]int64)
	for _, text := range h.taken() {
		var target, kind, level string
		var revision int64
		if n, _ := fmt.Sscanf(text, "%s r%d %s %s", &target, &revision, &kind, &level); n == 4 {
			if level != string(proof.LevelArchive) {
				h.t.Errorf("%s", text)
			}
			tried[kind] = revision
		}
	}
	return tried
}

// TestPoints: a run tries the newest archived revision and, in turn, one of each part of the window.
func TestPoints(t *testing.T) {
	h := newHost(t, 1)
	start := time.Now()
	runs := 0
	h.cfg.Now = func() time.Time { return start.Add(time.Duration(runs) * time.Second) } // a record each
	h.put(3*time.Hour, 10, 0)
	h.archive(11, 40, 2*time.Hour)
	h.archive(41, 70, time.Hour)
	var parts []int64
	for range windowParts {
		tried := h.points(Request{Trigger: proof.TriggerSchedule})
		runs += 5
		if tried[proof.PointNewest] != 70 {
			t.Fatalf("tried %v, want 70 as the newest", tried)
		}
		parts = append(parts, (tried[proof.PointOlder]-1)/10)
	}
	slices.Sort(parts)
	if got := fmt.Sprint(parts); got != "[0 1 2 3 4 5 6]" {
		t.Errorf("parts of the window that were tried: %s", got)
	}
	stands := h.history(0)
	if all := stands.Archived(); len(all) != 2 || all[0].State != proof.StateProved {
		t.Errorf("archived: %+v", all)
	}
	if id := h.history(0).Records()[0].Record.Drills[0].Snapshot; standing(stands, id) != proof.StateProved {
		t.Errorf("the snapshot stands as %s", standing(stands, id))
	}
}

// TestFailedPoints: what failed is tried again until it passes, and stands failed until then, whatever passes beside it.
func TestFailedPoints(t *testing.T) {
	h := newHost(t, 1)
	start := time.Now()
	runs := 0
	h.cfg.Now = func() time.Time { return start.Add(time.Duration(runs) * time.Second) }
	h.put(3*time.Hour, 10, 0)
	h.archive(11, 1000, 2*time.Hour)
	first := h.points(Request{Trigger: proof.TriggerSchedule})[proof.PointOlder]
	if failed := h.history(0).ArchiveFailed(); len(failed) != 0 {
		t.Fatalf("failed: %+v", failed)
	}
	runs += 5
	h.outcome["r500"] = proof.Failed
	if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand, Revision: 500}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		runs += 5
		if failed := h.history(0).ArchiveFailed(); len(failed) != 1 || failed[0].Archived.Revision != 500 || failed[0].Cause == "" {
			t.Fatalf("failed: %+v", failed)
		}
		h.taken()
		if again := h.points(Request{Trigger: proof.TriggerSchedule})[proof.PointOlder]; again != 500 {
			t.Errorf("tried revision %d after 500 had failed (and %d at first)", again, first)
		}
	}
	runs += 5
	delete(h.outcome, "r500")
	h.points(Request{Trigger: proof.TriggerSchedule})
	if failed := h.history(0).ArchiveFailed(); len(failed) != 0 {
		t.Errorf("still failed: %+v", failed)
	}
}

// TestFailedTime: what was there at a time is tried again as that, where it could not be found out which revision it was.
func TestFailedTime(t *testing.T) {
	h := newHost(t, 1)
	start := time.Now()
	runs := 0
	h.cfg.Now = func() time.Time { return start.Add(time.Duration(runs) * time.Second) }
	h.put(3*time.Hour, 10, 0)
	h.archive(11, 40, 2*time.Hour)
	h.outcome["r0"] = proof.Failed
	found, err := h.cfg.Targets[0].Repo.ListSegments(t.Context(), repo.SegmentQuery{}, h.keys.Trust)
	if err != nil || len(found.Entries) != 1 {
		t.Fatal(found, err)
	}
	asked := found.Entries[0].Segment.To.Add(-time.Second) // when it was stamped: a time that the archive knows
	if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand, At: asked}); err != nil {
		t.Fatal(err)
	}
	failed := h.history(0).ArchiveFailed()
	if len(failed) != 1 || failed[0].Archived.String() != asked.Format(time.RFC3339) || failed[0].Archived.Flag() != "--at "+asked.Format(time.RFC3339) {
		t.Fatalf("failed: %+v", failed)
	}
	runs += 5
	delete(h.outcome, "r0")
	h.taken()
	if again, tried := h.points(Request{Trigger: proof.TriggerSchedule})[proof.PointOlder]; !tried || again != 0 {
		t.Errorf("tried revision %d and not what was there at %s", again, asked)
	}
	if failed := h.history(0).ArchiveFailed(); len(failed) != 0 {
		t.Errorf("still failed: %+v", failed)
	}
}

// TestBrokenSegments: what a segment holds that cannot be used is tried, and so is what lies beyond a hole.
func TestBrokenSegments(t *testing.T) {
	h := newHost(t, 1)
	h.put(3*time.Hour, 10, 0)
	middle := h.archive(11, 40, 2*time.Hour)
	h.archive(41, 70, time.Hour)
	if err := os.Remove(middle); err != nil {
		t.Fatal(err)
	}
	if tried := h.points(Request{Trigger: proof.TriggerCommand}); tried[proof.PointNewest] != 70 || tried[proof.PointOlder] != 40 {
		t.Errorf("tried %v", tried)
	}
}

// TestNoKeyForPoints: what no key here opens is not chosen, unless somebody names it.
func TestNoKeyForPoints(t *testing.T) {
	h := newHost(t, 1)
	h.put(3*time.Hour, 10, 0)
	h.archive(11, 40, 2*time.Hour)
	h.cfg.CanOpenSegment = func(*repo.Segment) bool { return false }
	tried := h.points(Request{Trigger: proof.TriggerSchedule})
	if _, newest := tried[proof.PointNewest]; newest || tried[proof.PointOlder] > 10 {
		t.Errorf("tried %v", tried)
	}
	h.taken()
	if tried := h.points(Request{Trigger: proof.TriggerCommand, Revision: 30}); tried[proof.PointOlder] != 30 || len(tried) != 1 {
		t.Errorf("asked for revision 30: tried %v", tried)
	}
}

// TestAskedPoints: a point that there is no way to is told to who asked, and a request that contradicts itself is refused.
func TestAskedPoints(t *testing.T) {
	h := newHost(t, 1)
	h.put(3*time.Hour, 10, 0)
	h.nothing = fmt.Errorf("%w: nothing holds revision 99", repo.ErrNothing)
	records, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand, Revision: 99})
	if !errors.Is(err, repo.ErrNothing) || len(records) != 0 {
		t.Errorf("%v, %d records", err, len(records))
	}
	for _, req := range []Request{{Revision: -1}, {Revision: 1, At: time.Now()}, {Revision: 1, ID: "x"}, {At: time.Now(), ID: "x"}, {At: time.Now().Add(time.Hour)}} {
		req.Trigger = proof.TriggerCommand
		if _, err := h.runner().Run(t.Context(), req); !errors.Is(err, ErrRequest) {
			t.Errorf("%+v: %v", req, err)
		}
	}
	if text := strings.Join(h.taken(), " "); strings.Contains(text, "r1 ") {
		t.Errorf("tried %s", text)
	}
}

// plantSegment puts an object of this name and content into the first target, as anybody can who may write there.
func (h *host) plantSegment(name, content string) (remove func()) {
	h.t.Helper()
	file := filepath.Join(h.dirs[0], filepath.FromSlash(h.cfg.Targets[0].Repo.SegmentsPrefix("00000000000000a1")), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return func() {
		h.t.Helper()
		if err := os.Remove(file); err != nil {
			h.t.Fatal(err)
		}
	}
}

// TestPlantedPoints: a record that nobody trusted has signed is no point to try, whatever its name says, and not once its failure is on
// record.
func TestPlantedPoints(t *testing.T) {
	const planted = 9223372036854775807
	h := newHost(t, 1)
	start := time.Now()
	runs := 0
	h.cfg.Now = func() time.Time { return start.Add(time.Duration(runs) * time.Second) }
	h.put(3*time.Hour, 10, 0)
	payload := h.archive(11, 70, 2*time.Hour)
	record, err := os.ReadFile(strings.TrimSuffix(payload, ".zst.age") + ".signed")
	if err != nil {
		t.Fatal(err)
	}
	h.outcome[fmt.Sprintf("r%d", planted)] = proof.Failed
	for name, content := range map[string]string{"unsigned": "x", "of another name": string(record), "changed": strings.Replace(string(record), `"c1"`, `"c2"`, 1)} {
		remove := h.plantSegment(fmt.Sprintf("0000000000000000071-%d-00000000.signed", planted), content)
		h.log.Reset()
		for range 2 {
			runs += 5
			h.taken()
			if tried := h.points(Request{Trigger: proof.TriggerSchedule}); tried[proof.PointOlder] > 70 || tried[proof.PointOlder] == 0 || tried[proof.PointNewest] != 70 {
				t.Errorf("%s: tried %v", name, tried)
			}
		}
		if !strings.Contains(h.log.String(), "count for nothing") || !strings.Contains(h.log.String(), fmt.Sprint(planted)) {
			t.Errorf("%s: nobody is told: %s", name, &h.log)
		}
		remove()
	}
	// A record of such a failure, as versions before this one made it.
	runs += 5
	if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand, Revision: planted}); err != nil || len(h.history(0).ArchiveFailed()) != 1 {
		t.Fatal(err)
	}
	runs += 5
	h.taken()
	if tried := h.points(Request{Trigger: proof.TriggerSchedule}); tried[proof.PointOlder] > 70 || tried[proof.PointOlder] == 0 {
		t.Errorf("tried %v", tried)
	}
	if failed := h.history(0).ArchiveFailed(); len(failed) != 0 {
		t.Errorf("still failed: %+v", failed)
	}
}

// TestRotationGoesOn: beside what fails in every run all parts of the window are tried, and no pass of theirs takes back that it fails.
func TestRotationGoesOn(t *testing.T) {
	h := newHost(t, 1)
	start := time.Now()
	runs := 0
	h.cfg.Now = func() time.Time { return start.Add(time.Duration(runs) * time.Second) }
	h.put(3*time.Hour, 10, 0)
	h.archive(11, 70, 2*time.Hour)
	middle := h.archive(71, 100, 2*time.Hour)
	h.archive(101, 170, time.Hour)
	if err := os.Remove(middle); err != nil {
		t.Fatal(err)
	}
	h.outcome["r100"] = proof.Failed
	older := make(map[string]bool)
	for range windowParts + 1 {
		runs += 10
		if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerSchedule}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(h.taken(), "\n")
		if strings.Count(text, "r100 "+proof.PointOlder) != 1 {
			t.Errorf("tried %s", text)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if strings.Contains(line, proof.PointOlder) {
				older[line] = true
			}
		}
		if failed := h.history(0).ArchiveFailed(); len(failed) != 1 || failed[0].Archived.Revision != 100 {
			t.Errorf("failed: %+v", failed)
		}
	}
	if len(older) < windowParts+1 { // no two parts have a revision in common
		t.Errorf("tried were only %v", older)
	}
	runs += 10
	for n := range 71 {
		h.outcome[fmt.Sprintf("r%d", n)] = proof.Failed
	}
	if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerSchedule}); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(h.taken(), "\n"); strings.Contains(text, "r100 ") || strings.Count(text, proof.PointOlder) != 1 {
		t.Errorf("one older failed, and another was tried after it: %s", text)
	}
}
