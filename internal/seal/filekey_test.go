package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/seal"
)

// TestFileKeyOpensOneObject: a node that holds public keys only reads back what it wrote, and nothing
// else.
func TestFileKeyOpensOneObject(t *testing.T) {
	for _, pq := range []bool{false, true} {
		_, recipients := newIdentity(t, pq)
		var b bytes.Buffer
		key := sealTo(t, &b, recipients, []byte("content"))
		if got, err := open(b.Bytes(), key.Identity()); err != nil || string(got) != "content" {
			t.Errorf("post-quantum %v: got %q, %v", pq, got, err)
		}
		other := sealed(t, recipients, []byte("other content"))
		_, err := open(other, key.Identity())
		if !errors.Is(err, seal.ErrDamaged) || !strings.Contains(err.Error(), "file key belongs to another object") {
			t.Errorf("post-quantum %v: another object: %v", pq, err)
		}
	}
}

func TestZeroFileKey(t *testing.T) {
	var zero seal.FileKey
	_, recipients := newIdentity(t, false)
	if _, err := open(sealed(t, recipients, nil), zero.Identity()); !errors.Is(err, seal.ErrNoIdentity) {
		t.Errorf("got %v", err)
	}
	if !zero.IsZero() || !zero.Equal(seal.FileKey{}) || zero.Encode() != nil {
		t.Error("the zero key is not zero")
	}
}

func TestFileKeyFile(t *testing.T) {
	_, recipients := newIdentity(t, false)
	var b bytes.Buffer
	key := sealTo(t, &b, recipients, []byte("content"))
	encoded := string(key.Encode())
	if !strings.HasPrefix(encoded, "DRD-FILE-KEY-1 ") || !strings.HasSuffix(encoded, "==\n") || len(encoded) != 40 {
		t.Errorf("a key file of %d bytes is not as documented", len(encoded))
	}
	read, err := seal.ReadFileKey(writeFile(t, "key", encoded))
	if err != nil || !read.Equal(key) || read.IsZero() {
		t.Fatalf("the key did not come back: %v", err)
	}
	if got, err := open(b.Bytes(), read.Identity()); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"", "DRD-FILE-KEY-1", "DRD-FILE-KEY-1 ", encoded[:30], encoded + encoded, "DRD-FILE-KEY-2" + encoded[14:], encoded[15:], "DRD-FILE-KEY-1 " + strings.Repeat("A", 32)} {
		_, err := seal.ReadFileKey(writeFile(t, "bad", bad))
		if err == nil {
			t.Errorf("read a key from %d bytes", len(bad))
			continue
		}
		checkError(t, err, "not a file key", "DRD-FILE-KEY-1 and 24 characters")
		if strings.Contains(err.Error(), encoded[15:25]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	if _, err := seal.ReadFileKey("/nonexistent/key"); err == nil {
		t.Error("read a key from nowhere")
	}
}

// TestUnlock is the ceremony: the header travels to the identity, one file key travels back.
func TestUnlock(t *testing.T) {
	id, recipients := newIdentity(t, true)
	var b bytes.Buffer
	key := sealTo(t, &b, recipients, etcdLike(1<<20))
	header, err := seal.Header(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if len(header) > 4096 || !bytes.HasPrefix(b.Bytes(), header) {
		t.Errorf("the header has %d bytes", len(header))
	}
	got, err := seal.Unlock(header, []age.Identity{id})
	if err != nil || !got.Equal(key) {
		t.Fatalf("another key came back: %v", err)
	}
	stranger, _ := newIdentity(t, true)
	if _, err := seal.Unlock(header, []age.Identity{stranger}); !errors.Is(err, seal.ErrNoIdentity) {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := seal.Unlock(header[:len(header)-5], []age.Identity{id}); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("half a header: %v", err)
	}
	if _, err := seal.Header(strings.NewReader("a snapshot that nobody sealed")); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("no header: %v", err)
	}
}

// TestFileKeyIsNeverShown prints a key in every way that a log or an error might.
func TestFileKeyIsNeverShown(t *testing.T) {
	key, err := seal.ParseFileKey([]byte("DRD-FILE-KEY-1 c2VjcmV0LXNlY3JldC0hIQ==")) // "secret-secret-!!"
	if err != nil {
		t.Fatal(err)
	}
	inside := struct {
		Key     seal.FileKey
		private seal.FileKey
	}{key, key}
	var out bytes.Buffer
	for _, value := range []any{key, &key, inside, &inside, []seal.FileKey{key}, map[string]any{"k": key}, key.Identity()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%U", "% x"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(encoded)
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "value", value)
	}
	fmt.Fprintln(&out, key.String(), key.GoString(), key.LogValue())
	if text, err := key.MarshalText(); err != nil || string(text) != "redacted" {
		t.Errorf("as text: %s, %v", text, err)
	}
	shown := strings.ToLower(out.String())
	for _, form := range []string{"secret", "c2vjcmv0", "736563726574", "73 65 63 72", "115 101 99", "163 145 143", "u+0073", "s e c r", "73, 0x65", "115,101,99"} {
		if strings.Contains(shown, form) {
			t.Errorf("the key shows as %q: %s", form, shown[max(0, strings.Index(shown, form)-200):strings.Index(shown, form)+50])
		}
	}
	if !strings.Contains(shown, "redacted") {
		t.Error("nothing was printed")
	}
}
