// Package sealtest makes the keys that a test needs: those of a node, which seals and signs, and those of the person who
// restores. They are real keys in real files, loaded as the program loads them.
package sealtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/seal"
)

// Principal is the name of the signer in the file of trusted signers.
const Principal = "node-1"

// Keys are the keys of one node and of the person who restores what it took.
type Keys struct {
	Signer     *seal.Signer
	Trust      *seal.Trust // in Signer, as Principal
	Recipients *seal.Recipients
	Ring       *seal.KeyRing  // for file keys, empty at first
	Identities []age.Identity // those of Recipients

	// The files that all this was read from.
	SigningFile, TrustFile, RecipientsFile, IdentityFile string
}

// New makes the keys of one test.
func New(tb testing.TB) *Keys {
	tb.Helper()
	return In(tb, tb.TempDir())
}

// In is New for keys that outlive a process: what dir lacks is made there, and what it holds is loaded. It calls no
// method of tb but Helper and Fatal.
func In(tb testing.TB, dir string) *Keys {
	tb.Helper()
	k := &Keys{
		SigningFile: filepath.Join(dir, "signing.key"), TrustFile: filepath.Join(dir, "allowed_signers"),
		RecipientsFile: filepath.Join(dir, "recipients.txt"), IdentityFile: filepath.Join(dir, "identity.txt"),
	}
	err := k.generate()
	if err == nil {
		err = k.load(filepath.Join(dir, "keys"))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// generate writes the identity last: with it, all is there.
func (k *Keys) generate() error {
	if _, err := os.Stat(k.IdentityFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	private, public, err := seal.GenerateSigningKey(Principal)
	if err != nil {
		return err
	}
	identity, recipient, err := seal.GenerateIdentity(false)
	if err != nil {
		return err
	}
	for _, f := range []struct{ path, content string }{
		{k.SigningFile, string(private)}, {k.TrustFile, Principal + " " + string(public)},
		{k.RecipientsFile, recipient + "\n"}, {k.IdentityFile, identity + "\n"},
	} {
		if err := os.WriteFile(f.path, []byte(f.content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keys) load(ring string) (err error) {
	if k.Signer, err = seal.LoadSigner(k.SigningFile); err != nil {
		return err
	}
	if k.Trust, err = seal.LoadTrust(k.TrustFile); err != nil {
		return err
	}
	if k.Recipients, err = seal.ParseRecipients(nil, k.RecipientsFile); err != nil {
		return err
	}
	if k.Identities, err = seal.LoadIdentities([]string{k.IdentityFile}, nil); err != nil {
		return err
	}
	k.Ring, err = seal.OpenKeyRing(ring)
	return err
}
