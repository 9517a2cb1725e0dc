package repo

import (
	"errors"
	"slices"
	"testing"

	"github.com/drd-project/drd/internal/storage"
)

func TestProbe(t *testing.T) {
	m := newMemory()
	r := open(t, m)
	for range 2 { // the second finds what the first left
		if err := r.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(m.created, []string{testCluster + "/write-check"}) {
		t.Errorf("left behind: %v", m.created)
	}
	c, err := r.Catalogue(t.Context(), nil)
	if err != nil || c.ForeignCount != 0 || len(c.Entries) != 0 {
		t.Errorf("the catalogue shows it: %+v, %v", c, err)
	}
}

func TestProbeOfAStoreThatOverwrites(t *testing.T) {
	m := newMemory()
	m.overwrites = true
	err := open(t, m).Probe(t.Context())
	if !errors.Is(err, ErrOverwrites) {
		t.Errorf("error is %v", err)
	}
	wantError(t, err, "memory", "If-None-Match")
}

func TestProbeReportsWhatIsRefused(t *testing.T) {
	for _, op := range []string{"list", "create", "open"} {
		m := newMemory()
		r := open(t, m)
		m.set(r.ManifestKey(target), nil)
		m.fault = func(o, _ string) error {
			if o == op {
				return storage.ErrDenied
			}
			return nil
		}
		if err := r.Probe(t.Context()); !errors.Is(err, storage.ErrDenied) {
			t.Errorf("%s: error is %v", op, err)
		}
	}
}
