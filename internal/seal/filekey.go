package seal

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/hint"
)

const (
	fileKeySize = 16 // bytes, fixed by the age format
	keyFileMark = "DRD-FILE-KEY-1 "
	redacted    = "redacted"
)

// FileKey is the key of one object. It opens that object and no other. The zero value opens nothing.
//
// The key is inside a function because fmt follows everything else: where a FileKey is an unexported
// field, fmt cannot call its Format method, and a wrong verb makes it print what a pointer points to.
type FileKey struct {
	reveal func() [fileKeySize]byte // nil: no key
}

// Identity opens the object of this key with Format.Open, and fails for every other object.
func (k FileKey) Identity() age.Identity { return fileKeyIdentity{k} }

// IsZero reports whether k holds no key.
func (k FileKey) IsZero() bool { return k.reveal == nil }

// Equal compares two keys in constant time.
func (k FileKey) Equal(other FileKey) bool {
	if k.IsZero() || other.IsZero() {
		return k.IsZero() && other.IsZero()
	}
	a, b := k.reveal(), other.reveal()
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Encode returns the content of a key file: one line "DRD-FILE-KEY-1 <base64>". It is a secret.
func (k FileKey) Encode() []byte {
	if k.IsZero() {
		return nil
	}
	key := k.reveal()
	return []byte(keyFileMark + base64.StdEncoding.EncodeToString(key[:]) + "\n")
}

// ReadFileKey reads a key file that Encode made.
func ReadFileKey(path string) (FileKey, error) {
	content, err := readSmall(path)
	if err != nil {
		return FileKey{}, fmt.Errorf("read file key: %w", err)
	}
	key, err := ParseFileKey(content)
	if err != nil {
		return FileKey{}, fmt.Errorf("read file key %s: %w", path, err)
	}
	return key, nil
}

// ParseFileKey reads the content of a key file. Space around it is ignored.
func ParseFileKey(content []byte) (FileKey, error) {
	text, marked := bytes.CutPrefix(bytes.TrimSpace(content), []byte(keyFileMark))
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if !marked || err != nil || len(raw) != fileKeySize {
		return FileKey{}, hint.New(errors.New("not a file key"), "a key file is one line, DRD-FILE-KEY-1 and 24 characters")
	}
	return newFileKey(raw), nil
}

// Header reads the head of a sealed object: what Unlock needs to recover its file key elsewhere. It is
// not secret, at most 2 MiB, and mostly under 4 KiB.
func Header(r io.Reader) ([]byte, error) {
	src := &source{r: r}
	header, err := age.ExtractHeader(src)
	if err != nil {
		return nil, fmt.Errorf("read header of sealed object: %w", src.blame(err))
	}
	return header, nil
}

// Unlock recovers the file key of one object from its header. It runs where the identity is, so that
// the identity never has to go where the object is. Its errors are those of Format.Open.
func Unlock(header []byte, ids []age.Identity) (FileKey, error) {
	if err := refuseApprovedOnly(); err != nil {
		return FileKey{}, err
	}
	keys := &anyOf{ids: ids}
	raw, err := age.DecryptHeader(header, keys)
	if err != nil {
		return FileKey{}, fmt.Errorf("unlock sealed object: %w", keys.explain(&source{}, err))
	}
	if len(raw) != fileKeySize { // a plugin can answer anything
		return FileKey{}, fmt.Errorf("unlock sealed object: a file key of %d bytes instead of %d", len(raw), fileKeySize)
	}
	return newFileKey(raw), nil
}

// newFileKey copies raw, which has fileKeySize bytes.
func newFileKey(raw []byte) FileKey {
	key := [fileKeySize]byte(raw)
	return FileKey{func() [fileKeySize]byte { return key }}
}

// Format says "redacted" for every verb and flag.
func (FileKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) } //nolint:errcheck // fmt keeps the error

// String, GoString, LogValue, MarshalJSON and MarshalText never show the key.
func (FileKey) String() string { return redacted }

// GoString: see String.
func (FileKey) GoString() string { return redacted }

// LogValue: see String.
func (FileKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON: see String.
func (FileKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText: see String.
func (FileKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// fileKeyIdentity answers every header with its key; whether the key fits shows in the header's MAC. It
// does what age.NewInjectedFileKeyIdentity does, whose value would show the key when it is printed.
type fileKeyIdentity struct{ key FileKey }

func (i fileKeyIdentity) Unwrap([]*age.Stanza) ([]byte, error) {
	if i.key.IsZero() {
		return nil, age.ErrIncorrectIdentity
	}
	key := i.key.reveal()
	return key[:], nil
}
