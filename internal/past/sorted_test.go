package past

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"pgregory.net/rapid"

	"github.com/drd-project/drd/internal/mvcc"
)

// TestLots: however few keys are sorted at a time, all come, each once, in order, and with what is true of them.
func TestLots(t *testing.T) {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		tx, err := db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
		}()
		b, err := tx.CreateBucket(mvcc.Bucket)
		if err != nil {
			t.Fatal(err)
		}
		created, want := make(map[string]int64), make(map[string]*fate)
		last := int64(rapid.IntRange(1, 60).Draw(t, "revisions"))
		from := int64(rapid.IntRange(0, int(last)).Draw(t, "from"))
		for r := int64(1); r <= last; r++ {
			key := fmt.Sprintf("%0*d", rapid.IntRange(1, 4).Draw(t, "width"), rapid.IntRange(0, 9).Draw(t, "key"))
			existed := created[key] > 0
			ev := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: r}}
			if existed && rapid.Bool().Draw(t, "deleted") {
				ev.Type, created[key] = mvccpb.Event_DELETE, 0
			} else {
				if !existed {
					created[key] = r
				}
				ev.Kv.CreateRevision, ev.Kv.Version = created[key], 1
			}
			e := mvcc.FromEvent(ev, 0)
			if err := b.Put(e.AppendKey(nil), e.Value); err != nil {
				t.Fatal(err)
			}
			if r <= from {
				continue
			}
			if want[key] == nil {
				want[key] = &fate{existed: existed}
			}
			want[key].last = e.Position
			want[key].changes++
		}
		s, err := openStore(t.Context(), tx, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, order := make(map[string]*fate), []string{}
		most := rapid.IntRange(1, 8).Draw(t, "keys")
		err = s.eachLot(query{From: from, To: last}, most, rapid.IntRange(1, 30).Draw(t, "bytes"), func(l *lot) error {
			if len(l.keys) > most {
				return errors.New("a lot is too large")
			}
			order = append(order, l.sorted()...)
			for key, f := range l.keys {
				got[key] = f
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(fate{})); diff != "" {
			t.Fatal(diff)
		}
		if !slices.IsSorted(order) || len(order) != len(want) {
			t.Fatalf("%d keys, want %d, in this order: %q", len(order), len(want), order)
		}
	})
}
