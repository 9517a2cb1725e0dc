package proof

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// TestBrokenRecords: whatever lies beside it, the genuine record is read, and nothing else proves anything.
func TestBrokenRecords(t *testing.T) {
	old := drilled(-time.Hour, LevelDrill, Passed)
	claim := drilled(-2*time.Hour, LevelDrill, Passed) // what only broken records say
	for name, c := range map[string]struct {
		plant func(t *target, rec *Record)
		state repo.State
		says  string
	}{
		"unsigned": {func(to *target, rec *Record) {
			signed := mustSign(to, rec)
			to.plant(to.repo.DrillKey(rec.ID), signed.Bytes)
		}, repo.StateUnsigned, "not signed"},
		"empty signature": {func(to *target, rec *Record) {
			to.plant(to.repo.DrillSignatureKey(rec.ID), nil)
			to.plant(to.repo.DrillKey(rec.ID), mustSign(to, rec).Bytes)
		}, repo.StateUnsigned, "not signed"},
		"another's signature": {func(to *target, rec *Record) {
			signed := mustSign(to, rec)
			rec.Trigger = TriggerCommand
			signed.Signature = mustSign(to, rec).Signature
			to.plantRecord(rec.ID, signed)
		}, repo.StateBadSignature, "did not sign this content"},
		"unknown signer": {func(to *target, rec *Record) {
			to.signer = sealtest.New(to.tb).Signer
			to.plantRecord(rec.ID, mustSign(to, rec))
		}, repo.StateUnknownSigner, "not trusted"},
		"changed": {func(to *target, rec *Record) {
			signed := mustSign(to, rec)
			signed.Bytes = bytes.Replace(signed.Bytes, []byte("node1"), []byte("node2"), 1)
			to.plantRecord(rec.ID, signed)
		}, repo.StateBadSignature, "did not sign"},
		"a signed manifest": {func(to *target, rec *Record) {
			content, err := os.ReadFile("../repo/testdata/manifest.json")
			if err != nil {
				to.tb.Fatal(err)
			}
			to.plantRecord(rec.ID, to.signed(content))
		}, StateBadRecord, "kind"},
		"later format": {func(to *target, rec *Record) {
			to.plantRecord(rec.ID, to.signed([]byte(`{"kind":"drd-drill-record","format":2,"drills":7}`)))
		}, repo.StateNewerFormat, "newer than this drd"},
		"under another ID": {func(to *target, rec *Record) {
			to.plantRecord(NewID(testTime.Add(3*time.Minute), "node1"), mustSign(to, rec))
		}, StateBadRecord, "it is record 20261122T033200Z-node1"},
		"of another cluster": {func(to *target, rec *Record) {
			rec.Cluster = "stage"
			to.plantRecord(rec.ID, mustSign(to, rec))
		}, StateBadRecord, "it is of cluster stage"},
		"of another target": {func(to *target, rec *Record) {
			rec.Target = Target{Name: "nas", Location: "file:///mnt/nas"}
			to.plantRecord(rec.ID, mustSign(to, rec))
		}, StateOtherTarget, "it is about target nas, file:///mnt/nas"},
		"too large": {func(to *target, rec *Record) {
			to.plantRecord(rec.ID, to.signed(bytes.Repeat([]byte(" "), repo.MaxDrillRecord+1)))
		}, StateBadRecord, "too large"},
		"not handed out": {func(to *target, rec *Record) {
			to.plantRecord(rec.ID, mustSign(to, rec))
			to.faulty.CutReads(rec.ID, 5, false)
		}, repo.StateUnreadable, "EOF"},
		"a terminal's words": {func(to *target, rec *Record) {
			to.plantRecord(rec.ID, to.signed([]byte(`{"kind":"drd-drill-record","format":1,"id":"\u001b[2J`+strings.Repeat("x", 1000)+`"}`)))
		}, StateBadRecord, "is not the ID"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newTarget(t)
			to.put(0, old)
			trust := to.trust
			c.plant(to, to.record(2*time.Minute, claim))
			to.trust = trust
			h := to.read(ReadOptions{Target: Target{Name: "primary"}})
			records := h.Records()
			if len(records) != 2 || records[0].State != repo.StateOK || records[0].Problem != nil {
				t.Fatalf("the genuine record is hidden: %+v", records)
			}
			bad := records[1]
			if bad.State != c.state {
				t.Errorf("state %s, want %s", bad.State, c.state)
			}
			wantError(t, bad.Problem, c.says)
			if text := bad.Problem.Error(); text != repo.Printable(text) || len(text) > 300 {
				t.Errorf("the problem is not fit to be shown: %q", text)
			}
			if s := h.Of(claim.Snapshot, digestA); s.State != StateUnproven {
				t.Errorf("it proves: %+v", s)
			}
			if s := h.Of(old.Snapshot, digestA); s.State != StateProved {
				t.Errorf("the genuine record does not prove: %+v", s)
			}
			if (h.Unreadable() != nil) != (c.state == repo.StateUnreadable) {
				t.Errorf("unreadable: %v", h.Unreadable())
			}
		})
	}
}

func mustSign(t *target, rec *Record) *Signed {
	t.tb.Helper()
	signed, err := Sign(rec, t.signer)
	if err != nil {
		t.tb.Fatal(err)
	}
	return signed
}

// signed signs any content.
func (t *target) signed(content []byte) *Signed {
	t.tb.Helper()
	signature, err := t.signer.Sign(content)
	if err != nil {
		t.tb.Fatal(err)
	}
	return &Signed{Bytes: content, Signature: signature}
}

func (t *target) plantRecord(id string, s *Signed) {
	t.tb.Helper()
	t.plant(t.repo.DrillSignatureKey(id), s.Signature)
	t.plant(t.repo.DrillKey(id), s.Bytes)
}

// TestReadWhichTarget: a record counts by location, or by the name that the configuration gives the target.
func TestReadWhichTarget(t *testing.T) {
	to := newTarget(t)
	rec := to.record(0, drilled(-time.Hour, LevelDrill, Passed))
	rec.Target.Location = "file:///where/another/host/has/it"
	to.store(rec)
	for want, opt := range map[string]ReadOptions{
		StateUnproven + " by location":   {},
		StateUnproven + " by other name": {Target: Target{Name: "nas"}},
		StateProved + " by name":         {Target: Target{Name: "primary"}},
		StateProved + " by its location": {Target: Target{Location: "file:///where/another/host/has/it"}},
	} {
		state, _, _ := strings.Cut(want, " ")
		if s := to.read(opt).Of(rec.Drills[0].Snapshot, digestA); s.State != state {
			t.Errorf("want %s, got %s", want, s.State)
		}
	}
}

func TestReadWithoutTrust(t *testing.T) {
	to := newTarget(t)
	to.put(0, drilled(-time.Hour, LevelDrill, Passed))
	h, err := Read(t.Context(), to.repo, nil, ReadOptions{Now: testTime.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if r := h.Records(); len(r) != 1 || r[0].State != repo.StateUnverified || r[0].Record == nil {
		t.Errorf("%+v", r)
	}
	if _, ok := h.LastPassed(); ok || len(h.Proved()) != 0 {
		t.Error("nobody vouches for it, and it proves")
	}
}

// TestExpiredKey: whoever has a key that is not valid any more can date a record into its time, and then it proves nothing
// later than that.
func TestExpiredKey(t *testing.T) {
	to := newTarget(t)
	rec := to.record(0, drilled(-time.Hour, LevelDrill, Passed))
	rec.Ended = testTime.Add(6 * 24 * time.Hour) // today, under an ID of when the key was valid
	rec.Drills[0].Started = rec.Ended.Add(-time.Minute)
	b, err := render(rec)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := to.signer.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	to.plant(testCluster+"/drills/"+rec.ID+".json", b)
	to.plant(testCluster+"/drills/"+rec.ID+".json.sig", signature)
	h := to.read(ReadOptions{})
	if at, ok := h.LastPassed(); ok || h.Records()[0].State != StateBadRecord {
		t.Errorf("it proves something at %s: %+v", at, h.Records()[0])
	}
}

func TestReadBounds(t *testing.T) {
	to := newTarget(t)
	for i := range 10 {
		to.put(time.Duration(i)*time.Hour, drilled(time.Duration(i-100)*time.Hour, LevelDrill, Passed))
	}
	to.plant(testCluster+"/drills/notes.txt", []byte("x"))
	to.plant(testCluster+"/drills/20261399T033000Z-node1.json", []byte("x"))
	now := testTime.Add(5*time.Hour + time.Minute)
	for name, c := range map[string]struct {
		opt       ReadOptions
		first     time.Duration
		n         int
		truncated bool
	}{
		"all":             {ReadOptions{}, 0, 10, false},
		"newest":          {ReadOptions{Limit: 3}, 7 * time.Hour, 3, true},
		"one":             {ReadOptions{Limit: 1}, 9 * time.Hour, 1, true},
		"just all":        {ReadOptions{Limit: 10}, 0, 10, false},
		"since":           {ReadOptions{Since: testTime.Add(4 * time.Hour)}, 4 * time.Hour, 6, false},
		"since, newest":   {ReadOptions{Since: testTime.Add(4 * time.Hour), Limit: 6}, 4 * time.Hour, 6, false},
		"not the future":  {ReadOptions{Now: now}, 0, 6, false},
		"newest till now": {ReadOptions{Now: now, Limit: 2}, 4 * time.Hour, 2, true},
	} {
		h := to.read(c.opt)
		r := h.Records()
		if len(r) != c.n || h.Truncated() != c.truncated || r[0].Time() != testTime.Add(c.first) {
			t.Errorf("%s: %d records from %s, truncated %v", name, len(r), r[0].ID, h.Truncated())
		}
	}
}

func TestReadFails(t *testing.T) {
	to := newTarget(t)
	to.put(0, drilled(-time.Hour, LevelDrill, Passed))
	to.faulty.FailCall(storagetest.OpList, 1, storage.ErrDenied)
	if _, err := Read(t.Context(), to.repo, to.trust, ReadOptions{}); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("a listing that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, to.repo, to.trust, ReadOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	empty := newTarget(t)
	if h := empty.read(ReadOptions{}); len(h.Records()) != 0 || h.Truncated() {
		t.Error("nothing there is not nothing")
	}
	if err := os.RemoveAll(filepath.Join(empty.root)); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), empty.repo, to.trust, ReadOptions{}); err == nil {
		t.Error("a directory that is gone has no records")
	}
}
