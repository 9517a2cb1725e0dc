package repo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

// Signed is a manifest as it is written: exact bytes and the signature over them.
type Signed struct {
	Manifest  *Manifest // what Bytes say
	Bytes     []byte    // content of manifest.json
	Signature []byte    // content of manifest.json.sig, armored
}

// Sign validates a manifest, renders it and signs what was rendered. The Manifest in the result is
// read back from the bytes: what a reader will see, not what the caller passed.
func Sign(m *Manifest, s *seal.Signer) (*Signed, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("sign %s: %w", m.ID, err)
	}
	b, err := EncodeJSON(m)
	if err != nil {
		return nil, fmt.Errorf("sign %s: render manifest: %w", m.ID, err)
	}
	read, err := DecodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("sign %s: read back what was rendered: %w", m.ID, err)
	}
	signature, err := s.Sign(b)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", m.ID, err)
	}
	return &Signed{Manifest: read, Bytes: b, Signature: signature}, nil
}

// Digest is the hex SHA-256 of the manifest's bytes: what the next manifest of this node carries
// as Previous.
func (s *Signed) Digest() string { return Digest(s.Bytes) }

// Digest is the hex SHA-256 of a signed document, by which others name it.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// EncodeJSON renders a document as all that drd signs is written: indented, for people, with a line break at its end.
func EncodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // people read it
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// DecodeManifest reads a manifest and validates it. At most 64 KiB of UTF-8 JSON is accepted, every
// key once; fields this drd does not know are ignored, wrong types are not. A manifest of a later
// format is an error wrapping ErrNewerFormat.
func DecodeManifest(b []byte) (*Manifest, error) {
	if err := CheckJSON(b, maxManifest); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return decodeManifest(b)
}

// decodeManifest is DecodeManifest for what CheckJSON has accepted.
func decodeManifest(b []byte) (*Manifest, error) {
	if err := checkFormat(b); err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	m.normalize()
	return m, nil
}

// CheckJSON refuses what a signed document must not be: larger than most bytes, not UTF-8, not JSON, or with a key
// twice in one object.
func CheckJSON(b []byte, most int) error {
	if len(b) > most {
		return fmt.Errorf("larger than %d bytes", most)
	}
	if !utf8.Valid(b) {
		return errors.New("not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(b, &whole); err != nil { // bounds the nesting, too
		return fmt.Errorf("not JSON: %w", err)
	}
	return uniqueKeys(json.NewDecoder(bytes.NewReader(b)))
}

// checkFormat looks at the format alone: in a later one the other fields may have other types.
func checkFormat(b []byte) error {
	var probe struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &probe); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if probe.Format < 1 {
		return errors.New("manifest: format is missing")
	}
	if probe.Format > ManifestFormat {
		return hint.New(fmt.Errorf("%w: format %d, known are up to %d", ErrNewerFormat, probe.Format, ManifestFormat),
			"upgrade drd to the version that wrote this repository")
	}
	return nil
}

// uniqueKeys refuses an object with the same key twice, in whatever case. JSON leaves open which
// of them counts, so two readers could see two manifests under one signature.
func uniqueKeys(dec *json.Decoder) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	open, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	seen := make(map[string]bool)
	for dec.More() {
		if open == '{' {
			if err := uniqueKey(dec, seen); err != nil {
				return err
			}
		}
		if err := uniqueKeys(dec); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

func uniqueKey(dec *json.Decoder, seen map[string]bool) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	key := fmt.Sprint(token)
	folded := strings.ToLower(strings.ToUpper(key)) // encoding/json matches keys without regard to case
	if seen[folded] {
		return fmt.Errorf("key %.80q occurs twice", key)
	}
	seen[folded] = true
	return nil
}

// normalize makes equal manifests equal values: what is empty is nil, times are in UTC.
func (m *Manifest) normalize() {
	m.CaptureStart, m.CaptureEnd = m.CaptureStart.UTC(), m.CaptureEnd.UTC()
	if m.Slot != nil {
		slot := m.Slot.UTC()
		m.Slot = &slot
	}
	if len(m.Compared) == 0 {
		m.Compared = nil
	}
	if len(m.Alarms) == 0 {
		m.Alarms = nil
	}
	if len(m.Distro) == 0 {
		m.Distro = nil
	}
}
