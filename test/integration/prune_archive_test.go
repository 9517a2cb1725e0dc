package integration

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/merge"
	"github.com/drd-project/drd/internal/prune"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
)

// hours is how much later a prune of TestPrunedArchive happens than what it prunes was written: all hours are over then.
const hours = 3 * time.Hour

// TestPrunedArchive: the past of a real member is archived, merged and pruned, in a real store. What lies within the time to keep is
// restored as before, to the hash; what is older is gone, and the program says so.
func TestPrunedArchive(t *testing.T) {
	t.Parallel()
	a := newArchived(t, "3.7")
	for i := range 4 {
		for range 3 {
			write(t, a.client, fmt.Sprintf("part-%d/", i), a.value, 15)
			a.remember()
		}
		a.must("snapshot")
	}
	a.archives("last/", 5)
	a.terminate(a.daemon)

	r := a.target()
	later := time.Now().Add(hours)
	before := a.segments(r)
	kept := a.past[7:] // from the middle of the third part on
	policy := retention.Policy{Last: 1, MinCopies: 1, Period: 2 * hours, ArchiveWithin: later.Sub(kept[0].at), ArchiveSpread: time.Second}

	a.prune(r, policy, later)
	aged := a.segments(r)
	if len(aged) == 0 || len(aged) >= len(before) {
		t.Fatalf("%d segments are left of %d", len(aged), len(before))
	}
	a.merge(r, later.AddDate(0, 0, 7)) // nothing has come for so long that the last hour counts as over
	both := a.segments(r)
	a.prune(r, policy, later)
	merged := a.segments(r)
	if len(both) <= len(aged) || len(merged) >= len(aged) {
		t.Fatalf("%d segments, %d with the merged ones, %d without what these replace", len(aged), len(both), len(merged))
	}
	a.keeps(kept)
	if again := a.plan(r, policy, later).Deletions(); len(again) != 0 {
		t.Errorf("there are %d more to delete: %s", len(again), again[0].Name())
	}
	t.Logf("%d segments became %d by their age, and %d when they were merged", len(before), len(aged), len(merged))
}

// keeps restores every moment by its time and its revision, and finds that what was before them is gone.
func (a *archived) keeps(kept []moment) {
	a.t.Helper()
	for i, m := range kept {
		a.restores(m, fmt.Sprintf("revision-%d", i), "--revision", fmt.Sprint(m.Revision))
		a.restores(m, fmt.Sprintf("time-%d", i), "--at", m.at.Format(time.RFC3339))
	}
	a.restores(kept[len(kept)-1], "latest", "--latest")
	a.fails(4, "restore", "--yes", "--identity", a.identity(), "--output", a.path("gone"), "--at", a.past[1].at.Format(time.RFC3339)).wants(a.t, "hint: ")
	wantNothing(a.t, a.path("gone"))

	// The program sees the same archive, and takes nothing of what has just been written.
	a.more += "retention: {last: 50, min_copies: 1}\n"
	a.write(ofEtcd(a.e))
	r := a.must("prune", "--dry-run")
	r.shows(a.t, "SEGMENTS", "archive.keep_within", "nothing to delete")
}

func (a *archived) trusted() *seal.Trust {
	a.t.Helper()
	trust, err := seal.LoadTrust(a.trust())
	if err != nil {
		a.t.Fatal(err)
	}
	return trust
}

// segments are the names of those that can be used.
func (a *archived) segments(r *repo.Repository) []string {
	a.t.Helper()
	found, err := r.ListSegments(a.t.Context(), repo.SegmentQuery{}, a.trusted())
	if err != nil {
		a.t.Fatal(err)
	}
	var names []string
	for _, e := range found.Entries {
		if !e.Usable(false) {
			a.t.Errorf("segment %s is %s: %v", e.Name, e.State, e.Problem)
		}
		names = append(names, e.Name.String())
	}
	return names
}

func (a *archived) plan(r *repo.Repository, policy retention.Policy, now time.Time) *prune.Plan {
	a.t.Helper()
	plan, err := prune.Make(a.t.Context(), prune.Target{Name: "t1", Repo: r}, a.trusted(), policy, now)
	if err != nil {
		a.t.Fatal(err)
	}
	return plan
}

func (a *archived) prune(r *repo.Repository, policy retention.Policy, now time.Time) {
	a.t.Helper()
	results := a.plan(r, policy, now).Run(a.t.Context())
	if results.Err() != nil || len(results) == 0 || results.Count(prune.Deleted) != len(results) {
		a.t.Fatalf("%s: %v", results, results.Err())
	}
}

// merge merges what could be merged then, as a node that has the identity does it.
func (a *archived) merge(r *repo.Repository, now time.Time) {
	a.t.Helper()
	dir := filepath.Join(a.t.TempDir(), "merge")
	keys, err := seal.OpenKeyRing(filepath.Join(a.t.TempDir(), "keys"))
	if err != nil {
		a.t.Fatal(err)
	}
	recipients, err := seal.ParseRecipients(nil, filepath.Join(a.keys, "recipient.txt"))
	if err != nil {
		a.t.Fatal(err)
	}
	signer, err := seal.LoadSigner(filepath.Join(a.keys, "signing.key"))
	if err != nil {
		a.t.Fatal(err)
	}
	if err := merge.Sweep(dir); err != nil {
		a.t.Fatal(err)
	}
	identities := func() ([]age.Identity, error) { return seal.LoadIdentities([]string{a.identity()}, nil) }
	merger := merge.New(merge.Config{
		Dir: dir, Keys: keys, Identities: identities, Trust: a.trusted(), Signer: signer, Recipients: recipients, Build: repo.Build{Version: "test"},
		Now: func() time.Time { return now },
	}, r)
	if result, err := merger.Pass(a.t.Context()); err != nil {
		a.t.Fatalf("%+v: %v", result, err)
	}
}
