package repo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/drd-project/drd/internal/storage"
)

// committed is a repository with one snapshot of these bytes.
func committed(t *testing.T, payload []byte) (*memory, *Repository, *Manifest, string) {
	t.Helper()
	m := newMemory()
	r := open(t, m)
	s, _ := signer(t)
	id := at(0, 5, memberB)
	signed := put(t, r, s, sample(id, payload), payload)
	return m, r, signed.Manifest, r.PayloadKey(id, payloadName)
}

func readPayload(ctx context.Context, r *Repository, m *Manifest) ([]byte, error) {
	rd, err := r.Payload(ctx, m)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(rd)
	return b, errors.Join(err, rd.Close())
}

func TestPayload(t *testing.T) {
	for _, size := range []int{1, 1000, storage.DefaultChunk, 2*storage.DefaultChunk + 17} {
		payload := bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13}, size/7+1)[:size]
		for _, parallel := range []int{0, 1, 4} {
			m, r, manifest, _ := committed(t, payload)
			m.parallel = parallel
			got, err := readPayload(t.Context(), r, manifest)
			if err != nil || !bytes.Equal(got, payload) {
				t.Errorf("%d bytes, %d at a time: got %d bytes, %v", size, parallel, len(got), err)
			}
		}
	}
}

func TestPayloadFindsEveryFlippedByte(t *testing.T) {
	payload := []byte("sealed content")
	m, r, manifest, key := committed(t, payload)
	for i := range payload {
		bad := bytes.Clone(payload)
		bad[i] ^= 1
		m.set(key, bad)
		_, err := readPayload(t.Context(), r, manifest)
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d: error is %v", i, err)
		}
		wantError(t, err, key, "memory", "another target")
	}
}

func TestPayloadOfOtherSize(t *testing.T) {
	m, r, manifest, key := committed(t, []byte("sealed content"))
	for _, bad := range []string{"", "sealed", "sealed content and more"} {
		m.set(key, []byte(bad))
		_, err := r.Payload(t.Context(), manifest)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: error is %v", bad, err)
		}
		wantError(t, err, key, "instead of 14", "another target")
	}
}

func TestPayloadThatIsNotThere(t *testing.T) {
	m, r, manifest, key := committed(t, []byte("sealed content"))
	delete(m.objects, key)
	if _, err := r.Payload(t.Context(), manifest); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestPayloadIsNotTakenForDamagedWhenTheStoreFails(t *testing.T) {
	m, r, manifest, _ := committed(t, []byte("sealed content"))
	m.fault = func(op, _ string) error {
		if op == "open" {
			return storage.ErrDenied
		}
		return nil
	}
	_, err := readPayload(t.Context(), r, manifest)
	if !errors.Is(err, storage.ErrDenied) || errors.Is(err, ErrDamaged) {
		t.Errorf("error is %v", err)
	}
}

func TestPayloadRefusesOtherManifests(t *testing.T) {
	_, r, manifest, _ := committed(t, []byte("sealed content"))
	other := *manifest
	other.Cluster = "prod-west"
	_, err := r.Payload(t.Context(), &other)
	wantError(t, err, "prod-west", testCluster)
	other = *manifest
	other.Object.Name = "../../x"
	if _, err := r.Payload(t.Context(), &other); err == nil {
		t.Error("a manifest that is not valid led to a payload")
	}
}

func TestCheckedReader(t *testing.T) {
	content := []byte("twelve bytes")
	check := func(src io.Reader) *checked {
		return newChecked(io.NopCloser(src), "x", "y", int64(len(content)), Digest(content))
	}
	if err := iotest.TestReader(check(bytes.NewReader(content)), content); err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(check(iotest.DataErrReader(bytes.NewReader(content)))) // the last bytes come with io.EOF
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"", "twelve", "twelve bytez", "twelve bytes!"} {
		c := check(iotest.OneByteReader(bytes.NewReader([]byte(bad))))
		for range 2 { // an error stays
			if _, err := io.Copy(io.Discard, c); !errors.Is(err, ErrDamaged) {
				t.Errorf("%q: error is %v", bad, err)
			}
		}
	}
	_, err = io.Copy(io.Discard, check(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(content)))))
	if !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("error is %v", err)
	}
}
