package seal

import (
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/hint"
)

// Format is one envelope: how plaintext is compressed and encrypted into an object.
//
// Implementations MUST authenticate every byte: a reader that Open returns may hand out plaintext
// before it has seen the end, but MUST NOT return io.EOF unless the whole envelope is intact and
// nothing follows it. They MUST be safe for concurrent use and MUST use bounded memory.
type Format interface {
	// Name is recorded in manifests and never changes: "age-v1".
	Name() string

	// Extension ends the key of an object, with its leading dot: ".zst.age".
	Extension() string

	// Seal starts an envelope on w for the given recipients. What is written to the Sealer reaches w
	// with a delay; Close writes the rest.
	Seal(w io.Writer, to *Recipients) (*Sealer, error)

	// Open returns the plaintext of the envelope in r. The errors of Open and of the reader wrap
	// ErrNoIdentity (none of ids opens it) or ErrDamaged (it is not what was sealed); an error of r
	// itself is passed on and wraps neither. The caller closes the reader; r is not closed.
	Open(r io.Reader, ids []age.Identity) (io.ReadCloser, error)
}

// formats lists the envelopes that drd reads. The first is the one it writes. A name that was
// released stays in this list for ever.
func formats() []Format {
	return []Format{
		ageV1{},
	}
}

// Default is the envelope that drd writes.
func Default() Format { return formats()[0] }

// FormatByName returns the envelope that a manifest names.
func FormatByName(name string) (Format, error) {
	for _, f := range formats() {
		if f.Name() == name {
			return f, nil
		}
	}
	return nil, hint.New(fmt.Errorf("unknown envelope format %q", name), "a newer drd wrote this object: use that version or a later one")
}
