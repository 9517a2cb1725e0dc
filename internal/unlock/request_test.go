package unlock

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// sealed is a signed manifest and the header of an object.
func sealed(t *testing.T, keys *sealtest.Keys) (*repo.Signed, []byte, seal.FileKey) {
	t.Helper()
	var object bytes.Buffer
	sealer, err := seal.Default().Seal(&object, keys.Recipients)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = sealer.Write([]byte("content")); err == nil {
		err = sealer.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	header, err := seal.Header(&object)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Second)
	id := repo.ID{Time: at, Revision: 7, Member: 0xa1}
	signed, err := repo.Sign(&repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: "prod", EtcdClusterID: "c1", Timeline: "00000000000000a1",
		Member: repo.Member{ID: "a1"}, CaptureStart: at, CaptureEnd: at, Revision: 7, CompactRevision: -1, DBSize: 1000, Keys: 1, Revisions: 1,
		EtcdVersion: "3.7.3", HashKV: repo.HashKV{Revision: 7, CompactRevision: -1}, Plain: repo.Plain{SHA256: strings.Repeat("ab", 32), Size: 1032},
		Object: repo.Object{Name: "snapshot.db.zst.age", SHA256: strings.Repeat("cd", 32), Size: 6, Envelope: "age-v1", Recipients: keys.Recipients.Fingerprints()},
		Drd:    repo.Build{Version: "test"},
	}, keys.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed, header, sealer.FileKey()
}

func encoded(t *testing.T, r *Request) []byte {
	t.Helper()
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRequest: what one machine writes another reads, and it yields the key of the object.
func TestRequest(t *testing.T) {
	keys := sealtest.New(t)
	signed, header, want := sealed(t, keys)
	made, err := New(signed.Bytes, signed.Signature, header)
	if err != nil {
		t.Fatal(err)
	}
	b := encoded(t, made)
	if !Looks(b) || Looks(header) {
		t.Error("a request and a header alone look alike")
	}
	r, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if r.About().ID != signed.Manifest.ID || r.About().Cluster != "prod" {
		t.Errorf("it is about %+v", r.About())
	}
	key, err := seal.Unlock(r.Header, keys.Identities)
	if err != nil || string(key.Encode()) != string(want.Encode()) {
		t.Errorf("the key is another one: %v", err)
	}
	if by, err := r.Verify(keys.Trust); err != nil || by.Principal == "" {
		t.Errorf("signed by %+v: %v", by, err)
	}
	if _, err := r.Verify(sealtest.New(t).Trust); !errors.Is(err, seal.ErrUnknownSigner) {
		t.Errorf("for somebody who trusts others: %v", err)
	}
	r.Signature = ""
	if _, err := r.Verify(keys.Trust); !errors.Is(err, seal.ErrUnsigned) {
		t.Errorf("without a signature: %v", err)
	}
}

// TestParseRefuses: a request that contradicts itself would show people something else than what was signed.
func TestParseRefuses(t *testing.T) {
	keys := sealtest.New(t)
	signed, header, _ := sealed(t, keys)
	change := func(how func(r *Request)) []byte {
		r, err := New(signed.Bytes, signed.Signature, header)
		if err != nil {
			t.Fatal(err)
		}
		how(r)
		return encoded(t, r)
	}
	for name, b := range map[string][]byte{
		"not JSON":        []byte("{"),
		"too large":       append(change(func(*Request) {}), bytes.Repeat([]byte(" "), Max)...),
		"other kind":      change(func(r *Request) { r.Kind = "drd-drill-record" }),
		"later format":    change(func(r *Request) { r.Format = 2 }),
		"other cluster":   change(func(r *Request) { r.Cluster = "stage" }),
		"other snapshot":  change(func(r *Request) { r.Snapshot = "20200101T000000Z-r1-00000000000000a1" }),
		"other time":      change(func(r *Request) { r.CapturedAt = r.CapturedAt.Add(time.Hour) }),
		"other object":    change(func(r *Request) { r.ObjectSHA256 = strings.Repeat("00", 32) }),
		"no manifest":     change(func(r *Request) { r.Manifest = nil }),
		"no header":       change(func(r *Request) { r.Header = nil }),
		"cut header":      change(func(r *Request) { r.Header = r.Header[:len(r.Header)/2] }),
		"a key twice":     []byte(strings.Replace(string(change(func(*Request) {})), `"format": 1`, `"format": 1, "Format": 1`, 1)),
		"a later version": mustJSON(t, map[string]any{"kind": Kind, "format": 9}),
	} {
		if _, err := Parse(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New([]byte("{}"), nil, header); err == nil {
		t.Error("a request is made of what is no manifest")
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
