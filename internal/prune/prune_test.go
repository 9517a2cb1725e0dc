package prune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// TestPrune: the plan changes nothing, the run does exactly what the plan says, and a second one has nothing to do.
func TestPrune(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 8)
	stranger := sealtest.New(t).Signer
	forged := p.putBy(stranger, 30*time.Hour+time.Minute)
	fresh, old := p.litter(2*time.Hour), p.litter(49*time.Hour)
	p.plant(cluster+"/snapshots/notes.txt", "mine")
	p.plant("other/snapshots/"+ids[0].String()+"/snapshot.db.zst.age", "another cluster's")
	p.age(48 * time.Hour)
	before := p.keys()

	plan := p.plan(last(3))
	if diff := cmp.Diff(before, p.keys()); diff != "" {
		t.Fatalf("making a plan changed something:\n%s", diff)
	}
	var gone []string
	for _, item := range plan.Deletions() {
		for _, o := range item.Objects {
			gone = append(gone, o.Key)
		}
	}
	results := plan.Run(t.Context())
	if err := results.Err(); err != nil || results.Count(Deleted) != 6 || len(results) != 6 || results.String() != "6 deleted" {
		t.Fatalf("%v: %s of %d", err, results, len(results))
	}
	want := slices.DeleteFunc(slices.Clone(before), func(key string) bool { return slices.Contains(gone, key) })
	if diff := cmp.Diff(want, p.keys()); diff != "" {
		t.Errorf("what is left is not what was planned:\n%s", diff)
	}
	c, err := p.repo.Catalogue(t.Context(), p.trust)
	if err != nil {
		t.Fatal(err)
	}
	var left []repo.ID
	for _, e := range c.Entries {
		left = append(left, e.ID)
	}
	if wantLeft := []repo.ID{forged, ids[5], ids[6], fresh, ids[7]}; !sameIDs(left, wantLeft) {
		t.Errorf("left are %v, want %v", left, wantLeft)
	}
	if slices.ContainsFunc(left, func(id repo.ID) bool { return id.Compare(old) == 0 }) {
		t.Error("old litter is still there")
	}
	if again := p.plan(last(3)).Deletions(); len(again) != 0 {
		t.Errorf("a second prune deletes %d more", len(again))
	}
	if plan.ForeignCount != 1 || results.Freed() == 0 {
		t.Errorf("%d foreign, %d bytes freed", plan.ForeignCount, results.Freed())
	}
}

// TestOrder: oldest snapshot first, and of each the manifest, the signature, the payload.
func TestOrder(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 3)
	w := &watched{Bucket: p.repo.Bucket()}
	if err := p.planOver(p.over(w), last(1)).Run(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, id := range ids[:2] {
		want = append(want, p.repo.ManifestKey(id), p.repo.SignatureKey(id), p.repo.PayloadKey(id, "snapshot.db.zst.age"))
	}
	if diff := cmp.Diff(want, w.deleted); diff != "" {
		t.Error(diff)
	}
}

// TestFinishesAnothersWork: what another node deleted since is not asked for again, and what it left is.
func TestFinishesAnothersWork(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 2)
	w := &watched{Bucket: p.repo.Bucket()}
	plan := p.planOver(p.over(w), last(1))
	if err := p.repo.Bucket().Delete(t.Context(), p.repo.ManifestKey(ids[0])); err != nil {
		t.Fatal(err)
	}
	if results := plan.Run(t.Context()); results.Err() != nil || results.Count(Deleted) != 1 {
		t.Errorf("%s, %v", results, results.Err())
	}
	want := []string{p.repo.SignatureKey(ids[0]), p.repo.PayloadKey(ids[0], "snapshot.db.zst.age")}
	if diff := cmp.Diff(want, w.deleted); diff != "" {
		t.Error(diff)
	}
}

// TestFailsAtEachDeletion: wherever deleting stops, what lists as whole restores, and the next prunes finish the work.
func TestFailsAtEachDeletion(t *testing.T) {
	for n := 1; n <= 9; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := inDirectory(t)
			ids := p.every(6*time.Hour, 4)
			p.age(25 * time.Hour)
			f := storagetest.NewFaulty(p.repo.Bucket())
			plan := p.planOver(p.over(f), last(1))
			f.FailCall(storagetest.OpDelete, n, nil)
			results := plan.Run(t.Context())
			if results.Count(Failed) != 1 || results.Count(Deleted) != 2 || results.Err() == nil {
				t.Fatalf("%s, %v", results, results.Err())
			}
			if got := p.restorable(); got[len(got)-1].Compare(ids[3]) != 0 {
				t.Fatalf("left are %v", got)
			}
			p.now = p.now.Add(25 * time.Hour) // the rest of a young snapshot is litter a day later
			policy := last(1)
			policy.Period = 24 * time.Hour
			if err := p.plan(policy).Run(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			if got := p.keys(); len(got) != 3 || !sameIDs(p.restorable(), ids[3:]) {
				t.Errorf("left are %q", got)
			}
		})
	}
}

// TestRefused: what a store can say to a deletion, what is told of it, and whether it counts as a failure.
func TestRefused(t *testing.T) {
	locked := fmt.Errorf("delete: %w (ObjectLocked)", storage.ErrLocked)
	denied := hint.New(fmt.Errorf("delete: %w (403)", storage.ErrDenied), "the credentials need s3:DeleteObject")
	broken := errors.New("connection refused")
	for _, c := range []struct {
		name    string
		errs    map[string]error // by what the key contains
		want    []string
		failure string
		hint    string
	}{
		{"manifests locked", map[string]error{"manifest.json": locked}, []string{"locked", "locked", "locked", "locked", "locked"}, "", ""},
		{"payloads locked", map[string]error{"snapshot.db": locked}, []string{"locked", "locked", "locked", "locked", "locked"}, "", ""},
		{"denied", map[string]error{"": denied}, []string{"failed", "not-tried", "not-tried", "not-tried", "not-tried"}, "5 of 5 could not be deleted: delete: access denied (403)", "s3:DeleteObject"},
		{"down", map[string]error{"": broken}, []string{"failed", "failed", "failed", "not-tried", "not-tried"}, "5 of 5 could not be deleted: connection refused", ""},
		{"deleted by another", map[string]error{"": storage.ErrNotExist}, []string{"deleted", "deleted", "deleted", "deleted", "deleted"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := inDirectory(t)
			p.every(6*time.Hour, 6)
			w := &watched{Bucket: p.repo.Bucket(), before: func(key string) error {
				for part, err := range c.errs {
					if strings.Contains(key, part) {
						return err
					}
				}
				return nil
			}}
			results := p.planOver(p.over(w), last(1)).Run(t.Context())
			if diff := cmp.Diff(c.want, outcomes(results)); diff != "" {
				t.Error(diff)
			}
			err := results.Err()
			if c.failure == "" && err != nil || c.failure != "" && (err == nil || err.Error() != c.failure) {
				t.Errorf("error %v, want %q", err, c.failure)
			}
			if hints := strings.Join(hint.Of(err), "\n"); c.hint != "" && (!strings.Contains(hints, c.hint) || !strings.Contains(hints, "elsewhere")) {
				t.Errorf("hints %q", hints)
			}
			p.restorable()
		})
	}
}

// TestChanged: what is not as it was when the plan was made is left alone, and is no failure.
func TestChanged(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p *place, id, litter repo.ID)
		want   []string
	}{
		{"nothing", func(*place, repo.ID, repo.ID) {}, []string{"deleted", "deleted"}},
		{"another manifest", func(p *place, id, _ repo.ID) {
			path := filepath.Join(p.root, p.repo.ManifestKey(id))
			info, err := os.Stat(path)
			b, readErr := os.ReadFile(path)
			b[len(b)-1] = ' ' // the same size and time
			if err := errors.Join(err, readErr, os.WriteFile(path, b, 0o600), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
				p.tb.Fatal(err)
			}
		}, []string{"deleted", "changed"}},
		{"another payload", func(p *place, id, _ repo.ID) {
			if err := os.WriteFile(filepath.Join(p.root, p.repo.PayloadKey(id, "snapshot.db.zst.age")), []byte("x"), 0o600); err != nil {
				p.tb.Fatal(err)
			}
		}, []string{"deleted", "changed"}},
		{"a foreign object", func(p *place, id, _ repo.ID) { p.plant(p.repo.Prefix()+id.String()+"/keep-me", "x") }, []string{"deleted", "changed"}},
		{"the upload goes on", func(p *place, _, litter repo.ID) { p.plant(p.repo.SignatureKey(litter), "x") }, []string{"changed", "deleted"}},
		{"the upload is done", func(p *place, _, litter repo.ID) { p.plant(p.repo.ManifestKey(litter), "x") }, []string{"changed", "deleted"}},
		{"all gone", func(p *place, _, _ repo.ID) {
			for _, key := range p.keys() {
				if err := p.repo.Bucket().Delete(p.tb.Context(), key); err != nil {
					p.tb.Fatal(err)
				}
			}
		}, []string{"gone", "gone"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := inDirectory(t)
			litter := p.litter(40 * time.Hour)
			ids := p.every(24*time.Hour, 2)
			p.age(25 * time.Hour)
			policy := last(1)
			plan := p.plan(policy)
			c.change(p, ids[0], litter)
			before := len(p.keys())
			results := plan.Run(t.Context())
			if diff := cmp.Diff(c.want, outcomes(results)); diff != "" || results.Err() != nil {
				t.Errorf("%v\n%s", results.Err(), diff)
			}
			deleted := 0
			for _, r := range results {
				if r.Outcome == Deleted {
					deleted += len(r.Item.Objects)
				}
				if r.Outcome == Changed && (r.Err == nil || !strings.Contains(r.Err.Error(), "the next prune decides anew")) {
					t.Errorf("says %v", r.Err)
				}
			}
			if got := len(p.keys()); got != before-deleted {
				t.Errorf("%d objects were there, %d are, %d were deleted", before, got, deleted)
			}
		})
	}
}

// TestNotItsOwn: an object of somebody else in a snapshot's directory keeps it, in the plan already.
func TestNotItsOwn(t *testing.T) {
	for _, name := range []string{"keep-me", "snapshot.db.gz", "deeper/file"} {
		p := inDirectory(t)
		ids := p.every(6*time.Hour, 3)
		p.plant(p.repo.Prefix()+ids[0].String()+"/"+name, "x")
		plan := p.plan(last(1))
		if item := plan.Items[0]; item.Fate != retention.Keep || !strings.Contains(item.Reasons[0], "not its own") || !strings.Contains(item.Reasons[0], name) {
			t.Errorf("%s: %s %q", name, item.Fate, item.Reasons)
		}
		if got := plan.Deletions(); len(got) != 1 || got[0].ID.Compare(ids[1]) != 0 {
			t.Errorf("%s: %d others go", name, len(got))
		}
	}
}

// TestNodesAtOnce: several nodes prune the same target with the same plan, and none of them fails.
func TestNodesAtOnce(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 30)
	var wg sync.WaitGroup
	results := make([]Results, 4)
	plans := make([]*Plan, len(results))
	for i := range plans {
		plans[i] = p.plan(last(2))
	}
	for i := range results {
		wg.Go(func() { results[i] = plans[i].Run(context.Background()) })
	}
	wg.Wait()
	for i, rs := range results {
		if err := rs.Err(); err != nil || len(rs) != 28 {
			t.Errorf("node %d: %v, %s", i, err, rs)
		}
	}
	if got := p.restorable(); !sameIDs(got, ids[28:]) || len(p.keys()) != 6 {
		t.Errorf("left are %v, %d objects", got, len(p.keys()))
	}
}

// TestInterrupt: the snapshot under way is finished, the others are not begun.
func TestInterrupt(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 5)
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{Bucket: p.repo.Bucket(), before: func(key string) error {
		if key == p.repo.ManifestKey(ids[1]) {
			cancel()
		}
		return nil
	}}
	results := p.planOver(p.over(w), last(1)).Run(ctx)
	if diff := cmp.Diff([]string{"deleted", "deleted", "not-tried", "not-tried"}, outcomes(results)); diff != "" {
		t.Error(diff)
	}
	if err := results.Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got := p.restorable(); !sameIDs(got, ids[2:]) || len(p.keys()) != 9 {
		t.Errorf("left are %v, %d objects", got, len(p.keys()))
	}
}

// TestUploads: unfinished writes under drd's names go after a day; others, and young ones, stay.
func TestUploads(t *testing.T) {
	p := inDirectory(t)
	ids := p.every(6*time.Hour, 2)
	old := repo.ID{Time: p.now.Add(-72 * time.Hour), Revision: 5, Member: 0xb1}
	young := repo.ID{Time: p.now.Add(-time.Hour), Revision: 6, Member: 0xb1}
	temp := func(letter string) string { return storage.TempPrefix + strings.Repeat(letter, 26) + "-" } // as package dir names them
	name := temp("A")
	write := func(dir, base string) string {
		path := filepath.Join(p.root, filepath.FromSlash(p.repo.Prefix()+dir), base)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("part"), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	litter := write(old.String(), name+"snapshot.db.zst.age")
	stay := []string{
		write(young.String(), name+"snapshot.db.zst.age"),
		write(old.String(), name+"diary.txt"),
		write("somebody", name+"manifest.json"),
	}
	p.age(25 * time.Hour)
	stay = append(stay, write(old.String(), temp("B")+"snapshot.db.zst.age")) // begun just now

	late := last(2)
	late.Period = time.Minute
	if got := p.plan(late).Deletions(); len(got) != 0 {
		t.Fatalf("%d go while the producer is late", len(got))
	}
	plan := p.plan(last(2))
	told := make(map[string]int)
	for _, item := range plan.Items {
		if item.Kind == KindUpload {
			told[string(item.Fate)+": "+item.Reasons[0][:6]]++
		}
	}
	if diff := cmp.Diff(map[string]int{"delete: litter": 1, "keep: upload": 2, "keep: not dr": 2}, told); diff != "" {
		t.Fatal(diff)
	}
	if results := plan.Run(t.Context()); results.Err() != nil || results.Count(Deleted) != 1 {
		t.Errorf("%s, %v", results, results.Err())
	}
	if _, err := os.Stat(litter); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	for _, path := range stay {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if got := p.restorable(); !sameIDs(got, ids) {
		t.Errorf("left are %v", got)
	}
	if again := p.plan(last(2)).Deletions(); len(again) != 0 {
		t.Errorf("%d more", len(again))
	}
}

// silent is a bucket that does not tell of its unfinished uploads.
type silent struct{ storage.Bucket }

func (silent) Incomplete(context.Context, string) ([]storage.Upload, error) {
	return nil, fmt.Errorf("list unfinished uploads: %w", storage.ErrDenied)
}
func (silent) Abort(context.Context, storage.Upload) error { return errors.New("not asked") }

// TestUploadsNotKnown: a permission that is missing for a sideline is a note.
func TestUploadsNotKnown(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 3)
	plan := p.planOver(p.over(silent{p.repo.Bucket()}), last(1))
	if len(plan.Notes) != 1 || !strings.Contains(plan.Notes[0], "access denied") || len(plan.Deletions()) != 2 {
		t.Errorf("notes %q, %d deletions", plan.Notes, len(plan.Deletions()))
	}
}

// TestTargetDown: what cannot be read is not pruned.
func TestTargetDown(t *testing.T) {
	p := inDirectory(t)
	f := storagetest.NewFaulty(p.repo.Bucket())
	f.SetDown(errors.New("connection refused"))
	_, err := Make(t.Context(), Target{Name: "primary", Repo: p.over(f)}, p.trust, last(1), p.now)
	if err == nil || !strings.HasPrefix(err.Error(), "prune primary: ") {
		t.Errorf("error %v", err)
	}
}

// TestNobodyTrusted: without anyone to trust there is nothing that may go.
func TestNobodyTrusted(t *testing.T) {
	p := inDirectory(t)
	p.every(6*time.Hour, 5)
	p.litter(50 * time.Hour)
	p.age(48 * time.Hour)
	p.trust = nil
	if got := p.plan(last(1)).Deletions(); len(got) != 0 {
		t.Errorf("%d would go", len(got))
	}
	p.trust = sealtest.New(t).Trust
	if got := p.plan(last(1)).Deletions(); len(got) != 0 {
		t.Errorf("%d would go", len(got))
	}
}
