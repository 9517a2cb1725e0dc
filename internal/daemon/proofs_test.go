package daemon

import (
	"testing"
	"time"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
)

// TestArchiveProofs: an archived point that failed is the result of its target until one of its kind passes, and is the failure of no
// snapshot; one that passed covers none.
func TestArchiveProofs(t *testing.T) {
	n := newNode(t, 1)
	m := n.put(n.keys.Signer, 3*time.Hour, 10, nil, 0)
	now := time.Now().UTC().Truncate(time.Second)
	next := now.Add(-2 * time.Hour)
	point := func(kind string, o proof.Outcome) {
		t.Helper()
		next = next.Add(10 * time.Minute) // a run of its own
		n.tried(0, next, m, proof.LevelArchive, o, &proof.Archived{Kind: kind, Timeline: m.Timeline, Revision: 20, Base: proof.Passed})
	}
	snapshot := func() {
		t.Helper()
		next = next.Add(10 * time.Minute)
		n.drilled(0, next, m, proof.LevelDrill, proof.Passed)
	}
	want := func(what string, result metrics.Result, proved bool, uncovered int) {
		t.Helper()
		c, err := n.targets[0].Repo.Catalogue(t.Context(), n.keys.Trust)
		if err != nil {
			t.Fatal(err)
		}
		h, err := proof.Read(t.Context(), n.targets[0].Repo, n.keys.Trust, proof.ReadOptions{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		got := summarize(h, c, DefaultCover, now)
		if got.Result != result || got.Failed != 0 || got.Uncovered != uncovered || (got.passed != nil) != proved || got.LastPassed.IsZero() == proved {
			t.Errorf("%s: %+v, want %s, %d uncovered, proved: %t", what, got, result, uncovered, proved)
		}
	}
	point(proof.PointNewest, proof.Passed)
	want("an archived point passed", metrics.ResultPassed, false, 1)
	point(proof.PointOlder, proof.Failed)
	want("another one failed", metrics.ResultFailed, false, 1)
	snapshot()
	want("a snapshot passed since", metrics.ResultFailed, true, 0)
	point(proof.PointNewest, proof.Passed)
	want("the other kind passed since", metrics.ResultFailed, true, 0)
	point(proof.PointOlder, proof.Inconclusive)
	want("nothing was found out since", metrics.ResultFailed, true, 0)
	point(proof.PointOlder, proof.Passed)
	want("its kind passed since", metrics.ResultPassed, true, 0)
}

// TestDrillable: where no drill has passed, it is known since when one was to be made, also when retention kept nothing for so long.
func TestDrillable(t *testing.T) {
	n := newNode(t, 1)
	now := time.Now().UTC().Truncate(time.Second)
	want := func(what string, since time.Time) {
		t.Helper()
		c, err := n.targets[0].Repo.Catalogue(t.Context(), n.keys.Trust)
		if err != nil {
			t.Fatal(err)
		}
		h, err := proof.Read(t.Context(), n.targets[0].Repo, n.keys.Trust, proof.ReadOptions{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		if got := summarize(h, c, DefaultCover, now).Since; !got.Equal(since) {
			t.Errorf("%s: %s, want %s", what, got, since)
		}
	}
	want("nothing is there", time.Time{})
	n.put(n.keys.Signer, 30*time.Hour, 10, nil, 0)
	m := n.put(n.keys.Signer, 3*time.Hour, 20, nil, 0)
	c, err := n.targets[0].Repo.Catalogue(t.Context(), n.keys.Trust)
	if err != nil {
		t.Fatal(err)
	}
	want("nothing was tried", c.Entries[0].Manifest.CaptureStart)
	n.drilled(0, now.Add(-50*time.Hour), m, proof.LevelDrill, proof.Inconclusive)
	want("one was tried before", now.Add(-50*time.Hour))
	n.drilled(0, now.Add(-time.Hour), m, proof.LevelDrill, proof.Passed)
	want("one has passed", time.Time{})
}
