package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secrets are texts that nobody may find where drd has been.
type secrets []string

// in returns the first secret that data holds, "" when there is none.
func (s secrets) in(data []byte) string {
	for _, secret := range s {
		if bytes.Contains(data, []byte(secret)) {
			return secret
		}
	}
	return ""
}

// check fails the test when data holds a secret. The secrets are throw-away, so the failure may show them.
func (s secrets) check(t *testing.T, where string, data []byte) {
	t.Helper()
	if secret := s.in(data); secret != "" {
		t.Errorf("%s holds the secret %q", where, secret)
	}
}

func (s secrets) checkAll(t *testing.T, where string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		s.check(t, where+"/"+name, data)
	}
}

// privateLines are the lines of a PEM private key in OpenSSH's format that hold its private half: the first two
// begin with the public one, which is no secret.
func privateLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) < 6 || !strings.HasPrefix(lines[0], "-----BEGIN OPENSSH PRIVATE KEY-----") {
		t.Fatalf("%s has %d lines and begins with %q", path, len(lines), lines[0])
	}
	lines = lines[3 : len(lines)-1]
	// The last line holds padding and what is left over: with a few characters it stands in any ciphertext by chance.
	if last := len(lines) - 1; len(lines[last]) < 16 {
		lines = lines[:last]
	}
	return lines
}

// TestSecretsAreFound shows that the check which all tests rely on can fail.
func TestSecretsAreFound(t *testing.T) {
	s := newSite(t, `endpoints: ["http://127.0.0.1:1"]`, inDirectory(t))
	if len(s.secrets) < 3 {
		t.Fatalf("only %d secrets are looked for", len(s.secrets))
	}
	for _, name := range []string{"identity.txt", "signing.key"} {
		content, err := os.ReadFile(filepath.Join(s.keys, name))
		if err != nil {
			t.Fatal(err)
		}
		if s.secrets.in(content) == "" {
			t.Errorf("%s holds no secret, as far as the check can tell", name)
		}
	}
	for _, name := range []string{"recipient.txt", "signing.key.pub", "allowed_signers"} {
		content, err := os.ReadFile(filepath.Join(s.keys, name))
		if err != nil {
			t.Fatal(err)
		}
		s.secrets.check(t, name, content)
	}
	if s.secrets.in([]byte("x"+s.value+"x")) == "" {
		t.Error("a value of etcd is not found")
	}
}
