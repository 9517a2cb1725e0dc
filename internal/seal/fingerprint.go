package seal

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
)

// fingerprint names a recipient in manifests and messages: SHA-256 of its canonical spelling, written
// as OpenSSH writes its own. A post-quantum recipient has 1959 characters, so people compare this.
func fingerprint(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Fingerprint returns the fingerprint of the recipient that belongs to an identity, as Recipients
// reports it. It is "" where the recipient is not known: for a plugin's identity, a file key, and
// whatever does not come from LoadIdentities.
func Fingerprint(id age.Identity) string {
	if known, ok := id.(*knownIdentity); ok {
		return fingerprint(known.canonical)
	}
	return ""
}

// knownIdentity is a secret key with the recipient it belongs to. It stands in for the types of age,
// whose String methods return the secret.
type knownIdentity struct {
	age.Identity
	canonical string // of the recipient
}

// Format shows the fingerprint for every verb and flag.
func (i *knownIdentity) Format(f fmt.State, _ rune) { io.WriteString(f, describeOne(i)) } //nolint:errcheck // fmt keeps the error

// describe names identities for an error, sorted.
func describe(ids []age.Identity) []string {
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, describeOne(id))
	}
	slices.Sort(names)
	return names
}

// describeOne returns the best name that an identity has.
func describeOne(id age.Identity) string {
	switch id := id.(type) {
	case *knownIdentity:
		return fingerprint(id.canonical)
	case *pluginIdentity:
		return "age-plugin-" + id.plugin.Name()
	case fileKeyIdentity:
		return "a file key"
	}
	return "an identity of another program"
}
