package seal_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/seal"
)

var manifestTime = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

const manifest = `{"version":1,"cluster":"prod"}` + "\n"

func signingKeys(t *testing.T) []keyPair {
	t.Helper()
	return []keyPair{
		sshKeyPair(t, "ed25519", "-t", "ed25519"),
		sshKeyPair(t, "ecdsa-256", "-t", "ecdsa", "-b", "256"),
		sshKeyPair(t, "ecdsa-384", "-t", "ecdsa", "-b", "384"),
		sshKeyPair(t, "ecdsa-521", "-t", "ecdsa", "-b", "521"),
		sshKeyPair(t, "rsa", "-t", "rsa", "-b", "2048"),
	}
}

func loadSigner(t *testing.T, path string) *seal.Signer {
	t.Helper()
	s, err := seal.LoadSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t *testing.T, s *seal.Signer, message string) []byte {
	t.Helper()
	sig, err := s.Sign([]byte(message))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func newSigner(t *testing.T) *seal.Signer {
	t.Helper()
	private, _, err := seal.GenerateSigningKey("test")
	if err != nil {
		t.Fatal(err)
	}
	return loadSigner(t, writeFile(t, "signing.key", string(private)))
}

// TestSSHKeygenAcceptsOurSignatures is the promise that a manifest can be checked without drd.
func TestSSHKeygenAcceptsOurSignatures(t *testing.T) {
	for _, pair := range signingKeys(t) {
		signer := loadSigner(t, pair.identityFile)
		signers := writeFile(t, "allowed_signers", `node-1 namespaces="drd" `+pair.recipient+"\n")
		sig := writeFile(t, "manifest.json.sig", string(sign(t, signer, manifest)))
		args := []string{"-Y", "verify", "-f", signers, "-I", "node-1", "-n", "drd", "-s", sig}
		run(t, []byte(manifest), "ssh-keygen", args...)
		if _, _, err := try(t, []byte(manifest+" "), "ssh-keygen", args...); err == nil {
			t.Errorf("%s: ssh-keygen accepts another manifest", pair.name)
		}
		shown := string(run(t, nil, "ssh-keygen", "-l", "-f", pair.identityFile))
		if !strings.Contains(shown, signer.Fingerprint()) {
			t.Errorf("%s: ssh-keygen -l says %q, we say %q", pair.name, shown, signer.Fingerprint())
		}
	}
}

// TestWeAcceptSSHKeygenSignatures is the way back: what an operator signs by hand.
func TestWeAcceptSSHKeygenSignatures(t *testing.T) {
	for _, pair := range signingKeys(t) {
		for _, hash := range []string{"sha512", "sha256"} {
			sig := run(t, []byte(manifest), "ssh-keygen", "-q", "-Y", "sign", "-O", "hashalg="+hash, "-n", "drd", "-f", pair.identityFile)
			trust, err := seal.ParseTrust([]byte("ops@example,oncall@example "+pair.recipient), "trust")
			if err != nil {
				t.Fatal(err)
			}
			signed, err := trust.Verify([]byte(manifest), sig, manifestTime)
			if err != nil {
				t.Errorf("%s %s: %v", pair.name, hash, err)
				continue
			}
			if signed.Principal != "ops@example,oncall@example" || signed.Fingerprint != loadSigner(t, pair.identityFile).Fingerprint() {
				t.Errorf("%s: signed by %+v", pair.name, signed)
			}
		}
	}
}

func TestRefusedSignatures(t *testing.T) {
	pair := sshKeyPair(t, "ed25519", "-t", "ed25519")
	signer := loadSigner(t, pair.identityFile)
	good := sign(t, signer, manifest)
	trust := seal.TrustOf(signer.PublicKey(), "self")
	foreign := run(t, []byte(manifest), "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", pair.identityFile)
	for _, tc := range []struct {
		name      string
		signature []byte
		message   string
		trust     *seal.Trust
		kind      error
		want      string
	}{
		{"empty", nil, manifest, trust, seal.ErrUnsigned, "the signature is empty"},
		{"space", []byte(" \n"), manifest, trust, seal.ErrUnsigned, "the signature is empty"},
		{"another message", good, manifest + "\n", trust, seal.ErrBadSignature, "did not sign this content"},
		{"another namespace", foreign, manifest, trust, seal.ErrBadSignature, `made for namespace "file", not "drd"`},
		{"unknown key", sign(t, newSigner(t), manifest), manifest, trust, seal.ErrUnknownSigner, "which is not trusted"},
		{"text", []byte("signed, the admin"), manifest, trust, seal.ErrBadSignature, "not an armored SSH signature"},
		{"something before", append([]byte("x\n"), good...), manifest, trust, seal.ErrBadSignature, "not an armored"},
		{"something after", append(bytes.Clone(good), 'x'), manifest, trust, seal.ErrBadSignature, "not an armored"},
		{"two", append(bytes.Clone(good), good...), manifest, trust, seal.ErrBadSignature, "not an armored"},
		{"a header", bytes.Replace(good, []byte("-----\n"), []byte("-----\nComment: x\n\n"), 1), manifest, trust, seal.ErrBadSignature, "not an armored"},
		{"a key", []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), manifest, trust, seal.ErrBadSignature, "not an armored"},
		{"huge", bytes.Repeat([]byte("A"), 1<<20), manifest, trust, seal.ErrBadSignature, "larger than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			signed, err := tc.trust.Verify([]byte(tc.message), tc.signature, manifestTime)
			if !errors.Is(err, tc.kind) || signed != (seal.Signed{}) {
				t.Fatalf("got %v, %+v", err, signed)
			}
			checkError(t, err, tc.want)
		})
	}
	_, err := trust.Verify([]byte(manifest), sign(t, newSigner(t), manifest), manifestTime)
	checkError(t, err, "SHA256:", "add its public key to the trusted signers")
	if _, err := trust.Verify([]byte(manifest), append([]byte("\n"), append(good, '\n')...), manifestTime); err != nil {
		t.Errorf("space around a signature: %v", err)
	}
}

// TestEverySignatureBitCounts flips each bit of the signature inside its armor, and of a short message.
func TestEverySignatureBitCounts(t *testing.T) {
	signer := newSigner(t)
	trust := seal.TrustOf(signer.PublicKey(), "self")
	wire := unarmor(t, sign(t, signer, manifest))
	message := []byte(manifest)
	good := bytes.Clone(wire)
	for _, part := range [][]byte{wire, message} {
		for i := range part {
			for bit := range 8 {
				part[i] ^= 1 << bit
				if _, err := trust.Verify(message, rearmor(wire), manifestTime); !errors.Is(err, seal.ErrBadSignature) && !errors.Is(err, seal.ErrUnknownSigner) {
					t.Errorf("byte %d bit %d: %v", i, bit, err)
				}
				part[i] ^= 1 << bit
			}
		}
	}
	if _, err := trust.Verify(message, rearmor(good), manifestTime); err != nil {
		t.Errorf("the signature itself: %v", err)
	}
}

// TestReservedFieldIsEmpty: the field that a signature does not cover cannot carry anything.
func TestReservedFieldIsEmpty(t *testing.T) {
	signer := newSigner(t)
	wire := unarmor(t, sign(t, signer, manifest))
	namespace := []byte("\x00\x00\x00\x03drd\x00\x00\x00\x00")
	stuffed := bytes.Replace(wire, namespace, []byte("\x00\x00\x00\x03drd\x00\x00\x00\x04evil"), 1)
	if bytes.Equal(stuffed, wire) {
		t.Fatal("the reserved field is elsewhere")
	}
	_, err := seal.TrustOf(signer.PublicKey(), "self").Verify([]byte(manifest), rearmor(stuffed), manifestTime)
	if !errors.Is(err, seal.ErrBadSignature) {
		t.Errorf("got %v", err)
	}
}

func TestLoadSigner(t *testing.T) {
	private, public, err := seal.GenerateSigningKey("node-1")
	if err != nil {
		t.Fatal(err)
	}
	signer := loadSigner(t, writeFile(t, "signing.key", string(private)))
	if got := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " node-1\n"; got != string(public) {
		t.Errorf("got %q, want %q", got, public)
	}
	open := writeFile(t, "open.key", string(private))
	chmod(t, open, 0o640)
	locked := filepath.Join(t.TempDir(), "locked")
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", locked)
	secret, _ := generate(t, false)
	for _, tc := range []struct {
		path string
		want []string
	}{
		{"/nonexistent/signing.key", []string{"/nonexistent/signing.key"}},
		{open, []string{"accessible to others (mode 0640)", "chmod 0600 " + open}},
		{locked, []string{"encrypted with a passphrase", "ssh-keygen -p -N '' -f " + locked}},
		{sshKeyPair(t, "weak", "-t", "rsa", "-b", "1024").identityFile, []string{"rsa key of 1024 bits is too weak"}},
		{writeFile(t, "age.key", secret), []string{"not an OpenSSH private key"}},
		{writeFile(t, "empty.key", ""), []string{"not an OpenSSH private key"}},
	} {
		_, err := seal.LoadSigner(tc.path)
		if err == nil {
			t.Errorf("%s was loaded", tc.path)
			continue
		}
		checkError(t, err, append(tc.want, "load signing key")...)
	}
	if _, _, err := seal.GenerateSigningKey("two\nlines"); err == nil {
		t.Error("a comment of two lines was accepted")
	}
}

// TestLoadTrust reads a file as an operator keeps it.
func TestLoadTrust(t *testing.T) {
	a, b := newSigner(t), newSigner(t)
	line := func(s *seal.Signer) string { return string(ssh.MarshalAuthorizedKey(s.PublicKey())) }
	path := writeFile(t, "allowed_signers", "# nodes\n\nnode-1 "+line(a)+"node-2\tnamespaces=\"drd\"\t"+line(b))
	trust, err := seal.LoadTrust(path)
	if err != nil {
		t.Fatal(err)
	}
	if trust.Len() != 2 {
		t.Errorf("%d entries", trust.Len())
	}
	for name, s := range map[string]*seal.Signer{"node-1": a, "node-2": b} {
		signed, err := trust.Verify([]byte(manifest), sign(t, s, manifest), manifestTime)
		if err != nil || signed != (seal.Signed{Principal: name, Fingerprint: s.Fingerprint()}) {
			t.Errorf("%s: %+v, %v", name, signed, err)
		}
	}
	if err := os.WriteFile(path, []byte("node-1 ssh-ed25519 AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.LoadTrust(path); err == nil || !strings.Contains(err.Error(), "allowed_signers:1: malformed public key") {
		t.Errorf("got %v", err)
	}
	if _, err := seal.LoadTrust("/nonexistent/trust"); err == nil {
		t.Error("loaded nothing")
	}
}

func authorized(s *seal.Signer) []byte { return ssh.MarshalAuthorizedKey(s.PublicKey()) }

func unarmor(tb testing.TB, armored []byte) []byte {
	tb.Helper()
	block, _ := pem.Decode(armored)
	if block == nil {
		tb.Fatal("not armored")
	}
	return block.Bytes
}

func rearmor(wire []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: wire})
}
