package seal_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/drd-project/drd/internal/seal"
)

const passphrase = "correct horse battery staple"

// TestIdentityFileWithPassphrase takes a file that age itself encrypted, armored and not.
func TestIdentityFileWithPassphrase(t *testing.T) {
	plain := ageKeyPair(t, "pq", "-pq")
	object := sealed(t, parseRecipients(t, plain.recipient), []byte("content"))
	for _, armored := range []bool{false, true} {
		encrypted := filepath.Join(t.TempDir(), "identity.age")
		args := []string{"-e", "-p", "-o", encrypted, plain.identityFile}
		if armored {
			args = append([]string{"-a"}, args...)
		}
		onTerminal(t, []string{passphrase, passphrase}, "age", args...)

		human := &person{secrets: []string{"", passphrase}} // an empty one is a slip of the finger
		ids, err := seal.LoadIdentities([]string{encrypted}, human)
		if err != nil {
			t.Fatalf("armored %v: %v", armored, err)
		}
		if got, err := open(object, ids...); err != nil || string(got) != "content" {
			t.Errorf("armored %v: got %q, %v", armored, got, err)
		}
		if len(human.asked) != 2 || human.asked[0] != "secret passphrase for "+encrypted {
			t.Errorf("armored %v: asked %q", armored, human.asked)
		}
	}
}

// TestMistypedPassphrase: two slips are forgiven.
func TestMistypedPassphrase(t *testing.T) {
	secret, _ := generate(t, false)
	path := writeFile(t, "id.age", encryptQuickly(t, secret, false))
	human := &person{secrets: []string{"wrong", "wrong too", passphrase}}
	if ids, err := seal.LoadIdentities([]string{path}, human); err != nil || len(ids) != 1 {
		t.Errorf("%d identities, %v", len(ids), err)
	}
}

// encryptQuickly encrypts an identity file with a passphrase at the least cost that age reads.
func encryptQuickly(t *testing.T, content string, armored bool) string {
	t.Helper()
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(1)
	return encryptFor(t, r, content, armored)
}

func encryptFor(t *testing.T, r age.Recipient, content string, armored bool) string {
	t.Helper()
	var b bytes.Buffer
	var out io.Writer = &b
	finish := func() error { return nil }
	if armored {
		a := armor.NewWriter(&b)
		out, finish = a, a.Close
	}
	w, err := age.Encrypt(out, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), finish()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPassphraseErrors(t *testing.T) {
	secret, public := generate(t, false)
	other, err := age.ParseX25519Recipient(public)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := encryptQuickly(t, secret, false)
	for _, tc := range []struct {
		name    string
		content string
		prompt  seal.Prompter
		want    []string
	}{
		{"nobody to ask", encrypted, nil, []string{"encrypted with a passphrase, and nobody can be asked", "run this on a terminal"}},
		{"three wrong", encrypted, &person{secrets: []string{"a", "b", "c", passphrase}}, []string{"wrong passphrase"}},
		{"no answer", encrypted, &person{}, []string{"ask for passphrase: no answer"}},
		{"cut", encrypted[:len(encrypted)-1], &person{secrets: []string{passphrase}}, []string{"read encrypted identity file"}},
		{"for a recipient", encryptFor(t, other, secret, false), &person{secrets: []string{passphrase}}, []string{"encrypted, but not with a passphrase", "age first"}},
		{"armor damaged", encryptQuickly(t, secret, true)[:100], &person{secrets: []string{passphrase}}, []string{"malformed armored age file"}},
		{"nothing inside", encryptQuickly(t, "# empty\n", false), &person{secrets: []string{passphrase}}, []string{"there is no identity in it"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := seal.LoadIdentities([]string{writeFile(t, "id.age", tc.content)}, tc.prompt)
			if err == nil {
				t.Fatal("loaded")
			}
			checkError(t, err, append(tc.want, "load identity", "id.age")...)
			if strings.Contains(err.Error(), passphrase) || strings.Contains(err.Error(), secret[20:40]) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// TestEncryptedSSHKeys takes what ssh-keygen makes with a passphrase, in both of its formats.
func TestEncryptedSSHKeys(t *testing.T) {
	for _, args := range [][]string{{"-t", "ed25519"}, {"-t", "rsa", "-b", "2048"}, {"-t", "rsa", "-b", "2048", "-m", "PEM"}} {
		file := filepath.Join(t.TempDir(), "id")
		run(t, nil, "ssh-keygen", append([]string{"-q", "-N", passphrase, "-f", file}, args...)...)
		public, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		recipients := parseRecipients(t, string(public))
		human := &person{secrets: []string{"wrong", passphrase}}
		ids, err := seal.LoadIdentities([]string{file}, human)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		if got, err := open(sealed(t, recipients, []byte("content")), ids...); err != nil || string(got) != "content" {
			t.Errorf("%v: got %q, %v", args, got, err)
		}
		if seal.Fingerprint(ids[0]) != recipients.Fingerprints()[0] {
			t.Errorf("%v: the fingerprints differ", args)
		}
		if _, err := seal.LoadIdentities([]string{file}, nil); err == nil {
			t.Errorf("%v: opened without the passphrase", args)
		}
	}
}

// TestPassphraseThatSeemsRight: PEM can only tell that a passphrase is wrong by what comes out, and that may look like the beginning of
// something. It is a slip like any other.
func TestPassphraseThatSeemsRight(t *testing.T) {
	//lint:ignore SA1019 ssh-keygen -m PEM still makes such files
	block, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", []byte{0x30, 0x80}, []byte("wrong"), x509.PEMCipherAES128)
	if err != nil {
		t.Fatal(err)
	}
	human := &person{secrets: []string{"wrong", "wrong", "wrong"}}
	_, err = seal.LoadIdentities([]string{writeFile(t, "id", string(pem.EncodeToMemory(block)))}, human)
	if err == nil || len(human.asked) != 3 {
		t.Fatalf("asked %q: %v", human.asked, err)
	}
	checkError(t, err, "wrong passphrase")
}

// TestSSHKeyInEncryptedFile: what is inside an encrypted file is read as if it were not encrypted.
func TestSSHKeyInEncryptedFile(t *testing.T) {
	pair := sshKeyPair(t, "ssh", "-t", "ed25519")
	private, err := os.ReadFile(pair.identityFile)
	if err != nil {
		t.Fatal(err)
	}
	path := writeFile(t, "id.age", encryptQuickly(t, string(private), true))
	ids, err := seal.LoadIdentities([]string{path}, &person{secrets: []string{passphrase}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(sealed(t, parseRecipients(t, pair.recipient), nil), ids...); err != nil {
		t.Error(err)
	}
}

func TestRefusedIdentityFiles(t *testing.T) {
	secret, public := generate(t, false)
	secretPQ, publicPQ := generate(t, true)
	ecdsa, err := os.ReadFile(sshKeyPair(t, "ecdsa", "-t", "ecdsa").identityFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, content, want string }{
		{"empty", "", "there is no identity in it"},
		{"comments", "# created: today\n# public key: " + public + "\n", "there is no identity in it"},
		{"recipient", "\n#\n" + public, "line 3: this is a recipient (public key), not an identity"},
		{"post-quantum recipient", publicPQ, "line 1: this is a recipient"},
		{"file key", "DRD-FILE-KEY-1 AAAA", "this is a file key, not an identity"},
		{"checksum", secret[:30] + flip(strings.ToLower(secret[30:31])) + secret[31:], "line 1: malformed age identity"},
		{"cut", secretPQ[:len(secretPQ)-3], "malformed post-quantum age identity"},
		{"second line", secret + "\n" + secret + "X\n", "line 2: malformed age identity"},
		{"lower case", strings.ToLower(secret), "not an age identity"},
		{"plugin", "AGE-PLUGIN-YUBIKEY-1QQQQ", "malformed plugin identity"},
		{"ecdsa", string(ecdsa), "only ed25519 and rsa can"},
		{"broken PEM", "-----BEGIN OPENSSH PRIVATE KEY-----\n" + secret + "\n", "read SSH private key"},
		{"text", "the key is in the safe", "not an age identity"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := seal.LoadIdentities([]string{writeFile(t, "id.txt", tc.content)}, nil)
			if err == nil {
				t.Fatal("loaded")
			}
			checkError(t, err, tc.want)
			if strings.Contains(strings.ToUpper(err.Error()), secret[31:50]) || strings.Contains(err.Error(), secretPQ[20:40]) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	if _, err := seal.LoadIdentities(nil, nil); err == nil {
		t.Error("loaded nothing from nowhere")
	}
	if _, err := seal.LoadIdentities([]string{"/nonexistent/id"}, nil); err == nil || !strings.Contains(err.Error(), "/nonexistent/id") {
		t.Errorf("got %v", err)
	}
}

// TestNoIdentityMatches: the error lets a person find the right key.
func TestNoIdentityMatches(t *testing.T) {
	_, owner := newIdentity(t, false)
	stranger, strangers := newIdentity(t, false)
	_, err := open(sealed(t, owner, []byte("content")), stranger)
	if !errors.Is(err, seal.ErrNoIdentity) || errors.Is(err, seal.ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	checkError(t, err, "sealed for 1 recipient(s) (X25519)", strangers.Fingerprints()[0], "recipients in the object's manifest")
	if _, err := open(sealed(t, owner, nil)); !errors.Is(err, seal.ErrNoIdentity) {
		t.Errorf("without identities: %v", err)
	}
}

// TestIdentitiesAreNeverShown: logging an identity by mistake shows whose it is and not the secret.
func TestIdentitiesAreNeverShown(t *testing.T) {
	plugged, _ := pluginIdentityFile(t)
	ids, err := seal.LoadIdentities([]string{filepath.Join("testdata", "x25519.identity"), filepath.Join("testdata", "hybrid.identity"), plugged}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, id := range ids {
			fmt.Fprintf(&out, verb+"\n", id)
		}
		fmt.Fprintf(&out, verb+"\n", ids)
	}
	for _, secret := range []string{"AGE-SECRET", "AGE-PLUGIN", "4147452d"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s… shows:\n%s", secret, out.String())
		}
	}
	for _, name := range []string{seal.Fingerprint(ids[0]), seal.Fingerprint(ids[1]), "age-plugin-drdtest"} {
		if strings.Count(out.String(), name) != 14 {
			t.Errorf("%q is not shown:\n%s", name, out.String())
		}
	}
}

// TestSharedIdentities opens in parallel with the same identities, as a restore does.
func TestSharedIdentities(t *testing.T) {
	id, recipients := newIdentity(t, true)
	other, _ := newIdentity(t, false)
	ids := []age.Identity{other, id}
	object := sealed(t, recipients, etcdLike(200<<10))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := open(object, ids...); err != nil || len(got) != 200<<10 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}
