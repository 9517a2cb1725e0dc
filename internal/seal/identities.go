package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/hint"
)

// passphraseTries is how often a person may mistype before LoadIdentities gives up.
const passphraseTries = 3

// LoadIdentities reads identity files: age key files with native and plugin identities, such files
// encrypted with a passphrase, and SSH private keys (ed25519, rsa).
//
// An encrypted file is opened here and now, so that a wrong passphrase shows before anything else
// starts; prompt asks for it. With a nil prompt an encrypted file is an error. The identities may be
// used by several goroutines at once; those of plugins take turns.
func LoadIdentities(paths []string, prompt Prompter) ([]age.Identity, error) {
	if err := refuseApprovedOnly(); err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, errors.New("load identities: no identity file given")
	}
	var all []age.Identity
	turn := new(sync.Mutex)
	for _, path := range paths {
		content, err := readSmall(path)
		if err != nil {
			return nil, fmt.Errorf("load identity: %w", err)
		}
		ids, err := (&identityFile{path: path, prompt: prompt, turn: turn}).parse(content)
		if err != nil {
			return nil, fmt.Errorf("load identity %s: %w", path, err)
		}
		all = append(all, ids...)
	}
	return all, nil
}

// identityFile is one file while it is being read.
type identityFile struct {
	path   string
	prompt Prompter
	turn   *sync.Mutex // of all plugins
}

func (f *identityFile) parse(content []byte) ([]age.Identity, error) {
	trimmed := bytes.TrimSpace(content)
	switch {
	case bytes.HasPrefix(trimmed, []byte(armor.Header)):
		binary, err := io.ReadAll(io.LimitReader(armor.NewReader(bytes.NewReader(trimmed)), maxKeyFile))
		if err != nil {
			return nil, errors.New("malformed armored age file")
		}
		return f.parseEncrypted(binary)
	case bytes.HasPrefix(content, []byte("age-encryption.org/")):
		return f.parseEncrypted(content)
	}
	return f.parsePlain(content)
}

// parsePlain reads what is not encrypted with age: lines, or one SSH key.
func (f *identityFile) parsePlain(content []byte) ([]age.Identity, error) {
	if pem := bytes.TrimSpace(content); bytes.HasPrefix(pem, []byte("-----BEGIN")) {
		id, err := f.parseSSH(pem)
		if err != nil {
			return nil, err
		}
		return []age.Identity{id}, nil
	}
	return f.parseLines(content)
}

func (f *identityFile) parseLines(content []byte) ([]age.Identity, error) {
	var ids []age.Identity
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := f.parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, errors.New("there is no identity in it")
	}
	return ids, nil
}

// parseLine reads one identity. Errors never show the line.
func (f *identityFile) parseLine(line string) (age.Identity, error) {
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
		id, err := age.ParseHybridIdentity(line)
		if err != nil {
			return nil, errors.New("malformed post-quantum age identity")
		}
		return &knownIdentity{id, id.Recipient().String()}, nil
	case strings.HasPrefix(line, "AGE-SECRET-KEY-1"):
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, errors.New("malformed age identity")
		}
		return &knownIdentity{id, id.Recipient().String()}, nil
	case strings.HasPrefix(line, "AGE-PLUGIN-"):
		return newPluginIdentity(line, f.prompt, f.turn)
	case strings.HasPrefix(line, strings.TrimSpace(keyFileMark)):
		return nil, hint.New(errors.New("this is a file key, not an identity"), "give it with --file-key")
	case strings.HasPrefix(line, "age1"), strings.HasPrefix(line, "ssh-"):
		return nil, hint.New(errors.New("this is a recipient (public key), not an identity"), "give the file that `drd keygen` or age-keygen made, which has AGE-SECRET-KEY in it")
	}
	return nil, errors.New("not an age identity")
}

// parseEncrypted opens a passphrase-encrypted file and reads what is inside.
func (f *identityFile) parseEncrypted(sealed []byte) ([]age.Identity, error) {
	if f.prompt == nil {
		return nil, errNeedsPerson("the file is encrypted with a passphrase")
	}
	content, err := f.ask(func(passphrase string) ([]byte, error) { return openWithPassphrase(sealed, passphrase) })
	if err != nil {
		return nil, err
	}
	return f.parsePlain(content)
}

// openWithPassphrase returns errWrongPassphrase when another try makes sense.
func openWithPassphrase(sealed []byte, passphrase string) ([]byte, error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, errWrongPassphrase
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), id)
	var noMatch *age.NoIdentityMatchError
	if errors.As(err, &noMatch) {
		if len(noMatch.StanzaTypes) == 1 && noMatch.StanzaTypes[0] == "scrypt" {
			return nil, errWrongPassphrase
		}
		return nil, errors.New("the file is encrypted, but not with a passphrase: decrypt it with age first")
	}
	if err != nil {
		return nil, fmt.Errorf("open encrypted identity file: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(plain, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read encrypted identity file: %w", err)
	}
	return content, nil
}

func (f *identityFile) parseSSH(pem []byte) (age.Identity, error) {
	key, err := ssh.ParseRawPrivateKey(pem)
	var encrypted *ssh.PassphraseMissingError
	if errors.As(err, &encrypted) {
		key, err = f.decryptSSH(pem)
	}
	if err != nil {
		return nil, fmt.Errorf("read SSH private key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("read SSH private key: %w", err)
	}
	id, err := identityOfSSH(key)
	if err != nil {
		return nil, err
	}
	return &knownIdentity{id, authorizedKey(signer.PublicKey())}, nil
}

func (f *identityFile) decryptSSH(pem []byte) (any, error) {
	if f.prompt == nil {
		return nil, errNeedsPerson("the key is encrypted with a passphrase")
	}
	var key any
	_, err := f.ask(func(passphrase string) ([]byte, error) {
		var err error
		key, err = ssh.ParseRawPrivateKeyWithPassphrase(pem, []byte(passphrase))
		_, noise := errors.AsType[asn1.SyntaxError](err) // what a wrong one makes of a PEM file once in some thousand times
		if noise || errors.Is(err, x509.IncorrectPasswordError) {
			err = errWrongPassphrase
		}
		return nil, err
	})
	return key, err
}

func identityOfSSH(key any) (age.Identity, error) {
	switch key := key.(type) {
	case *ed25519.PrivateKey:
		return agessh.NewEd25519Identity(*key)
	case ed25519.PrivateKey:
		return agessh.NewEd25519Identity(key)
	case *rsa.PrivateKey:
		return agessh.NewRSAIdentity(key)
	}
	return nil, errors.New("this type of SSH key cannot open objects: only ed25519 and rsa can")
}

// ask asks for the passphrase of the file until open accepts it.
func (f *identityFile) ask(open func(passphrase string) ([]byte, error)) ([]byte, error) {
	for range passphraseTries {
		passphrase, err := f.prompt.Secret("passphrase for " + f.path)
		if err != nil {
			return nil, fmt.Errorf("ask for passphrase: %w", err)
		}
		content, err := open(passphrase)
		if errors.Is(err, errWrongPassphrase) {
			continue
		}
		return content, err
	}
	return nil, errWrongPassphrase
}

var errWrongPassphrase = errors.New("wrong passphrase")

func errNeedsPerson(what string) error {
	return hint.New(errors.New(what+", and nobody can be asked for it here"), "run this on a terminal, or give a file that is not encrypted")
}
