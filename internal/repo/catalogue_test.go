package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

var (
	good   = at(-time.Hour, 4, memberA) // is intact in every test
	target = at(0, 5, memberB)          // is what a test breaks
)

// scene is a repository with two intact snapshots.
type scene struct {
	*memory
	repo   *Repository
	signer *seal.Signer
	trust  *seal.Trust
	signed *Signed // target's
}

func newScene(t *testing.T) *scene {
	t.Helper()
	m := newMemory()
	s := &scene{memory: m, repo: open(t, m)}
	s.signer, s.trust = signer(t)
	put(t, s.repo, s.signer, sample(good, []byte("older")), []byte("older"))
	s.signed = put(t, s.repo, s.signer, sample(target, []byte("sealed")), []byte("sealed"))
	clear(s.read) // of what Commit read back
	return s
}

// look returns the entry of target, after checking that the other snapshot is as well as ever.
func (s *scene) look(t *testing.T) (*Catalogue, *Entry) {
	t.Helper()
	c, err := s.repo.Catalogue(t.Context(), s.trust)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Find(good.String())
	if err != nil || e.State != StateOK || !e.Restorable(false) {
		t.Errorf("the other snapshot is %+v, %v", e, err)
	}
	e, err = c.Find(target.String())
	if err != nil {
		t.Fatal(err)
	}
	return c, e
}

// replace signs and plants another manifest under target's keys.
func (s *scene) replace(t *testing.T, change func(*Manifest)) {
	t.Helper()
	m := sample(target, []byte("sealed"))
	change(m)
	signed, err := Sign(m, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	s.set(s.repo.ManifestKey(target), signed.Bytes)
	s.set(s.repo.SignatureKey(target), signed.Signature)
}

// plant signs bytes, whatever they are, and plants them as target's manifest.
func (s *scene) plant(t *testing.T, b []byte) {
	t.Helper()
	signature, err := s.signer.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	s.set(s.repo.ManifestKey(target), b)
	s.set(s.repo.SignatureKey(target), signature)
}

func TestCatalogueOfIntactSnapshots(t *testing.T) {
	s := newScene(t)
	c, e := s.look(t)
	if c.Location != "memory" || c.Cluster != testCluster || time.Since(c.Read).Abs() > time.Minute {
		t.Errorf("the catalogue is of %s in %s at %s", c.Cluster, c.Location, c.Read)
	}
	if len(c.Entries) != 2 || c.Entries[0].ID.Compare(good) != 0 || c.ForeignCount != 0 {
		t.Errorf("entries %+v, %d foreign", c.Entries, c.ForeignCount)
	}
	if diff := cmp.Diff(s.signed.Manifest, e.Manifest); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if e.State != StateOK || e.Problem != nil || !e.Restorable(false) || !e.Restorable(true) {
		t.Errorf("state %s, %v", e.State, e.Problem)
	}
	if e.Digest != s.signed.Digest() || e.Signer.Principal != "node-1" || e.Signer.Fingerprint != s.signer.Fingerprint() {
		t.Errorf("digest %s, signer %+v", e.Digest, e.Signer)
	}
	if e.Payload.Key != s.repo.PayloadKey(target, payloadName) || e.Payload.Size != 6 || e.Modified.IsZero() {
		t.Errorf("payload %+v, modified %s", e.Payload, e.Modified)
	}
	if s.read[e.Payload.Key] != 0 {
		t.Error("the payload was read")
	}
}

func TestCatalogueWithoutTrust(t *testing.T) {
	s := newScene(t)
	delete(s.objects, s.repo.SignatureKey(good))
	c, err := s.repo.Catalogue(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range c.Entries {
		if e.State != StateUnverified || e.Problem != nil || e.Restorable(false) || !e.Restorable(true) {
			t.Errorf("%s: %s, %v", e.ID, e.State, e.Problem)
		}
	}
	if n := s.read[s.repo.SignatureKey(target)]; n != 0 {
		t.Error("a signature was read")
	}
}

func TestCatalogueStates(t *testing.T) {
	for _, c := range []struct {
		name     string
		state    State
		problem  string
		insecure bool // restorable with insecure
		harm     func(*testing.T, *scene)
	}{
		{"payload alone", StateIncomplete, "no manifest", false, func(_ *testing.T, s *scene) {
			delete(s.objects, s.repo.SignatureKey(target))
			delete(s.objects, s.repo.ManifestKey(target))
		}},
		{"payload and signature", StateIncomplete, "no manifest", false, func(_ *testing.T, s *scene) {
			delete(s.objects, s.repo.ManifestKey(target))
		}},
		{"signature alone", StateIncomplete, "no manifest", false, func(_ *testing.T, s *scene) {
			delete(s.objects, s.repo.ManifestKey(target))
			delete(s.objects, s.repo.PayloadKey(target, payloadName))
		}},
		{"empty manifest", StateBadSignature, "did not sign", false, func(_ *testing.T, s *scene) {
			s.set(s.repo.ManifestKey(target), nil)
		}},
		{"half a manifest", StateBadSignature, "did not sign", false, func(_ *testing.T, s *scene) {
			s.set(s.repo.ManifestKey(target), s.signed.Bytes[:100])
		}},
		{"half a manifest, signed", StateBadManifest, "not JSON", false, func(t *testing.T, s *scene) {
			s.plant(t, s.signed.Bytes[:100])
		}},
		{"huge manifest", StateBadManifest, "too large", false, func(_ *testing.T, s *scene) {
			s.set(s.repo.ManifestKey(target), make([]byte, 8*maxManifest))
		}},
		{"later format", StateNewerFormat, "newer", false, func(t *testing.T, s *scene) {
			s.plant(t, []byte(`{"format": 2}`))
		}},
		{"manifest of another cluster", StateBadManifest, "of cluster prod-west", false, func(t *testing.T, s *scene) {
			s.replace(t, func(m *Manifest) { m.Cluster = "prod-west" })
		}},
		{"manifest of another snapshot", StateBadManifest, "of snapshot " + good.String(), false, func(_ *testing.T, s *scene) {
			s.set(s.repo.ManifestKey(target), s.objects[s.repo.ManifestKey(good)])
			s.set(s.repo.SignatureKey(target), s.objects[s.repo.SignatureKey(good)])
		}},
		{"signature of another manifest", StateBadSignature, "did not sign", true, func(_ *testing.T, s *scene) {
			s.set(s.repo.SignatureKey(target), s.objects[s.repo.SignatureKey(good)])
		}},
		{"changed manifest", StateBadSignature, "did not sign", true, func(_ *testing.T, s *scene) {
			s.set(s.repo.ManifestKey(target), bytes.Replace(s.signed.Bytes, []byte(`"keys": 7`), []byte(`"keys": 8`), 1))
		}},
		{"garbled signature", StateBadSignature, "signature", true, func(_ *testing.T, s *scene) {
			s.set(s.repo.SignatureKey(target), []byte("garbage"))
		}},
		{"huge signature", StateBadSignature, "too large", true, func(_ *testing.T, s *scene) {
			s.set(s.repo.SignatureKey(target), make([]byte, 100*maxSignature))
		}},
		{"empty signature", StateUnsigned, "not signed", true, func(_ *testing.T, s *scene) {
			s.set(s.repo.SignatureKey(target), nil)
		}},
		{"no signature", StateUnsigned, "not signed", true, func(_ *testing.T, s *scene) {
			delete(s.objects, s.repo.SignatureKey(target))
		}},
		{"another signer", StateUnknownSigner, "SHA256:", true, func(t *testing.T, s *scene) {
			s.signer, _ = signer(t)
			s.replace(t, func(*Manifest) {})
		}},
		{"manifest refused", StateUnreadable, "access denied", false, func(_ *testing.T, s *scene) {
			s.refuse(s.repo.ManifestKey(target))
		}},
		{"signature refused", StateUnreadable, "access denied", true, func(_ *testing.T, s *scene) {
			s.refuse(s.repo.SignatureKey(target))
		}},
		{"no payload", StatePayloadMissing, "missing", false, func(_ *testing.T, s *scene) {
			delete(s.objects, s.repo.PayloadKey(target, payloadName))
		}},
		{"shorter payload", StatePayloadSize, "5 bytes, recorded are 6", false, func(_ *testing.T, s *scene) {
			s.set(s.repo.PayloadKey(target, payloadName), []byte("seale"))
		}},
		{"payload of another name", StatePayloadMissing, "snapshot.db.zst.other", false, func(t *testing.T, s *scene) {
			s.replace(t, func(m *Manifest) { m.Object.Name = "snapshot.db.zst.other" })
		}},
		{"nothing but a manifest", StateUnsigned, "missing", false, func(_ *testing.T, s *scene) {
			delete(s.objects, s.repo.SignatureKey(target))
			delete(s.objects, s.repo.PayloadKey(target, payloadName))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			c.harm(t, s)
			_, e := s.look(t)
			if e.State != c.state {
				t.Errorf("state %s, want %s", e.State, c.state)
			}
			wantError(t, e.Problem, c.problem)
			if e.Restorable(false) || e.Restorable(true) {
				t.Errorf("restorable %v, with insecure %v", e.Restorable(false), e.Restorable(true))
			}
			if known := e.State == StatePayloadMissing || e.State == StatePayloadSize; known != (e.Manifest != nil) {
				t.Errorf("a refused manifest was kept: %+v", e.Manifest)
			}
			if n := s.read[s.repo.ManifestKey(target)]; n > maxManifest+1 {
				t.Errorf("%d bytes of the manifest were read", n)
			}
			if n := s.read[s.repo.SignatureKey(target)]; n > maxSignature+1 {
				t.Errorf("%d bytes of the signature were read", n)
			}
			if e.Modified.IsZero() {
				t.Error("no time of modification")
			}
			// Who does without signatures sees more.
			unverified, err := s.repo.Look(t.Context(), target, nil)
			if err != nil || unverified.Restorable(false) || unverified.Restorable(true) != c.insecure {
				t.Errorf("without trust: %+v, %v", unverified, err)
			}
		})
	}
}

// refuse lets the store deny reading one key.
func (s *scene) refuse(denied string) {
	s.fault = func(op, key string) error {
		if op == "open" && key == denied {
			return fmt.Errorf("open %s: %w", key, storage.ErrDenied)
		}
		return nil
	}
}

func TestCatalogueOfAnExpiredSigner(t *testing.T) {
	s := newScene(t)
	line := `node-1 namespaces="drd",valid-before="20261122093000Z" ` + authorized(t, s.signer)
	trust, err := seal.ParseTrust([]byte(line), "allowed_signers")
	if err != nil {
		t.Fatal(err)
	}
	s.trust = trust
	_, e := s.look(t) // the other snapshot is of 09:00
	if e.State != StateExpiredSigner || e.Restorable(false) || e.Restorable(true) {
		t.Errorf("state %s, %v", e.State, e.Problem)
	}
}

func TestCatalogueNamesForeignObjects(t *testing.T) {
	s := newScene(t)
	dir := testCluster + "/snapshots/"
	foreign := []string{
		dir, dir + "README", dir + target.String(), dir + "latest/manifest.json", dir + "20261131T000000Z-r1-1/manifest.json",
		dir + target.String() + "/notes.txt", dir + target.String() + "/a/manifest.json", dir + target.String() + "/snapshot.db",
		dir + target.String() + "/snapshot.db.zst.age.part",
	}
	for _, key := range foreign {
		s.set(key, nil)
	}
	s.set(dir+"\x1b[2J", nil)
	s.set("prod-east-2/snapshots/x", nil) // another cluster
	s.set(testCluster+"/archive/x", nil)  // not snapshots
	c, e := s.look(t)
	want := append(foreign, `"prod-east/snapshots/\x1b[2J"`)
	got := slices.Clone(c.Foreign)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || c.ForeignCount != len(want) {
		t.Errorf("%d foreign (-want +got):\n%s", c.ForeignCount, diff)
	}
	if e.State != StateOK || len(c.Entries) != 2 {
		t.Errorf("%d entries, state %s", len(c.Entries), e.State)
	}
}

func TestCatalogueBoundsForeignObjects(t *testing.T) {
	s := newScene(t)
	for i := range 3 * maxForeign {
		s.set(fmt.Sprintf("%s/snapshots/junk-%03d", testCluster, i), nil)
	}
	c, _ := s.look(t)
	if len(c.Foreign) != maxForeign || c.ForeignCount != 3*maxForeign {
		t.Errorf("%d foreign keys named of %d", len(c.Foreign), c.ForeignCount)
	}
}

func TestCatalogueNeedsAListing(t *testing.T) {
	s := newScene(t)
	s.fault = func(op, key string) error {
		if op == "list" && strings.HasSuffix(key, signatureName) { // in the middle
			return storage.ErrDenied
		}
		return nil
	}
	_, err := s.repo.Catalogue(t.Context(), s.trust)
	if !errors.Is(err, storage.ErrDenied) {
		t.Errorf("error is %v", err)
	}
	wantError(t, err, "list snapshots of prod-east in memory")
}

func TestCatalogueEndsWithItsContext(t *testing.T) {
	s := newScene(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.fault = func(op, _ string) error {
		if op == "open" {
			cancel()
		}
		return nil
	}
	if c, err := s.repo.Catalogue(ctx, s.trust); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, error is %v", c, err)
	}
}

func TestCatalogueOfNothing(t *testing.T) {
	c, err := open(t, newMemory()).Catalogue(t.Context(), nil)
	if err != nil || len(c.Entries) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func FuzzCatalogueKeys(f *testing.F) {
	f.Add(target.String()+"/manifest.json", "{}")
	f.Add(target.String()+"/manifest.json.sig", "")
	f.Add(target.String()+"/snapshot.db.zst.age", "x")
	f.Add("README", "x")
	f.Add("\x00/../manifest.json", "x")
	_, trust := signer(f)
	f.Fuzz(func(t *testing.T, name, content string) {
		m := newMemory()
		r := open(t, m)
		m.set(testCluster+"/snapshots/"+name, []byte(content))
		c, err := r.Catalogue(t.Context(), trust)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Entries)+c.ForeignCount != 1 {
			t.Fatalf("%q: %d entries, %d foreign", name, len(c.Entries), c.ForeignCount)
		}
		for _, e := range c.Entries {
			if e.State == StateOK || e.Restorable(true) || e.Problem == nil {
				t.Fatalf("%q: %+v", name, e)
			}
			if _, err := ParseID(e.ID.String()); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range c.Foreign {
			if !isPrintable(key) {
				t.Fatalf("foreign key %q is not printable", key)
			}
		}
	})
}
