package mvcc_test

import (
	"errors"
	"path/filepath"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/test/histories"
)

// TestExactRevisions is the claim that drd is about: a store at a chosen revision, made offline, is the one that etcd had. Random
// histories run on a real etcd while its hashes are recorded. From a snapshot taken on the way and the events of a watch every later one
// is rebuilt, and from the last snapshot every earlier one is cut; each must have the hash that the live member gave.
func TestExactRevisions(t *testing.T) {
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			h := histories.New(t, version, 11)
			h.Write(150)
			base := h.Snapshot()
			h.Write(450)
			last := h.Snapshot()
			events := h.UpTo(last.Revision)

			comparePaths(t, events, last)
			replayed := replayAll(t, base, events, h.Recorded)
			cut := cutAll(t, last, base, events, h.Recorded)
			t.Logf("%d revisions replayed, %d cut, %d events", replayed, cut, len(events))
			if replayed < 60 || cut < 5 {
				t.Errorf("only %d revisions replayed and %d cut: that proves little", replayed, cut)
			}
		})
	}
}

func hashOf(t *testing.T, db *bolt.DB, revision, compact int64) uint32 {
	t.Helper()
	var hash snapshot.Hash
	err := db.View(func(tx *bolt.Tx) (err error) {
		hash, err = snapshot.HashKV(t.Context(), tx, revision, compact)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hash.Value
}

// comparePaths: the watch and the store tell the same history, byte for byte.
func comparePaths(t *testing.T, events []mvcc.Entry, last histories.Store) {
	t.Helper()
	var stored []mvcc.Entry
	err := last.Scratch(t).View(func(tx *bolt.Tx) error {
		return mvcc.Extract(t.Context(), tx, last.CompactRevision, last.Revision, func(e mvcc.Entry) error {
			stored = append(stored, mvcc.Entry{Position: e.Position, Value: append([]byte(nil), e.Value...)})
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(stored, between(events, last.CompactRevision, last.Revision)); diff != "" || len(stored) == 0 {
		t.Fatalf("%d entries; stored and watched differ (-stored +watched):\n%s", len(stored), diff)
	}
}

// between are the entries after one revision and up to another.
func between(events []mvcc.Entry, after, upTo int64) []mvcc.Entry {
	var out []mvcc.Entry
	for _, e := range events {
		if e.Main > after && e.Main <= upTo {
			out = append(out, e)
		}
	}
	return out
}

func replayAll(t *testing.T, base histories.Store, events []mvcc.Entry, recorded []repo.Checkpoint) (compared int) {
	t.Helper()
	for _, p := range recorded {
		if p.Revision < base.Revision || p.CompactRevision < base.CompactRevision {
			continue
		}
		db := base.Scratch(t)
		replay(t, db, base.Revision, between(events, base.Revision, p.Revision))
		if got := hashOf(t, db, p.Revision, p.CompactRevision); got != p.Hash {
			t.Errorf("replayed to revision %d, compacted at %d: hash %d, the live member had %d", p.Revision, p.CompactRevision, got, p.Hash)
		}
		compared++
	}
	return compared
}

func replay(t *testing.T, db *bolt.DB, revision int64, events []mvcc.Entry) {
	t.Helper()
	a := mvcc.NewAppender(db, revision)
	for _, e := range events {
		if err := a.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

// cutAll compares with the live hash where the last snapshot was compacted as far as the member was then, and with
// the replayed store where it was compacted since.
func cutAll(t *testing.T, last, base histories.Store, events []mvcc.Entry, recorded []repo.Checkpoint) (compared int) {
	t.Helper()
	for _, p := range recorded {
		if p.Revision < last.CompactRevision || p.Revision < base.Revision {
			continue
		}
		want := p.Hash
		if p.CompactRevision != last.CompactRevision {
			db := base.Scratch(t)
			replay(t, db, base.Revision, between(events, base.Revision, p.Revision))
			want = hashOf(t, db, p.Revision, last.CompactRevision)
		}
		db := last.Scratch(t)
		if _, err := mvcc.Cut(t.Context(), db, p.Revision); err != nil {
			t.Fatal(err)
		}
		if got := hashOf(t, db, p.Revision, last.CompactRevision); got != want {
			t.Errorf("cut to revision %d: hash %d instead of %d", p.Revision, got, want)
		}
		compared++
	}
	return compared
}

func TestAppendRefusesGaps(t *testing.T) {
	at := func(main, sub int64) mvcc.Entry {
		return mvcc.Entry{Position: mvcc.Position{Main: main, Sub: sub}, Value: []byte{10, 1, 'k'}}
	}
	tests := map[string][]mvcc.Entry{
		"a revision that is there":         {at(5, 0)},
		"more of a revision that is there": {at(5, 1)},
		"a revision left out":              {at(7, 0)},
		"a change left out":                {at(6, 0), at(6, 2)},
		"the first change left out":        {at(6, 1)},
		"the same change twice":            {at(6, 0), at(6, 0)},
		"going back":                       {at(6, 0), at(7, 0), at(6, 1)},
	}
	for name, entries := range tests {
		t.Run(name, func(t *testing.T) {
			db := emptyStore(t)
			a := mvcc.NewAppender(db, 5)
			var err error
			for _, e := range entries {
				err = a.Append(e)
			}
			if !errors.Is(err, mvcc.ErrGap) {
				t.Errorf("Append: %v", err)
			}
			if err := a.Close(); !errors.Is(err, mvcc.ErrGap) {
				t.Errorf("Close: %v", err)
			}
			if n := count(t, db); n != 0 {
				t.Errorf("%d entries were written all the same", n)
			}
		})
	}
}

func emptyStore(t *testing.T) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket(mvcc.Bucket); return err }); err != nil {
		t.Fatal(err)
	}
	return db
}

func count(t *testing.T, db *bolt.DB) (n int) {
	t.Helper()
	err := db.View(func(tx *bolt.Tx) error {
		n = tx.Bucket(mvcc.Bucket).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
