package seal

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/hint"
)

var (
	// ErrUnsigned is wrapped when there is no signature at all.
	ErrUnsigned = errors.New("not signed")
	// ErrUnknownSigner is wrapped when the signing key is not trusted, or not for the namespace "drd".
	ErrUnknownSigner = errors.New("unknown signer")
	// ErrBadSignature is wrapped when a signature is malformed, made for another purpose, or does not
	// belong to the message.
	ErrBadSignature = errors.New("bad signature")
	// ErrExpiredSigner is wrapped when the key was not valid at the time in question.
	ErrExpiredSigner = errors.New("signer is not valid at this time")
)

// Trust is the set of keys whose signatures are believed, as in an allowed_signers file. It never
// changes and may be used by several goroutines at once.
type Trust struct {
	signers []allowedSigner
}

// Signed says who signed a message.
type Signed struct {
	Principal   string // the first field of the allowed_signers line
	Fingerprint string // "SHA256:…", as ssh-keygen -l shows it
}

// LoadTrust reads an allowed_signers file, as ssh-keygen(1) describes it.
func LoadTrust(path string) (*Trust, error) {
	content, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("load trusted signers: %w", err)
	}
	return ParseTrust(content, path)
}

// ParseTrust reads the content of an allowed_signers file; errors name it by name and line. Lines that
// cannot be honoured as written, such as certificate authorities, are errors and not skipped.
func ParseTrust(b []byte, name string) (*Trust, error) {
	t := &Trust{}
	for i, line := range bytes.Split(b, []byte("\n")) {
		text := string(bytes.TrimSpace(line))
		if text == "" || text[0] == '#' {
			continue
		}
		signer, err := parseAllowedSigner(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		t.signers = append(t.signers, signer)
	}
	if len(t.signers) == 0 {
		return nil, hint.New(fmt.Errorf("%s trusts nobody", name), "write one line per signer: a name, then its public key (ssh-ed25519 …)")
	}
	return t, nil
}

// TrustOf trusts one key, without limits. A node trusts its own.
func TrustOf(pub ssh.PublicKey, principal string) *Trust {
	return &Trust{signers: []allowedSigner{{principal: principal, key: pub}}}
}

// Len is the number of entries.
func (t *Trust) Len() int { return len(t.signers) }

// Verify checks an armored signature of message made in the namespace "drd". The time at is when the
// message says that it was written: a key's validity is judged by it, not by today's date. Errors
// wrap one of ErrUnsigned, ErrBadSignature, ErrUnknownSigner and ErrExpiredSigner.
func (t *Trust) Verify(message, signature []byte, at time.Time) (Signed, error) {
	return t.VerifyKnown(nil, message, signature, at)
}

// VerifyKnown is Verify with a memory of signatures that were found good before; nil: there is none.
func (t *Trust) VerifyKnown(known Known, message, signature []byte, at time.Time) (Signed, error) {
	sig, err := parseSignature(signature)
	if err != nil {
		return Signed{}, err
	}
	name := ssh.FingerprintSHA256(sig.PublicKey)
	entries := t.entriesOf(sig.PublicKey)
	if len(entries) == 0 {
		return Signed{}, hint.New(fmt.Errorf("%w: signed by key %s, which is not trusted", ErrUnknownSigner, name),
			"if this key is yours, add its public key to the trusted signers")
	}
	if err := verify(known, message, signature, sig, entries[0].key); err != nil {
		return Signed{}, fmt.Errorf("%w: key %s did not sign this content", ErrBadSignature, name)
	}
	for _, e := range entries {
		if err = e.permits(at); err == nil {
			return Signed{Principal: e.principal, Fingerprint: name}, nil
		}
	}
	return Signed{}, fmt.Errorf("key %s: %w", name, err)
}

// verify checks the arithmetic. The key is the one in the signature.
func verify(known Known, message, armored []byte, sig *sshsig.Signature, key ssh.PublicKey) error {
	if known == nil {
		return sshsig.Verify(bytes.NewReader(message), sig, key, sig.HashAlgorithm, Namespace)
	}
	digest := digestOf(message, armored)
	if known.Good(digest) {
		return nil
	}
	if err := sshsig.Verify(bytes.NewReader(message), sig, key, sig.HashAlgorithm, Namespace); err != nil {
		return err
	}
	known.Learn(digest)
	return nil
}

func (t *Trust) entriesOf(pub ssh.PublicKey) []allowedSigner {
	wire := pub.Marshal()
	var found []allowedSigner
	for _, s := range t.signers {
		if bytes.Equal(s.key.Marshal(), wire) {
			found = append(found, s)
		}
	}
	return found
}

// maxSignature bounds what is parsed as a signature, in bytes; the largest real one (rsa 16384) has
// about 6 KiB.
const maxSignature = 64 << 10

// parseSignature is stricter than ssh-keygen: exactly one block, nothing around it, and no bytes in it
// that the signature does not account for.
func parseSignature(armored []byte) (*sshsig.Signature, error) {
	trimmed := bytes.TrimSpace(armored)
	switch {
	case len(trimmed) == 0:
		return nil, fmt.Errorf("%w: the signature is empty", ErrUnsigned)
	case len(trimmed) > maxSignature:
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrBadSignature, maxSignature)
	}
	block, rest := pem.Decode(trimmed)
	if block == nil || block.Type != sshsig.PEMType || len(block.Headers) > 0 || len(rest) > 0 || !bytes.HasPrefix(trimmed, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("%w: not an armored SSH signature", ErrBadSignature)
	}
	sig, err := sshsig.ParseSignature(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	if !bytes.Equal(sig.Marshal(), block.Bytes) {
		return nil, fmt.Errorf("%w: it holds more than a signature", ErrBadSignature)
	}
	if sig.Namespace != Namespace {
		return nil, fmt.Errorf("%w: made for namespace %q, not %q", ErrBadSignature, sig.Namespace, Namespace)
	}
	return sig, nil
}
