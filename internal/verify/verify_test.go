package verify

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// TestRun: the newest and an older one, target by target, and what came of it in each of them.
func TestRun(t *testing.T) {
	h := newHost(t, 2)
	older := h.put(3*time.Hour, 10, 0, 1)
	newest := h.put(time.Hour, 20, 0)
	h.outcome[older] = proof.Failed
	var done []string
	req := Request{Trigger: proof.TriggerCommand, Done: func(r Result) {
		done = append(done, r.Target+" "+string(r.Outcome()))
		if !r.Recorded || r.Unrecorded != nil {
			t.Errorf("%s: recorded %t, %v", r.Target, r.Recorded, r.Unrecorded)
		}
	}}
	records, err := h.runner().Run(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"t0 " + newest + " drill", "t0 " + older + " drill", "t1 " + older + " drill"}
	if diff := cmp.Diff(want, h.taken()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"t0 passed", "t0 failed", "t1 failed"}, done); diff != "" {
		t.Error(diff)
	}
	if len(records) != 3 || records[0].Trigger != proof.TriggerCommand || records[0].Cluster != "prod" || records[0].Host != "verifier" {
		t.Fatalf("records %+v", records)
	}
	if diff := cmp.Diff(&proof.Coverage{Period: "720h0m0s", Restorable: 2, Drilled: 1}, records[1].Coverage); diff != "" {
		t.Error(diff)
	}
	stands := h.history(0)
	for id, state := range map[string]string{newest: proof.StateProved, older: proof.StateFailed} {
		if got := standing(stands, id); got != state {
			t.Errorf("%s stands as %s in the target, want %s", id, got, state)
		}
	}
}

// standing is what a history says of a snapshot, whatever its manifest.
func standing(h *proof.History, id string) string {
	for _, r := range h.Records() {
		for _, d := range r.Record.Drills {
			if d.Snapshot == id {
				return h.Of(id, d.ManifestSHA256).State
			}
		}
	}
	return "no record"
}

// TestDeadTarget: it is inconclusive, has no record, and keeps no other from being tried.
func TestDeadTarget(t *testing.T) {
	h := newHost(t, 3)
	id := h.put(time.Hour, 10, 0, 1)
	if err := os.RemoveAll(h.dirs[0]); err != nil {
		t.Fatal(err)
	}
	var results []Result
	records, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerSchedule, Done: func(r Result) { results = append(results, r) }})
	if len(records) != 1 || records[0].Target.Name != "t1" || h.taken()[0] != "t1 "+id+" drill" {
		t.Errorf("records %+v", records)
	}
	var dead *TargetError
	if !errors.As(err, &dead) || dead.Target != "t0" || errors.Is(dead.Err, repo.ErrNothing) {
		t.Errorf("the error is %v", err)
	}
	if len(results) != 3 || results[0].Outcome() != proof.Inconclusive || !errors.Is(results[2].Err, repo.ErrNothing) {
		t.Errorf("results %+v", results)
	}
}

// TestNothing: a target without a snapshot is said to be one.
func TestNothing(t *testing.T) {
	h := newHost(t, 1)
	records, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand})
	if len(records) > 0 || !errors.Is(err, repo.ErrNothing) {
		t.Errorf("records %v, %v", records, err)
	}
}

// TestFresh: the newest is tried once, by whoever comes first, and older ones are left to the schedule.
func TestFresh(t *testing.T) {
	h := newHost(t, 2)
	h.put(3*time.Hour, 10, 0)
	id := h.put(time.Hour, 20, 0)
	req := Request{Trigger: proof.TriggerFresh, Level: proof.LevelData, Targets: []string{"t0"}}
	for range 2 {
		if _, err := h.runner().Run(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"t0 " + id + " data"}, h.taken()); diff != "" {
		t.Error(diff)
	}
	if got := standing(h.history(0), id); got != proof.StateDataProved {
		t.Errorf("it stands as %s", got)
	}

	for range 2 { // the data proof of another host does not stand in for a drill
		if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerFresh, Targets: req.Targets}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"t0 " + id + " drill"}, h.taken()); diff != "" {
		t.Error(diff)
	}

	req.Targets = []string{"t1"} // nothing is there, which is nobody's fault
	if records, err := h.runner().Run(t.Context(), req); len(records) > 0 || err != nil {
		t.Errorf("records %v, %v", records, err)
	}
	h.put(time.Minute, 30, 0)
	h.cfg.CanOpen = func(*repo.Manifest) bool { return false }
	req.Targets = nil
	if records, err := h.runner().Run(t.Context(), req); len(records) > 0 || err != nil || h.taken() != nil {
		t.Errorf("without a key: records %v, %v", records, err)
	}
}

// TestCoverage: scheduled runs try as many older ones as it takes.
func TestCoverage(t *testing.T) {
	h := newHost(t, 1)
	h.cfg.RunsPerPeriod = 3
	for i := range 10 {
		h.put(time.Duration(20-i)*time.Hour, int64(10+i), 0)
	}
	r := h.runner()
	for range 3 {
		if _, err := r.Run(t.Context(), Request{Trigger: proof.TriggerSchedule}); err != nil {
			t.Fatal(err)
		}
	}
	drills := h.taken()
	if n := len(slices.Compact(slices.Sorted(slices.Values(drills)))); n != 10 {
		t.Errorf("%d of 10 snapshots were tried in 3 runs: %v", n, drills)
	}
	if len(drills) > 20 { // each run tries the newest too, and one at random
		t.Errorf("%d drills were made for it", len(drills))
	}
}

// TestNamed: one snapshot by its ID or the beginning of it.
func TestNamed(t *testing.T) {
	h := newHost(t, 1)
	first, second := h.put(3*time.Hour, 10, 0), h.put(time.Hour, 20, 0)
	run := func(id string) error {
		_, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand, ID: id})
		return err
	}
	if err := errors.Join(run(first), run(second[:len(second)-3])); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"t0 " + first + " drill", "t0 " + second + " drill"}, h.taken()); diff != "" {
		t.Error(diff)
	}
	if err := run("20"); !errors.Is(err, ErrAmbiguous) || !strings.Contains(strings.Join(hint.Of(err), ""), first) {
		t.Errorf("of two: %v", err)
	}
	if err := run("1999"); !errors.Is(err, repo.ErrNothing) {
		t.Errorf("of none: %v", err)
	}
	if _, err := h.runner().Run(t.Context(), Request{Targets: []string{"t7"}}); !errors.Is(err, ErrNoTarget) {
		t.Errorf("in a target that there is not: %v", err)
	}
}

// TestOwnOnly: where nobody has said whom to trust, what another node has signed is not held against it.
func TestOwnOnly(t *testing.T) {
	h := newHost(t, 1)
	own := h.put(3*time.Hour, 10, 0)
	h.signer = sealtest.New(t).Signer
	other := h.put(time.Hour, 20, 0)
	if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerSchedule}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"t0 " + other + " drill", "t0 " + own + " drill"}, h.taken()); diff != "" {
		t.Errorf("with allowed signers, somebody else's is tried: %s", diff)
	}
	h.cfg.OwnOnly = true
	for _, trigger := range []string{proof.TriggerSchedule, proof.TriggerCommand} {
		if _, err := h.runner().Run(t.Context(), Request{Trigger: trigger}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"t0 " + own + " drill"}, h.taken()); diff != "" {
			t.Errorf("%s: %s", trigger, diff)
		}
	}
	for _, id := range []string{other, other[:len(other)-1]} {
		_, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand, ID: id})
		if !errors.Is(err, ErrNotOwn) || !strings.Contains(strings.Join(hint.Of(err), ""), "trust.file") || h.taken() != nil {
			t.Errorf("by name: %v", err)
		}
	}
}

// TestUnsigned: without a key nothing is written anywhere.
func TestUnsigned(t *testing.T) {
	h := newHost(t, 1)
	h.put(time.Hour, 10, 0)
	h.cfg.Signer = nil
	records, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand, Done: func(r Result) {
		if r.Recorded || r.Unrecorded != nil {
			t.Errorf("recorded %t, %v", r.Recorded, r.Unrecorded)
		}
	}})
	if err != nil || len(records) != 1 || Outcome(records[0]) != proof.Passed {
		t.Fatalf("records %v, %v", records, err)
	}
	if left := h.history(0).Records(); len(left) > 0 {
		t.Errorf("the target holds records: %v", left)
	}
}

// TestInterrupted: what was found out before is in the target already. What was given up is not told.
func TestInterrupted(t *testing.T) {
	h := newHost(t, 1)
	h.put(3*time.Hour, 10, 0)
	newest := h.put(time.Hour, 20, 0)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	h.during = func(context.Context) {
		if n++; n == 2 {
			if got := standing(h.history(0), newest); got != proof.StateProved {
				t.Errorf("while the second is tried, the first stands as %s: a power cut loses it", got)
			}
			cancel()
		}
	}
	records, err := h.runner().Run(ctx, Request{Trigger: proof.TriggerSchedule})
	if !errors.Is(err, context.Canceled) || len(records) != 1 || len(records[0].Drills) != 1 {
		t.Fatalf("records %+v, %v", records, err)
	}
	if left := h.history(0).Records(); len(left) != 1 {
		t.Errorf("the target has %d records", len(left))
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if records, err := h.runner().Run(ctx, Request{Trigger: proof.TriggerSchedule}); len(records) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("records %v, %v", records, err)
	}
}

// TestKept: what a target did not take reaches it with the next run.
func TestKept(t *testing.T) {
	h := newHost(t, 1)
	newest := h.put(time.Hour, 20, 0)
	h.during = func(context.Context) { h.faulty.FailCall(storagetest.OpCreate, 1, storage.ErrDenied) }
	records, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerSchedule, Done: func(r Result) {
		if r.Recorded || !errors.Is(r.Unrecorded, storage.ErrDenied) {
			t.Errorf("recorded %t, %v", r.Recorded, r.Unrecorded)
		}
	}})
	if err != nil || len(records) != 1 || len(h.history(0).Records()) > 0 {
		t.Fatalf("records %+v, %v", records, err)
	}
	if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerFresh}); err != nil {
		t.Fatal(err)
	}
	if got := standing(h.history(0), newest); got != proof.StateProved || !strings.Contains(h.log.String(), "drill records that waited are stored") {
		t.Errorf("it stands as %s; the log:\n%s", got, &h.log)
	}
}

// TestUnreadableRecord: one object that the store does not hand out, be it planted, keeps nothing from being tried.
func TestUnreadableRecord(t *testing.T) {
	h := newHost(t, 1)
	newest := h.put(time.Hour, 20, 0)
	planted := "prod/drills/" + proof.NewID(time.Now(), "mallory") + ".json"
	if _, err := h.faulty.Create(t.Context(), planted, strings.NewReader("{}")); err != nil {
		t.Fatal(err)
	}
	h.faulty.CutReads(planted, 0, false)
	for _, trigger := range []string{proof.TriggerFresh, proof.TriggerSchedule, proof.TriggerCommand} {
		records, err := h.runner().Run(t.Context(), Request{Trigger: trigger})
		if err != nil || len(records) != 1 || records[0].Drills[0].Snapshot != newest {
			t.Fatalf("%s: records %+v, %v", trigger, records, err)
		}
		if records[0].Coverage != nil {
			t.Errorf("%s: coverage is counted although not all records are known: %+v", trigger, records[0].Coverage)
		}
	}
	if !strings.Contains(h.log.String(), "a drill record cannot be read") {
		t.Errorf("nobody is told:\n%s", &h.log)
	}
}

// TestClockSetBack: what was found during a run in which the clock went back is recorded all the same.
func TestClockSetBack(t *testing.T) {
	h := newHost(t, 1)
	id := h.put(3*time.Hour, 20, 0)
	h.outcome[id] = proof.Failed
	var off time.Duration
	h.cfg.Now = func() time.Time { return time.Now().Add(off) }
	h.during = func(context.Context) { off = -time.Hour }
	_, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerSchedule, Done: func(r Result) {
		if !r.Recorded || r.Unrecorded != nil {
			t.Errorf("recorded %t, %v", r.Recorded, r.Unrecorded)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := standing(h.history(0), id); got != proof.StateFailed {
		t.Errorf("it stands as %s", got)
	}
}

// TestOneAtATime: neither another process nor another goroutine of this one drills meanwhile.
func TestOneAtATime(t *testing.T) {
	h := newHost(t, 1)
	h.put(time.Hour, 10, 0)
	inside, release := make(chan bool), make(chan bool)
	h.during = func(context.Context) {
		inside <- true
		<-release
	}
	first := h.runner()
	ended := make(chan error, 1)
	go func() {
		_, err := first.Run(t.Context(), Request{Trigger: proof.TriggerCommand})
		ended <- err
	}()
	<-inside
	for name, r := range map[string]*Runner{"the same": first, "another process": h.runner()} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := r.Run(ctx, Request{Trigger: proof.TriggerCommand}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	release <- true
	if err := <-ended; err != nil {
		t.Error(err)
	}
	h.during = nil
	if _, err := h.runner().Run(t.Context(), Request{Trigger: proof.TriggerCommand}); err != nil {
		t.Errorf("the lock is still held: %v", err)
	}
}

// TestCensus: a snapshot is compared with the newest one captured before it, not with what was drilled last.
func TestCensus(t *testing.T) {
	h := newHost(t, 1)
	a, b, c := h.put(30*time.Hour, 10, 0), h.put(20*time.Hour, 20, 0), h.put(10*time.Hour, 30, 0)
	for id, n := range map[string]int64{a: 1, b: 2, c: 3} {
		h.census[id] = &proof.Kubernetes{Resources: map[string]int64{"secrets": n}, Encodings: map[string]int64{"protobuf": n}}
	}
	r := h.runner()
	for _, id := range []string{b, a, c} {
		if _, err := r.Run(t.Context(), Request{Trigger: proof.TriggerCommand, ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]*proof.Kubernetes{a: {nil}, b: {nil}, c: {h.census[b]}}
	if diff := cmp.Diff(want, h.before); diff != "" {
		t.Error(diff)
	}
}

func TestOutcome(t *testing.T) {
	for _, tc := range []struct {
		drills []proof.Outcome
		want   proof.Outcome
	}{
		{[]proof.Outcome{proof.Passed, proof.Passed}, proof.Passed},
		{[]proof.Outcome{proof.Inconclusive, proof.Passed}, proof.Inconclusive},
		{[]proof.Outcome{proof.Failed, proof.Inconclusive, proof.Passed}, proof.Failed},
		{[]proof.Outcome{proof.Passed, "unheard of"}, "unheard of"},
	} {
		rec := &proof.Record{}
		for _, o := range tc.drills {
			rec.Drills = append(rec.Drills, proof.Drill{Outcome: o})
		}
		if got := Outcome(rec); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.drills, got, tc.want)
		}
	}
}
