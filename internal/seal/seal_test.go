package seal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/seal"
)

// newIdentity makes a key pair and parses both halves of it.
func newIdentity(tb testing.TB, postQuantum bool) (age.Identity, *seal.Recipients) {
	tb.Helper()
	secret, public, err := seal.GenerateIdentity(postQuantum)
	if err != nil {
		tb.Fatal(err)
	}
	ids, err := seal.LoadIdentities([]string{writeFile(tb, "identity.txt", secret+"\n")}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return ids[0], parseRecipients(tb, public)
}

func parseRecipients(tb testing.TB, inline ...string) *seal.Recipients {
	tb.Helper()
	r, err := seal.ParseRecipients(inline, "")
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// sealTo seals plain and returns the object's file key.
func sealTo(tb testing.TB, w io.Writer, to *seal.Recipients, plain []byte) seal.FileKey {
	tb.Helper()
	s, err := seal.Default().Seal(w, to)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := s.Write(plain); err != nil {
		tb.Fatal(err)
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	return s.FileKey()
}

func sealed(tb testing.TB, to *seal.Recipients, plain []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	sealTo(tb, &b, to, plain)
	return b.Bytes()
}

// open reads a whole sealed object.
func open(object []byte, ids ...age.Identity) ([]byte, error) {
	return openFrom(bytes.NewReader(object), ids...)
}

func openFrom(r io.Reader, ids ...age.Identity) ([]byte, error) {
	plain, err := seal.Default().Open(r, ids)
	if err != nil {
		return nil, err
	}
	defer plain.Close() //nolint:errcheck // it frees memory only
	return io.ReadAll(plain)
}

// writeFile writes a 0600 file into a directory of its own and returns its path.
func writeFile(tb testing.TB, name, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func shaBase64(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

func unhex(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
