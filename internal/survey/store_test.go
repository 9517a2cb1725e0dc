package survey

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// change is one entry of a key bucket; a nil value deletes.
type change struct {
	key   string
	value []byte
}

// store writes a bbolt file whose n entries are those that change returns, one revision each.
func store(t testing.TB, n int, at func(i int) change) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for first := 0; first < n && err == nil; first += 100_000 {
		err = db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("key"))
			if err != nil {
				return err
			}
			b.FillPercent = 0.9
			for i := first; i < min(n, first+100_000); i++ {
				if err := put(b, int64(i+2), at(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func put(b *bolt.Bucket, revision int64, c change) error {
	position := append(binary.BigEndian.AppendUint64(nil, uint64(revision)), '_')
	position = binary.BigEndian.AppendUint64(position, 0)
	kv := &mvccpb.KeyValue{Key: []byte(c.key)}
	if c.value == nil {
		position = append(position, 't')
	} else {
		kv.CreateRevision, kv.ModRevision, kv.Version, kv.Value = revision, revision, 1, c.value
	}
	v, err := proto.Marshal(kv)
	if err != nil {
		return err
	}
	return b.Put(position, v)
}

// TestShares: a store that is read several times, for a share of its keys each time, says the same.
func TestShares(t *testing.T) {
	path := store(t, 5000, func(i int) change {
		c := change{key: fmt.Sprintf("/registry/%d/%d", i%7, i*i%1999), value: fmt.Append(nil, i)}
		if i%11 == 0 {
			c.value = nil
		}
		return c
	})
	whole, err := Read(t.Context(), path, 3)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Keys < 500 || whole.Kubernetes.Resources["3"] == 0 {
		t.Fatalf("%d keys, %+v: too few to mean anything", whole.Keys, whole.Kubernetes)
	}
	for _, maxSeen := range []int{2000, 100, 5000} {
		shares, err := read(t.Context(), path, 3, maxSeen)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, shares); diff != "" {
			t.Errorf("%d keys at a time: %s", maxSeen, diff)
		}
	}
}

// TestBumpedStore: the entry without a key that a revision bump leaves is nobody's.
func TestBumpedStore(t *testing.T) {
	path := store(t, 3, func(i int) change { return change{[]string{"a", "b", ""}[i], []byte{}} })
	got, err := Read(t.Context(), path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got.Keys != 2 || len(got.Samples) != 2 || got.Kubernetes != nil {
		t.Errorf("%+v", got)
	}
}

// TestSeed: the seed decides which keys are sampled, and over many seeds no key is preferred.
func TestSeed(t *testing.T) {
	const keys, seeds = 2560, 100
	path := store(t, keys, func(i int) change { return change{fmt.Sprintf("/registry/pods/%06d", i), []byte("v")} })
	times := make(map[string]int)
	for seed := range uint64(seeds) {
		s, err := Read(t.Context(), path, seed)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Samples) != maxSamples {
			t.Fatalf("%d samples", len(s.Samples))
		}
		for _, one := range s.Samples {
			times[string(one.Key)]++
		}
	}
	// Each key is expected 10 times, with a standard deviation of 3: six of them are never reached by chance.
	for key, n := range times {
		if n > 28 {
			t.Errorf("%s was sampled %d times of %d", key, n, seeds)
		}
	}
	if len(times) < keys-5 {
		t.Errorf("only %d of %d keys were ever sampled", len(times), keys)
	}
}

// TestLargeSamples: what the samples hold together is bounded, and one is given however large.
func TestLargeSamples(t *testing.T) {
	large := make([]byte, 20<<20)
	path := store(t, 6, func(i int) change { return change{fmt.Sprint(i), large} })
	s, err := Read(t.Context(), path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Samples) != 3 || s.Keys != 6 {
		t.Errorf("%d samples of %d keys, want 3 of 6", len(s.Samples), s.Keys)
	}
	path = store(t, 2, func(i int) change { return change{strings.Repeat(fmt.Sprint(i), 5<<20), nil} })
	if s, err = Read(t.Context(), path, 1); err != nil || s.Keys != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	path = store(t, 2, func(i int) change { return change{strings.Repeat(fmt.Sprint(i), 5<<20), large} })
	if s, err = Read(t.Context(), path, 1); err != nil || len(s.Samples) != 1 {
		t.Errorf("%v", err)
	}
}

func TestReadIsCancelled(t *testing.T) {
	path := store(t, 10, func(i int) change { return change{fmt.Sprint(i), []byte("v")} })
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Read(ctx, path, 1); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

func TestMalformedEntries(t *testing.T) {
	for name, entry := range map[string][2]string{
		"position":  {"not a position", ""},
		"separator": {"12345678-12345678", ""},
		"mark":      {"12345678_12345678x", ""},
		"tag":       {"12345678_12345678", "\xff"},
		"length":    {"12345678_12345678", "\x0a\x7fshort"},
		"field":     {"12345678_12345678", "\x18"},
	} {
		path := store(t, 1, func(int) change { return change{"a", []byte("v")} })
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("key")).Put([]byte(entry[0]), []byte(entry[1])) })
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(t.Context(), path, 1); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
