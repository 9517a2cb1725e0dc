package verify

import (
	"errors"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

func TestKeys(t *testing.T) {
	h := newHost(t, 1)
	r := h.cfg.Targets[0].Repo
	id, err := repo.ParseID(h.put(time.Hour, 10, 0))
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.Look(t.Context(), id, h.keys.Trust)
	if err != nil {
		t.Fatal(err)
	}
	fileKey, err := seal.ParseFileKey([]byte("DRD-FILE-KEY-1 AAECAwQFBgcICQoLDA0ODw=="))
	if err != nil {
		t.Fatal(err)
	}
	full := sealtest.New(t).Ring
	if err := full.Put(r.PayloadKey(id, e.Manifest.Object.Name), fileKey); err != nil {
		t.Fatal(err)
	}
	own := func() ([]age.Identity, error) { return h.keys.Identities, nil }
	others := func() ([]age.Identity, error) { return sealtest.New(t).Identities, nil }
	unknown := func() ([]age.Identity, error) { return []age.Identity{fileKey.Identity()}, nil } // as a plugin's: it may fit
	broken := func() ([]age.Identity, error) { return nil, errors.New("passphrase") }
	for _, tc := range []struct {
		name string
		keys Keys
		want string // kind; "": none
	}{
		{"nothing", Keys{}, ""},
		{"empty ring", Keys{Ring: h.keys.Ring}, ""},
		{"retained", Keys{Ring: full, Identities: own}, KindRetained},
		{"identity", Keys{Ring: h.keys.Ring, Identities: own}, KindIdentity},
		{"of another recipient", Keys{Identities: others}, ""},
		{"recipient not known", Keys{Identities: unknown}, KindIdentity},
		{"cannot be read", Keys{Identities: broken}, ""},
		{"file key", Keys{Ring: full, Identities: own, FileKey: fileKey}, KindFileKey},
	} {
		ids, kind, err := tc.keys.Find(t.Context(), r, e.Manifest)
		if kind != tc.want || (tc.want == "") != errors.Is(err, drill.ErrNoKey) || (tc.want != "") != (len(ids) == 1) {
			t.Errorf("%s: %d identities, kind %q, %v", tc.name, len(ids), kind, err)
		}
		if got := tc.keys.CanOpen(r)(e.Manifest); got != (tc.want != "") {
			t.Errorf("%s: can open %t", tc.name, got)
		}
	}
}

// TestSegmentKeys: a segment is opened by the key that was kept when it was uploaded, or by an identity that it is sealed for, and by no
// key of another object.
func TestSegmentKeys(t *testing.T) {
	h := newHost(t, 1)
	r := h.cfg.Targets[0].Repo
	h.put(3*time.Hour, 10, 0)
	h.archive(11, 20, 2*time.Hour)
	h.archive(21, 30, time.Hour)
	found, err := r.ListSegments(t.Context(), repo.SegmentQuery{}, h.keys.Trust)
	if err != nil || len(found.Entries) != 2 {
		t.Fatal(found, err)
	}
	s, other := found.Entries[0].Segment, found.Entries[1].Segment
	fileKey, err := seal.ParseFileKey([]byte("DRD-FILE-KEY-1 AAECAwQFBgcICQoLDA0ODw=="))
	if err != nil {
		t.Fatal(err)
	}
	holding := func(of *repo.Segment) *seal.KeyRing {
		ring := sealtest.New(t).Ring
		if err := ring.Put(r.SegmentPayloadKey(of), fileKey); err != nil {
			t.Fatal(err)
		}
		return ring
	}
	own := func() ([]age.Identity, error) { return h.keys.Identities, nil }
	others := func() ([]age.Identity, error) { return sealtest.New(t).Identities, nil }
	broken := func() ([]age.Identity, error) { return nil, errors.New("passphrase") }
	for _, tc := range []struct {
		name string
		keys Keys
		want string // kind; "": none
	}{
		{"nothing", Keys{}, ""},
		{"retained", Keys{Ring: holding(s)}, KindRetained},
		{"retained before identity", Keys{Ring: holding(s), Identities: broken}, KindRetained},
		{"of another segment", Keys{Ring: holding(other)}, ""},
		{"of another segment, and the identity", Keys{Ring: holding(other), Identities: own}, KindIdentity},
		{"of another recipient", Keys{Identities: others}, ""},
		{"cannot be read", Keys{Identities: broken}, ""},
		{"a file key is of one object", Keys{Ring: holding(s), Identities: own, FileKey: fileKey}, ""},
	} {
		ids, kind, err := tc.keys.FindSegment(t.Context(), r, s)
		if kind != tc.want || (tc.want == "") != errors.Is(err, drill.ErrNoKey) || (tc.want != "") != (len(ids) == 1) {
			t.Errorf("%s: %d identities, kind %q, %v", tc.name, len(ids), kind, err)
		}
		if got := tc.keys.CanOpenSegment(r)(s); got != (tc.want != "") {
			t.Errorf("%s: can open %t", tc.name, got)
		}
	}
}
