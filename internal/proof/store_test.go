package proof

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

func TestPut(t *testing.T) {
	to := newTarget(t)
	signed, err := Sign(to.record(0, drilled(-time.Hour, LevelDrill, Passed)), to.signer)
	if err != nil {
		t.Fatal(err)
	}
	// Killed between the two: the signature is there, which is litter, and no record.
	to.faulty.FailCall(storagetest.OpCreate, 2, nil)
	if err := Put(t.Context(), to.repo, signed); !errors.Is(err, storagetest.ErrInjected) {
		t.Fatal(err)
	}
	signature := testCluster + "/drills/20261122T033000Z-node1.json.sig"
	if diff := cmp.Diff([]string{signature}, to.keys()); diff != "" {
		t.Fatal(diff)
	}
	if h := to.read(ReadOptions{}); len(h.Records()) != 0 {
		t.Errorf("a signature alone is a record: %+v", h.Records()[0])
	}
	for range 2 { // again, and again
		if err := Put(t.Context(), to.repo, signed); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{testCluster + "/drills/20261122T033000Z-node1.json", signature}, to.keys()); diff != "" {
		t.Error(diff)
	}
	records := to.read(ReadOptions{}).Records()
	if len(records) != 1 || records[0].State != repo.StateOK || records[0].Digest != signed.Digest() || records[0].Signer.Principal != "node-1" || records[0].Key != to.keys()[0] {
		t.Fatalf("%+v", records)
	}
	if diff := cmp.Diff(signed.Record, records[0].Record); diff != "" {
		t.Error(diff)
	}

	other := *signed.Record
	other.Trigger = TriggerCommand
	signed, err = Sign(&other, to.signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := Put(t.Context(), to.repo, signed); !errors.Is(err, repo.ErrConflict) {
		t.Errorf("another record under the same ID: %v", err)
	}
	other.Cluster = "stage"
	if signed, err = Sign(&other, to.signer); err != nil {
		t.Fatal(err)
	}
	wantError(t, Put(t.Context(), to.repo, signed), "it is of cluster stage")
}

// TestStore: two processes of a host that write in the same second do not lose a record.
func TestStore(t *testing.T) {
	to := newTarget(t)
	for i := range 40 { // as many as a few runs of drills of a small cluster make
		d := drilled(-time.Hour, LevelDrill, Failed)
		d.Cause = fmt.Sprint("cause ", i)
		stored, left, err := Store(t.Context(), to.repo, to.record(0, d), to.signer)
		if err != nil || len(left) != 0 || len(stored) != 1 {
			t.Fatal(stored, left, err)
		}
		if want := NewID(testTime.Add(time.Duration(i)*time.Second), "node1"); stored[0].Record.ID != want {
			t.Errorf("ID %s, want %s", stored[0].Record.ID, want)
		}
	}
	if h := to.read(ReadOptions{}); len(h.Records()) != 40 || h.Of(snapshotID(-time.Hour).String(), digestA).Cause != "cause 39" {
		t.Errorf("%+v", h.Records())
	}

	big := whole()
	big.Drills[0].Kubernetes.Resources = map[string]int64{}
	for i := range maxCounted {
		big.Drills[0].Kubernetes.Resources[fmt.Sprintf("resource-with-a-long-name-%060d", i)] = 1
	}
	for range 3 {
		big.Drills = append(big.Drills, big.Drills[0])
	}
	stored, left, err := Store(t.Context(), to.repo, big, to.signer)
	if err != nil || len(left) != 0 || len(stored) != 3 || stored[0].Record.ID == stored[1].Record.ID {
		t.Errorf("%d stored, %d left: %v", len(stored), len(left), err)
	}

	to.faulty.SetDown(storage.ErrDenied)
	stored, left, err = Store(t.Context(), to.repo, big, to.signer)
	if !errors.Is(err, storage.ErrDenied) || len(stored) != 0 || len(left) != 3 {
		t.Errorf("%d stored, %d left: %v", len(stored), len(left), err)
	}
	big.Trigger = "nobody"
	if stored, left, err = Store(t.Context(), to.repo, big, to.signer); err == nil || len(stored)+len(left) != 0 {
		t.Errorf("what is not valid: %d stored, %d left: %v", len(stored), len(left), err)
	}
}
