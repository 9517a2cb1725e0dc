package seal

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"
)

// GenerateIdentity makes a new age identity and its recipient. The identity is a secret; it must not
// stay on a node. A post-quantum pair also protects against those who store objects today to break
// them later; its recipient has 1959 characters.
func GenerateIdentity(postQuantum bool) (identity, recipient string, err error) {
	if err := refuseApprovedOnly(); err != nil {
		return "", "", err
	}
	if postQuantum {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return "", "", fmt.Errorf("generate identity: %w", err)
		}
		return id.String(), id.Recipient().String(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("generate identity: %w", err)
	}
	return id.String(), id.Recipient().String(), nil
}

// GenerateSigningKey makes a new ed25519 key in the format of OpenSSH: the private key, without
// passphrase, and the line for an authorized_keys or, after a principal, an allowed_signers file.
// The comment must be printable and on one line; it may be empty.
func GenerateSigningKey(comment string) (privatePEM, authorizedKeyLine []byte, err error) {
	if strings.ContainsFunc(comment, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, nil, errors.New("generate signing key: the comment has control characters")
	}
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate signing key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return nil, nil, fmt.Errorf("generate signing key: %w", err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("generate signing key: %w", err)
	}
	line := strings.TrimSpace(authorizedKey(sshPub) + " " + comment)
	return pem.EncodeToMemory(block), []byte(line + "\n"), nil
}
