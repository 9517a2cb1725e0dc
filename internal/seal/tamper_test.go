package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/drd-project/drd/internal/seal"
)

// refused reports how an object that is not intact was treated; "" means well: an error of a known
// kind, and not one byte reported as a whole.
func refused(object []byte, id age.Identity) string {
	_, err := open(object, id)
	switch {
	case err == nil:
		return "opened"
	case !errors.Is(err, seal.ErrDamaged) && !errors.Is(err, seal.ErrNoIdentity):
		return fmt.Sprintf("unknown kind of error: %v", err)
	}
	return ""
}

// TestEveryBitCounts flips each bit of a small object, in its header, its nonce and its content, once
// for an identity and once for the file key.
func TestEveryBitCounts(t *testing.T) {
	id, recipients := newIdentity(t, false)
	var b bytes.Buffer
	key := sealTo(t, &b, recipients, []byte("a small segment"))
	object := b.Bytes()
	for _, id := range []age.Identity{id, key.Identity()} {
		for i := range object {
			for bit := range 8 {
				object[i] ^= 1 << bit
				if problem := refused(object, id); problem != "" {
					t.Errorf("byte %d bit %d of %d: %s", i, bit, len(object), problem)
				}
				object[i] ^= 1 << bit
			}
		}
	}
	if _, err := open(object, id); err != nil {
		t.Errorf("the object itself: %v", err)
	}
}

func TestEveryByteCounts(t *testing.T) {
	id, recipients := newIdentity(t, false)
	object := sealed(t, recipients, []byte("a small segment"))
	for n := range object {
		if problem := refused(object[:n], id); problem != "" {
			t.Errorf("cut to %d bytes of %d: %s", n, len(object), problem)
		}
	}
	if problem := refused(append(bytes.Clone(object), 0), id); problem != "" {
		t.Errorf("one byte more: %s", problem)
	}
	if problem := refused(append(bytes.Clone(object), object...), id); problem != "" {
		t.Errorf("twice: %s", problem)
	}
}

// TestLargeObjectDamage goes where the chunks of the envelope begin and end (64 KiB and a 16-byte tag).
func TestLargeObjectDamage(t *testing.T) {
	const chunk = 64<<10 + 16
	id, recipients := newIdentity(t, true)
	object := sealed(t, recipients, etcdLike(2<<20))
	header, err := seal.Header(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	start := len(header) + 16 // the nonce
	chunks := 0
	for at := start; at < len(object); at += chunk {
		chunks++
		for _, i := range []int{at - 1, at, at + chunk/2} {
			if i < len(header) || i >= len(object) {
				continue
			}
			object[i] ^= 1
			if _, err := open(object, id); !errors.Is(err, seal.ErrDamaged) {
				t.Errorf("byte %d changed: %v", i, err)
			}
			object[i] ^= 1
		}
		if _, err := open(object[:at], id); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("cut before the chunk at %d: %v", at, err)
		}
	}
	if chunks < 4 {
		t.Errorf("only %d chunks: the object is too small for this test", chunks)
	}
	swapped := bytes.Clone(object)
	copy(swapped[start:], object[start+chunk:start+2*chunk])
	copy(swapped[start+chunk:], object[start:start+chunk])
	if _, err := open(swapped, id); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("two chunks swapped: %v", err)
	}
}

// TestNothingAfterFailure: once a reader failed it stays failed.
func TestNothingAfterFailure(t *testing.T) {
	id, recipients := newIdentity(t, false)
	object := sealed(t, recipients, etcdLike(2<<20))
	object[len(object)-1] ^= 1
	r, err := seal.Default().Open(bytes.NewReader(object), []age.Identity{id})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // it frees memory only
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, seal.ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	for range 3 {
		if n, err := r.Read(make([]byte, 100)); n != 0 || !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("read on: %d bytes, %v", n, err)
		}
	}
}

// TestBrokenSource: when the sealed bytes cannot be read, the object is not to blame.
func TestBrokenSource(t *testing.T) {
	errLink := errors.New("connection reset")
	id, recipients := newIdentity(t, false)
	object := sealed(t, recipients, etcdLike(1<<20))
	for _, n := range []int{0, 1, 100, 199, 300, 64 << 10, len(object) / 2, len(object) - 1, len(object)} {
		src := io.MultiReader(bytes.NewReader(object[:n]), iotest.ErrReader(errLink))
		_, err := openFrom(src, id)
		if !errors.Is(err, errLink) || errors.Is(err, seal.ErrDamaged) || errors.Is(err, seal.ErrNoIdentity) {
			t.Errorf("link lost after %d bytes of %d: %v", n, len(object), err)
		}
		if n > 199 {
			continue
		}
		_, err = seal.Header(io.MultiReader(bytes.NewReader(object[:n]), iotest.ErrReader(errLink)))
		if n < 199 && (!errors.Is(err, errLink) || errors.Is(err, seal.ErrDamaged)) {
			t.Errorf("header, link lost after %d bytes: %v", n, err)
		}
	}
}

// TestSlowSource reads one byte at a time.
func TestSlowSource(t *testing.T) {
	id, recipients := newIdentity(t, false)
	plain := etcdLike(300 << 10)
	object := sealed(t, recipients, plain)
	for name, src := range map[string]io.Reader{
		"one byte":  iotest.OneByteReader(bytes.NewReader(object)),
		"data+EOF":  iotest.DataErrReader(bytes.NewReader(object)),
		"half full": iotest.HalfReader(bytes.NewReader(object)),
	} {
		if got, err := openFrom(src, id); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// ageOnly encrypts without compressing: an envelope whose content is not what it should be.
func ageOnly(t *testing.T, public string, content []byte) []byte {
	t.Helper()
	r, err := age.ParseX25519Recipient(public)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestAuthenticNonsense: encryption says nothing about what was encrypted.
func TestAuthenticNonsense(t *testing.T) {
	id, public := storedIdentity(t, "x25519"), publicOf(t, "x25519")
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	frame := enc.EncodeAll(etcdLike(100<<10), nil)
	badSum := bytes.Clone(frame)
	badSum[len(badSum)-1] ^= 1
	for name, content := range map[string][]byte{
		"nothing":        nil,
		"not zstd":       []byte("plain text is not a zstd frame"),
		"cut":            frame[:len(frame)-1],
		"half":           frame[:len(frame)/2],
		"checksum wrong": badSum,
		"text after it":  append(bytes.Clone(frame), "trailing text"...),
	} {
		if _, err := open(ageOnly(t, public, content), id); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got, err := open(ageOnly(t, public, append(bytes.Clone(frame), frame...)), id); err != nil || len(got) != 200<<10 {
		t.Errorf("two frames, as zstd permits: %d bytes, %v", len(got), err)
	}
}
