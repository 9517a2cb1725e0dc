package seal

import (
	"crypto/fips140"
	"errors"

	"github.com/drd-project/drd/internal/hint"
)

// refuseApprovedOnly fails when Go refuses every algorithm that FIPS 140-3 does not approve. The age
// format is made of X25519 and ChaCha20-Poly1305, so nothing can work then; and filippo.io/hpke v0.4.0
// does not return an error but searches for a usable key for ever.
func refuseApprovedOnly() error {
	if !fips140.Enforced() {
		return nil
	}
	return hint.New(errors.New("GODEBUG=fips140=only forbids X25519 and ChaCha20-Poly1305, of which the age format is made"),
		"run with GODEBUG=fips140=on: it keeps the validated module and permits the age format")
}
