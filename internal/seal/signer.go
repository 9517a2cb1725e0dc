package seal

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/hint"
)

// Namespace separates drd's signatures from all others made with the same key. ssh-keygen takes it
// with -n.
const Namespace = "drd"

// Signer signs manifests with an SSH key. A signature proves who wrote a manifest and decrypts
// nothing. It is safe for concurrent use.
type Signer struct {
	key ssh.Signer
}

// LoadSigner reads an unencrypted OpenSSH private key: ed25519 (best), ecdsa, or rsa of at least 2048
// bits. It refuses a file that others can read.
func LoadSigner(path string) (*Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load signing key: %w", err)
	}
	if err := checkMode(path, info, "run `chmod 0600 %s`"); err != nil {
		return nil, fmt.Errorf("load signing key: %w", err)
	}
	pem, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("load signing key: %w", err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	var encrypted *ssh.PassphraseMissingError
	if errors.As(err, &encrypted) {
		return nil, hint.New(fmt.Errorf("load signing key %s: it is encrypted with a passphrase, which a daemon cannot type", path),
			"make a key for this node with `drd keygen`, or run `ssh-keygen -p -N '' -f %s`", path)
	}
	if err != nil {
		return nil, fmt.Errorf("load signing key %s: not an OpenSSH private key", path)
	}
	if err := checkSigningKey(key.PublicKey()); err != nil {
		return nil, fmt.Errorf("load signing key %s: %w", path, err)
	}
	return &Signer{key: key}, nil
}

// Sign returns an armored SSH signature of message, as ssh-keygen -Y sign makes it.
func (s *Signer) Sign(message []byte) ([]byte, error) {
	sig, err := sshsig.Sign(bytes.NewReader(message), s.key, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sshsig.Armor(sig), nil
}

// Fingerprint is the "SHA256:…" that ssh-keygen -l shows for the key.
func (s *Signer) Fingerprint() string { return ssh.FingerprintSHA256(s.key.PublicKey()) }

// PublicKey is what others need to trust.
func (s *Signer) PublicKey() ssh.PublicKey { return s.key.PublicKey() }

// checkSigningKey accepts the types of key that both this package and every ssh-keygen can verify.
func checkSigningKey(pub ssh.PublicKey) error {
	switch pub.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return nil
	case ssh.KeyAlgoRSA:
		if bits := rsaBits(pub); bits < minRSABits {
			return fmt.Errorf("an rsa key of %d bits is too weak: at least %d", bits, minRSABits)
		}
		return nil
	}
	return hint.New(fmt.Errorf("keys of type %s cannot sign manifests", pub.Type()), "use an ed25519 key: `drd keygen` makes one")
}

// minRSABits is the least that NIST SP 800-131A permits for signatures.
const minRSABits = 2048

func rsaBits(pub ssh.PublicKey) int {
	if holder, ok := pub.(ssh.CryptoPublicKey); ok {
		if key, ok := holder.CryptoPublicKey().(*rsa.PublicKey); ok {
			return key.N.BitLen()
		}
	}
	return 0
}
