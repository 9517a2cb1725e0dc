package seal_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/seal"
)

// FuzzOpen: nothing but the stored objects opens, and every refusal is of a known kind.
func FuzzOpen(f *testing.F) {
	var objects [][]byte
	for _, kind := range storedKinds {
		objects = append(objects, stored(f, kind+".zst.age"))
		f.Add(objects[len(objects)-1])
	}
	f.Add([]byte("age-encryption.org/v1\n-> X25519 a\n\n--- a\n"))
	x25519, hybrid := storedIdentity(f, "x25519"), storedIdentity(f, "hybrid")
	f.Fuzz(func(t *testing.T, object []byte) {
		_, err := open(object, x25519, hybrid)
		switch {
		case err == nil:
			for _, known := range objects {
				if bytes.Equal(object, known) {
					return
				}
			}
			t.Errorf("an object that nobody sealed opens: %q", object)
		case !errors.Is(err, seal.ErrDamaged) && !errors.Is(err, seal.ErrNoIdentity):
			t.Errorf("unknown kind of error: %v", err)
		}
	})
}

// FuzzContent: what is sealed comes back, however it was cut into writes.
func FuzzContent(f *testing.F) {
	f.Add([]byte(nil), 1)
	f.Add([]byte("content"), 3)
	f.Add(etcdLike(4<<10), 1000)
	id := storedIdentity(f, "x25519")
	recipients := parseRecipients(f, publicOf(f, "x25519"))
	f.Fuzz(func(t *testing.T, plain []byte, step int) {
		step = min(max(step, 1), 1<<20)
		var b bytes.Buffer
		s, err := seal.Default().Seal(&b, recipients)
		if err != nil {
			t.Fatal(err)
		}
		for rest := plain; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			if _, err := s.Write(rest[:min(step, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := open(b.Bytes(), id); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes came back from %d: %v", len(got), len(plain), err)
		}
	})
}

// publicOf reads the recipient in the comment of a stored identity.
func publicOf(tb testing.TB, kind string) string {
	tb.Helper()
	line, _, _ := strings.Cut(string(stored(tb, kind+".identity")), "\n")
	_, public, ok := strings.Cut(line, "Public key: ")
	if !ok {
		tb.Fatalf("no public key in %q", line)
	}
	return public
}

// FuzzSignature: a manifest is accepted with its own signature, in whatever armor, and no other.
func FuzzSignature(f *testing.F) {
	signature, message := stored(f, "manifest.json.sig"), stored(f, "manifest.json")
	f.Add(signature)
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----\n"))
	trust, err := seal.LoadTrust(filepath.Join("testdata", "allowed_signers"))
	if err != nil {
		f.Fatal(err)
	}
	wire := unarmor(f, signature)
	f.Fuzz(func(t *testing.T, signature []byte) {
		signed, err := trust.Verify(message, signature, manifestTime)
		if err == nil {
			if !bytes.Equal(unarmor(t, bytes.TrimSpace(signature)), wire) {
				t.Errorf("a second signature is accepted: %q", signature)
			}
			return
		}
		if signed != (seal.Signed{}) || !knownRefusal(err) {
			t.Errorf("%+v, unknown kind of error: %v", signed, err)
		}
	})
}

func knownRefusal(err error) bool {
	for _, kind := range []error{seal.ErrUnsigned, seal.ErrBadSignature, seal.ErrUnknownSigner, seal.ErrExpiredSigner} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// FuzzTrust: a file either is refused or has signers, and whom it does not name it does not trust.
func FuzzTrust(f *testing.F) {
	file := stored(f, "allowed_signers")
	f.Add(file)
	f.Add([]byte("# comment\n\n\"me\" valid-after=\"20260101Z\",namespaces=\"*\" " + string(file[strings.Index(string(file), "ssh-"):])))
	signature, message := stored(f, "manifest.json.sig"), stored(f, "manifest.json")
	key := strings.Fields(string(file))[3]
	f.Fuzz(func(t *testing.T, file []byte) {
		trust, err := seal.ParseTrust(file, "fuzz")
		if err != nil {
			return
		}
		if trust.Len() == 0 || trust.Len() > 1+bytes.Count(file, []byte("\n")) {
			t.Errorf("%d signers", trust.Len())
		}
		_, err = trust.Verify(message, signature, manifestTime)
		if err != nil && !knownRefusal(err) {
			t.Errorf("unknown kind of error: %v", err)
		}
		// Base64 has more than one spelling of a key, which all start alike.
		if err == nil && !bytes.Contains(file, []byte(key[:60])) {
			t.Errorf("trusted without being named: %q", file)
		}
	})
}

// FuzzRecipients: an accepted recipient is the same one however often and wherever it is read, and an
// error does not show what was read.
func FuzzRecipients(f *testing.F) {
	for _, kind := range storedKinds {
		f.Add(publicOf(f, kind))
		f.Add(secretOf(f, kind))
	}
	f.Add("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINNwMHM8lLcve+HMdKmjaanRnkdOE0Sm3ZUxkjv5LTgg me@example")
	f.Add("age1yubikey1qwerty")
	path := filepath.Join(f.TempDir(), "recipients.txt")
	f.Fuzz(func(t *testing.T, text string) {
		one, err := seal.ParseRecipients([]string{text}, "")
		if err != nil {
			if len(text) > 24 && strings.Contains(err.Error(), text) {
				t.Errorf("the error shows %q", text)
			}
			return
		}
		if err := os.WriteFile(path, []byte("# fuzz\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		twice, err := seal.ParseRecipients([]string{text, " " + text}, path)
		if err != nil {
			t.Fatalf("accepted once, refused with its copies: %v", err)
		}
		if twice.Len() != 1 || twice.Fingerprints()[0] != one.Fingerprints()[0] {
			t.Errorf("%d different recipients out of %q", twice.Len(), text)
		}
		sealTo(t, io.Discard, one, []byte("content"))
	})
}

func secretOf(tb testing.TB, kind string) string {
	tb.Helper()
	return strings.Split(string(stored(tb, kind+".identity")), "\n")[1]
}

// FuzzIdentityFile: a file is refused, or it holds identities; a refusal does not show what was read.
func FuzzIdentityFile(f *testing.F) {
	for _, kind := range storedKinds {
		f.Add(stored(f, kind+".identity"))
		f.Add(stored(f, kind+".zst.age"))
	}
	f.Add([]byte("-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCg==\n-----END AGE ENCRYPTED FILE-----\n"))
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n"))
	f.Add([]byte("AGE-PLUGIN-DRDTEST-1QQQ\n"))
	path := filepath.Join(f.TempDir(), "id.txt")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		ids, err := seal.LoadIdentities([]string{path}, nil)
		if err == nil && len(ids) == 0 {
			t.Error("no identity and no error")
		}
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(string(content), "\n") {
			if len(line) > 40 && strings.Contains(err.Error(), line[:40]) {
				t.Errorf("the error shows %q: %v", line, err)
			}
		}
	})
}
