package repo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

func TestDrillID(t *testing.T) {
	for host, want := range map[string]string{
		"node1":                  "node1",
		"CP-1.Example.org":       "cp-1.example.org",
		"a_b/../c":               "a-b-..-c",
		"köln":                   "k-ln",
		"":                       "unknown",
		"-":                      "-",
		strings.Repeat("x", 200): strings.Repeat("x", 63),
		"a\x1b[2Jb\n":            "a--2jb-",
		"node.json":              "node.json",
	} {
		id := DrillID(testTime.In(time.FixedZone("", 3600)), host)
		if id != "20261122T100000Z-"+want {
			t.Errorf("%q: %s", host, id)
		}
		at, cleaned, err := ParseDrillID(id)
		if err != nil || !at.Equal(testTime) || cleaned != want || DrillID(at, cleaned) != id {
			t.Errorf("%s is read as %s, %q: %v", id, at, cleaned, err)
		}
		if err := storage.CheckKey("c/drills/" + id + drillSignatureSuffix); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "x", "20261122T100000Z-", "20261122T100000Z", "20261122T100000Z-A", "20261322T100000Z-a", "20261122T100000Z-a/b", "20261122T100000Z-" + strings.Repeat("x", 64), "20261122T100000Z-a\n"} {
		if _, _, err := ParseDrillID(bad); err == nil {
			t.Errorf("%q is an ID", bad)
		}
	}
}

func TestDrills(t *testing.T) {
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	faulty := storagetest.NewFaulty(b)
	r := open(t, faulty)
	far := testTime.Add(1000 * time.Hour)
	if ids, more, err := r.Drills(t.Context(), time.Time{}, far, 5); len(ids) != 0 || more || err != nil {
		t.Errorf("nothing there: %v, %v, %v", ids, more, err)
	}
	var want []string
	for i := range 30 {
		id := DrillID(testTime.Add(time.Duration(i)*time.Minute), "node.json")
		want = append(want, id)
		for range 2 { // again is the same
			if err := r.PutDrill(t.Context(), id, []byte(id), []byte("signature")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := 1; n <= 31; n++ {
		ids, more, err := r.Drills(t.Context(), time.Time{}, far, n)
		if diff := cmp.Diff(want[max(0, 30-n):], ids); diff != "" || more != (n < 30) || err != nil {
			t.Errorf("the newest %d: more %v, %v\n%s", n, more, err, diff)
		}
	}
	ids, more, err := r.Drills(t.Context(), testTime.Add(5*time.Minute), testTime.Add(8*time.Minute), 9)
	if diff := cmp.Diff(want[5:9], ids); diff != "" || more || err != nil {
		t.Errorf("%v, %v\n%s", more, err, diff)
	}
	record, signature, err := r.Drill(t.Context(), want[0])
	if string(record) != want[0] || string(signature) != "signature" || err != nil {
		t.Errorf("%q, %q, %v", record, signature, err)
	}
	c, err := r.Catalogue(t.Context(), nil)
	if err != nil || len(c.Entries)+c.ForeignCount != 0 {
		t.Errorf("drill records are among the snapshots: %+v, %v", c, err)
	}
	clusters, _, err := Clusters(t.Context(), b)
	if len(clusters) != 0 || err != nil {
		t.Errorf("records make a cluster: %v, %v", clusters, err)
	}
}

func TestPutDrillRefuses(t *testing.T) {
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, b)
	id := DrillID(testTime, "node1")
	large := bytes.Repeat([]byte("x"), MaxDrillRecord+1)
	for name, put := range map[string]func() error{
		"a bad ID":          func() error { return r.PutDrill(t.Context(), "../snapshots/x", []byte("x"), []byte("s")) },
		"an empty record":   func() error { return r.PutDrill(t.Context(), id, nil, []byte("s")) },
		"no signature":      func() error { return r.PutDrill(t.Context(), id, []byte("x"), nil) },
		"too large":         func() error { return r.PutDrill(t.Context(), id, large, []byte("s")) },
		"a large signature": func() error { return r.PutDrill(t.Context(), id, []byte("x"), large) },
	} {
		if put() == nil {
			t.Errorf("%s was stored", name)
		}
	}
	if err := r.PutDrill(t.Context(), id, []byte("x"), []byte("s")); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{r.PutDrill(t.Context(), id, []byte("y"), []byte("s")), r.PutDrill(t.Context(), id, []byte("x"), []byte("t"))} {
		if !errors.Is(err, ErrConflict) {
			t.Errorf("other content: %v", err)
		}
	}
	if _, err := b.Create(t.Context(), r.DrillKey(DrillID(testTime, "other")), bytes.NewReader(large)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Drill(t.Context(), DrillID(testTime, "other")); !errors.Is(err, ErrDamaged) {
		t.Errorf("a record that is too large: %v", err)
	}
	if _, _, err := r.Drill(t.Context(), DrillID(testTime, "nobody")); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
}
