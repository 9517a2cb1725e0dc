package repo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/storage"
)

const payloadName = "snapshot.db.zst.age"

// putContent stores content under the sample ID.
func putContent(ctx context.Context, r *Repository, content []byte) (storage.Object, error) {
	return r.PutPayload(ctx, at(0, 5, memberB), payloadName, source(content), int64(len(content)), Digest(content))
}

func TestPutPayload(t *testing.T) {
	m := newMemory()
	r := open(t, m)
	obj, err := putContent(t.Context(), r, []byte("sealed"))
	if err != nil {
		t.Fatal(err)
	}
	key := r.PayloadKey(at(0, 5, memberB), payloadName)
	if obj.Key != key || obj.Size != 6 || string(m.objects[key]) != "sealed" {
		t.Errorf("stored %+v with %q", obj, m.objects[key])
	}
}

func TestPutPayloadAgain(t *testing.T) {
	for _, reports := range []bool{true, false} {
		m := newMemory()
		m.reportsSHA256 = reports
		r := open(t, m)
		for range 2 {
			if obj, err := putContent(t.Context(), r, []byte("sealed")); err != nil || obj.Size != 6 {
				t.Fatalf("the store reports SHA-256: %v: %+v, %v", reports, obj, err)
			}
		}
		if want := map[bool]int{true: 0, false: 1}[reports]; m.opened != want {
			t.Errorf("the store reports SHA-256: %v: read back %d times, want %d", reports, m.opened, want)
		}
		for _, other := range []string{"Sealed", "sealed and more"} {
			_, err := putContent(t.Context(), r, []byte(other))
			if !errors.Is(err, ErrConflict) {
				t.Errorf("the store reports SHA-256: %v: %q: error is %v", reports, other, err)
			}
			wantError(t, err, payloadName, "both are kept")
		}
		if got := string(m.objects[m.created[0]]); got != "sealed" {
			t.Errorf("the object became %q", got)
		}
	}
}

func TestPutPayloadWithoutOpeningWhatIsThere(t *testing.T) {
	r := open(t, newMemory())
	if _, err := putContent(t.Context(), r, []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	open := func() (io.ReadCloser, error) { return nil, errors.New("opened") }
	if _, err := r.PutPayload(t.Context(), at(0, 5, memberB), payloadName, open, 6, Digest([]byte("sealed"))); err != nil {
		t.Error(err)
	}
}

// A store that refuses HEAD, or that answers it before another writer's object appears, decides in Create.
func TestPutPayloadLeftToCreate(t *testing.T) {
	m := newMemory()
	r := open(t, m)
	stats := 0
	m.fault = func(op, _ string) error {
		if op != "stat" {
			return nil
		}
		if stats++; stats == 1 {
			return storage.ErrDenied
		}
		return nil
	}
	if _, err := putContent(t.Context(), r, []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	stats = 0
	if _, err := putContent(t.Context(), r, []byte("sealed")); err != nil {
		t.Errorf("equal content: %v", err)
	}
	stats = 0
	if _, err := putContent(t.Context(), r, []byte("others")); !errors.Is(err, ErrConflict) {
		t.Errorf("other content: %v", err)
	}
}

func TestPutPayloadAfterALostAnswer(t *testing.T) {
	m := newMemory()
	r := open(t, m)
	m.fault = func(op, _ string) error {
		if op == "created" {
			return errors.New("connection reset")
		}
		return nil
	}
	_, err := putContent(t.Context(), r, []byte("sealed"))
	wantError(t, err, "connection reset", "memory")
	m.fault = nil
	if _, err := putContent(t.Context(), r, []byte("sealed")); err != nil {
		t.Error(err)
	}
}

// What the spool lost or changed never becomes visible under a key that cannot be written again.
func TestPutPayloadOfADamagedCopy(t *testing.T) {
	good := []byte("the sealed content")
	for _, bad := range []string{"the sealed Content", "the sealed", "the sealed content!", ""} {
		m := newMemory()
		r := open(t, m)
		_, err := r.PutPayload(t.Context(), at(0, 5, memberB), payloadName, source([]byte(bad)), int64(len(good)), Digest(good))
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: error is %v", bad, err)
		}
		wantError(t, err, "the local copy", "disk")
		if len(m.objects) > 0 {
			t.Errorf("%q: stored %v", bad, m.created)
		}
	}
}

func TestPutPayloadThatTheStoreCutShort(t *testing.T) {
	m := newMemory()
	m.store = func(_ string, content []byte) []byte { return content[:3] }
	_, err := putContent(t.Context(), open(t, m), []byte("sealed"))
	wantError(t, err, "3 bytes of 6")
}

func TestPutPayloadRefuses(t *testing.T) {
	r := open(t, newMemory())
	sum := Digest([]byte("x"))
	for _, c := range []struct {
		name string
		size int64
		sum  string
	}{{"manifest.json", 1, sum}, {"a/b", 1, sum}, {payloadName, 0, sum}, {payloadName, 1, "x"}} {
		if _, err := r.PutPayload(t.Context(), at(0, 5, memberB), c.name, source([]byte("x")), c.size, c.sum); err == nil {
			t.Errorf("%+v was stored", c)
		}
	}
	_, err := r.PutPayload(t.Context(), at(0, 5, memberB), payloadName,
		func() (io.ReadCloser, error) { return nil, io.ErrClosedPipe }, 1, sum)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := putContent(ctx, r, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// prepared is a repository that holds a payload, and the manifest for it.
func prepared(t *testing.T) (*memory, *Repository, *Signed) {
	t.Helper()
	m := newMemory()
	r := open(t, m)
	if _, err := putContent(t.Context(), r, []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	s, _ := signer(t)
	signed, err := Sign(sample(at(0, 5, memberB), []byte("sealed")), s)
	if err != nil {
		t.Fatal(err)
	}
	return m, r, signed
}

func TestCommit(t *testing.T) {
	m, r, signed := prepared(t)
	for range 2 { // the second finds its own work
		if err := r.Commit(t.Context(), signed); err != nil {
			t.Fatal(err)
		}
	}
	id := at(0, 5, memberB)
	if diff := cmp.Diff([]string{r.PayloadKey(id, payloadName), r.SignatureKey(id), r.ManifestKey(id)}, m.created); diff != "" {
		t.Errorf("order of writing (-want +got):\n%s", diff)
	}
	if !bytes.Equal(m.objects[r.ManifestKey(id)], signed.Bytes) || !bytes.Equal(m.objects[r.SignatureKey(id)], signed.Signature) {
		t.Error("other bytes were written")
	}
}

func TestCommitGoesOnAfterEachFailure(t *testing.T) {
	for _, op := range []string{"stat", "create", "created", "open"} {
		for nth := 1; nth <= 2; nth++ {
			m, r, signed := prepared(t)
			calls := 0
			m.fault = func(o, _ string) error {
				if o == op {
					if calls++; calls == nth {
						return io.ErrUnexpectedEOF
					}
				}
				return nil
			}
			if err := r.Commit(t.Context(), signed); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s %d: error is %v", op, nth, err)
			}
			m.fault = nil
			if err := r.Commit(t.Context(), signed); err != nil {
				t.Errorf("%s %d: %v", op, nth, err)
			}
		}
	}
}

func TestCommitNeedsThePayload(t *testing.T) {
	m, r, signed := prepared(t)
	key := r.PayloadKey(at(0, 5, memberB), payloadName)
	delete(m.objects, key)
	if err := r.Commit(t.Context(), signed); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	m.set(key, []byte("longer than sealed"))
	if err := r.Commit(t.Context(), signed); !errors.Is(err, ErrConflict) {
		t.Errorf("error is %v", err)
	}
	m.set(key, []byte("Sealed"))
	m.reportsSHA256 = true
	if err := r.Commit(t.Context(), signed); !errors.Is(err, ErrConflict) {
		t.Errorf("error is %v", err)
	}
	if len(m.created) != 1 {
		t.Errorf("written without a payload: %v", m.created[1:])
	}
}

func TestCommitKeepsWhatIsThere(t *testing.T) {
	id := at(0, 5, memberB)
	for _, planted := range []string{"x", strings.Repeat("x", 2*maxManifest)} {
		for _, key := range []func(*Repository) string{
			func(r *Repository) string { return r.ManifestKey(id) },
			func(r *Repository) string { return r.SignatureKey(id) },
		} {
			m, r, signed := prepared(t)
			m.set(key(r), []byte(planted))
			err := r.Commit(t.Context(), signed)
			if !errors.Is(err, ErrConflict) {
				t.Errorf("%s: error is %v", key(r), err)
			}
			wantError(t, err, key(r))
			if string(m.objects[key(r)]) != planted {
				t.Errorf("%s was overwritten", key(r))
			}
		}
	}
}

func TestCommitReadsBack(t *testing.T) {
	m, r, signed := prepared(t)
	m.store = func(_ string, content []byte) []byte { return make([]byte, len(content)) }
	if err := r.Commit(t.Context(), signed); !errors.Is(err, ErrDamaged) {
		t.Errorf("a store that keeps garbage: error is %v", err)
	}
}

func TestCommitRefuses(t *testing.T) {
	m, r, signed := prepared(t)
	for name, s := range map[string]*Signed{
		"no signature":   {Manifest: signed.Manifest, Bytes: signed.Bytes},
		"huge signature": {Manifest: signed.Manifest, Bytes: signed.Bytes, Signature: make([]byte, maxSignature+1)},
		"no manifest":    {Manifest: signed.Manifest, Signature: signed.Signature},
		"other cluster":  {Manifest: signed.Manifest, Bytes: bytes.Replace(signed.Bytes, []byte(testCluster), []byte("prod-west"), 1), Signature: signed.Signature},
	} {
		if err := r.Commit(t.Context(), s); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	if len(m.created) != 1 {
		t.Errorf("written: %v", m.created[1:])
	}
}
