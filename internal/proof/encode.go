package proof

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

var (
	// ErrNewerFormat is wrapped for a record of a later format than RecordFormat.
	ErrNewerFormat = errors.New("record format is newer than this drd")
	// ErrTooLarge is wrapped for a record that takes more than repo.MaxDrillRecord. Split makes smaller ones.
	ErrTooLarge = errors.New("record is too large")
)

// NewID names the record of a run of a host at a time: "20261122T033000Z-node1". Characters that a key should not have
// become hyphens.
func NewID(at time.Time, host string) string { return repo.DrillID(at, host) }

// Signed is a record as it is written: exact bytes and the signature over them.
type Signed struct {
	Record    *Record // what Bytes say
	Bytes     []byte  // content of <id>.json
	Signature []byte  // content of <id>.json.sig, armored
}

// Digest is the hex SHA-256 of the record's bytes.
func (s *Signed) Digest() string { return repo.Digest(s.Bytes) }

// Sign renders a record and signs what was rendered; rec itself is not changed. Texts are cut and made printable on the way, for
// they quote stores and servers. A run during which the clock was set back ends when it started. The Record in the result is
// read back from the bytes. An error wraps ErrTooLarge where Split helps.
func Sign(rec *Record, s *seal.Signer) (*Signed, error) {
	b, err := render(rec)
	if err != nil {
		return nil, fmt.Errorf("sign drill record %s: %w", rec.ID, err)
	}
	read, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("sign drill record %s: read back what was rendered: %w", rec.ID, err)
	}
	signature, err := s.Sign(b)
	if err != nil {
		return nil, fmt.Errorf("sign drill record %s: %w", rec.ID, err)
	}
	return &Signed{Record: read, Bytes: b, Signature: signature}, nil
}

// render returns the bytes of a cleaned copy of the record.
func render(rec *Record) ([]byte, error) {
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, err
	}
	tidy := new(Record) // a deep copy: the caller goes on using its own
	if err := json.Unmarshal(b, tidy); err != nil {
		return nil, err
	}
	tidy.clean()
	if b, err = repo.EncodeJSON(tidy); err != nil {
		return nil, err
	}
	if len(b) > repo.MaxDrillRecord {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(b), repo.MaxDrillRecord)
	}
	return b, nil
}

// Decode reads a record and validates it: at most 256 KiB of UTF-8 JSON, every key once; fields this drd does not know
// are ignored. A record of a later format is an error wrapping ErrNewerFormat. It says nothing of the signature.
func Decode(b []byte) (*Record, error) {
	if err := repo.CheckJSON(b, repo.MaxDrillRecord); err != nil {
		return nil, fmt.Errorf("drill record: %w", err)
	}
	if err := checkKind(b); err != nil {
		return nil, err
	}
	rec := new(Record)
	if err := json.Unmarshal(b, rec); err != nil {
		return nil, fmt.Errorf("drill record: %w", err)
	}
	if err := rec.Validate(); err != nil {
		return nil, err
	}
	return rec, nil
}

// checkKind looks at kind and format alone: in a later format the other fields may have other types.
func checkKind(b []byte) error {
	var probe struct {
		Kind   string `json:"kind"`
		Format int    `json:"format"`
	}
	if err := json.Unmarshal(b, &probe); err != nil {
		return fmt.Errorf("drill record: %w", err)
	}
	switch {
	case probe.Kind != RecordKind:
		return fmt.Errorf("drill record: kind %.40q is not %s", probe.Kind, RecordKind)
	case probe.Format < 1:
		return errors.New("drill record: format is missing")
	case probe.Format > RecordFormat:
		return hint.New(fmt.Errorf("%w: format %d, known are up to %d", ErrNewerFormat, probe.Format, RecordFormat),
			"upgrade drd to the version that wrote this record")
	}
	return nil
}

// Split halves the drills of a record that is too large, as often as it takes, into records of the same run. They have the
// same ID, which Store tells apart, and the last has the coverage. Of a single drill that is still too large the Kubernetes census goes.
func Split(rec *Record) []*Record {
	if _, err := render(rec); !errors.Is(err, ErrTooLarge) {
		return []*Record{rec}
	}
	first, second := *rec, *rec
	if half := len(rec.Drills) / 2; half > 0 {
		first.Drills, second.Drills = rec.Drills[:half], rec.Drills[half:]
		first.Coverage = nil
		return append(Split(&first), Split(&second)...)
	}
	if len(rec.Drills) == 1 && rec.Drills[0].Kubernetes != nil {
		one := rec.Drills[0]
		one.Kubernetes = nil
		first.Drills = []Drill{one}
	}
	return []*Record{&first}
}
