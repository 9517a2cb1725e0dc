package proof

import (
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

const testCluster = "prod-east"

var (
	testTime = time.Date(2026, 11, 22, 3, 30, 0, 0, time.UTC)
	digestA  = strings.Repeat("a1", 32)
	digestB  = strings.Repeat("b2", 32)
)

// target is a directory with a repository and somebody who signs.
type target struct {
	tb      testing.TB
	root    string
	faulty  *storagetest.Faulty
	repo    *repo.Repository
	signer  *seal.Signer
	trust   *seal.Trust
	signers string // the file that trust is of
}

func newTarget(tb testing.TB) *target {
	tb.Helper()
	keys := sealtest.New(tb)
	t := &target{tb: tb, root: tb.TempDir(), signer: keys.Signer, trust: keys.Trust, signers: keys.TrustFile}
	b, err := dir.Open(t.root, dir.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	t.faulty = storagetest.NewFaulty(b)
	if t.repo, err = repo.Open(t.faulty, testCluster); err != nil {
		tb.Fatal(err)
	}
	return t
}

// record is of a run that began so long after testTime and took a minute for each drill.
func (t *target) record(after time.Duration, drills ...Drill) *Record {
	at := testTime.Add(after)
	for i := range drills {
		drills[i].Started = at.Add(time.Duration(i) * time.Minute)
		drills[i].Seconds = 50
	}
	return &Record{
		Kind: RecordKind, Format: RecordFormat, ID: NewID(at, "node1"), Cluster: testCluster, Host: "node1", Trigger: TriggerSchedule,
		Target:  Target{Name: "primary", Location: t.repo.Bucket().Location()},
		Started: at, Ended: at.Add(time.Duration(len(drills)) * time.Minute), Drills: drills, Drd: repo.Build{Version: "0.4.0"},
	}
}

// put stores a record of drills.
func (t *target) put(after time.Duration, drills ...Drill) *Signed {
	t.tb.Helper()
	return t.store(t.record(after, drills...))
}

func (t *target) store(rec *Record) *Signed {
	t.tb.Helper()
	signed, err := Sign(rec, t.signer)
	if err != nil {
		t.tb.Fatal(err)
	}
	if err := Put(t.tb.Context(), t.repo, signed); err != nil {
		t.tb.Fatal(err)
	}
	return signed
}

func (t *target) read(opt ReadOptions) *History {
	t.tb.Helper()
	if opt.Now.IsZero() {
		opt.Now = testTime.Add(1000 * time.Hour)
	}
	h, err := Read(t.tb.Context(), t.repo, t.trust, opt)
	if err != nil {
		t.tb.Fatal(err)
	}
	return h
}

// plant writes an object as somebody would who has the credentials.
func (t *target) plant(key string, content []byte) {
	t.tb.Helper()
	b, err := dir.Open(t.root, dir.Options{})
	if err != nil {
		t.tb.Fatal(err)
	}
	if _, err := b.Create(t.tb.Context(), key, strings.NewReader(string(content))); err != nil {
		t.tb.Fatal(err)
	}
}

func (t *target) keys() []string {
	t.tb.Helper()
	var keys []string
	for o, err := range t.repo.Bucket().List(t.tb.Context(), "") {
		if err != nil {
			t.tb.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// snapshotID names a snapshot that was captured so long after testTime.
func snapshotID(after time.Duration) repo.ID {
	return repo.ID{Time: testTime.Add(after), Revision: 7, Member: 0xa1}
}

// drilled is a drill of that snapshot.
func drilled(after time.Duration, level Level, outcome Outcome) Drill {
	id := snapshotID(after)
	d := Drill{
		Snapshot: id.String(), ManifestSHA256: digestA, CapturedAt: id.Time, Revision: id.Revision, Level: level, Outcome: outcome,
		Checks: []Check{{Name: "signature", Outcome: outcome}},
	}
	if outcome != Passed {
		d.Cause = "signature: " + string(outcome)
	}
	return d
}

// entry is a snapshot in a catalogue as drilled means it.
func entry(id repo.ID, state repo.State) repo.Entry {
	e := repo.Entry{ID: id, State: state, Digest: digestA}
	if state == repo.StateOK {
		e.Manifest = &repo.Manifest{
			ID: id.String(), CaptureStart: id.Time, Timeline: "00000000000000a1", Revision: id.Revision,
			Object: repo.Object{Name: "snapshot.db.zst.age", Size: 6},
		}
		e.Payload = storage.Object{Key: "x", Size: 6}
	}
	return e
}

// wantError fails unless err mentions every part.
func wantError(tb testing.TB, err error, parts ...string) {
	tb.Helper()
	if err == nil {
		tb.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			tb.Errorf("error %q does not mention %q", err, part)
		}
	}
}
