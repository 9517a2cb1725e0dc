package planted

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
)

// ed25519 makes a key of OpenSSH and returns both of its halves as they stand in files.
func ed25519(t *testing.T) (private, public string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	var halves []string
	for _, name := range []string{path, path + ".pub"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		halves = append(halves, string(text))
	}
	return halves[0], halves[1]
}

func ageIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFindsSecrets(t *testing.T) {
	f := New()
	ssh, _ := ed25519(t)
	postQuantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	secret := Secret()
	for name, c := range map[string]struct{ text, kind string }{
		"age":              {ageIdentity(t).String(), "an age identity"},
		"age in lower":     {strings.ToLower(ageIdentity(t).String()), "an age identity"},
		"post-quantum age": {postQuantum.String(), "an age identity"},
		"age plugin":       {"AGE-PLUGIN-YUBIKEY-1" + strings.Repeat("QPZRY9X8", 5), "an age identity"},
		"OpenSSH":          {ssh, "a private key"},
		"OpenSSH, quoted":  {quoted(t, ssh), "a private key"},
		"OpenSSH, cut":     {ssh[:150], "a private key"},
		"OpenSSH, inside":  {strings.SplitN(ssh, "\n", 2)[1], "a private key"},
		"PKCS 8":           {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), "a private key"},
		"EC":               {string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")})), "a private key"},
		"file key":         {"DRD-FILE-KEY-1 " + base64.StdEncoding.EncodeToString(make([]byte, 16)), "a file key"},
		"plain":            {secret, "a planted secret"},
		"in a URL":         {"https://a.example/" + secret + "?x", "a planted secret"},
		"key":              {string(Bytes()), "a planted secret"},
		"hexadecimal":      {hex.EncodeToString([]byte("a" + secret)), "a planted secret"},
		"HEXADECIMAL":      {fmt.Sprintf("%X", secret), "a planted secret"},
		"decimal":          {fmt.Sprint([]byte("a" + secret)), "a planted secret"},
		"base64":           {base64.StdEncoding.EncodeToString([]byte(secret)), "a planted secret"},
		"base64 from 1":    {base64.StdEncoding.EncodeToString([]byte("a" + secret + "b")), "a planted secret"},
		"base64 from 2":    {base64.URLEncoding.EncodeToString([]byte("\xff\xff" + secret + "\xff")), "a planted secret"},
		"base64 from 3":    {base64.RawURLEncoding.EncodeToString([]byte("abc" + secret)), "a planted secret"},
	} {
		t.Run(name, func(t *testing.T) {
			text := "a line\nand then " + c.text + "\nthe end"
			if diff := cmp.Diff([]Finding{{c.kind, 2}}, f.Find(text)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			redacted := f.Redact(text)
			if !strings.HasPrefix(redacted, "a line\nand then ") || !strings.Contains(redacted, "["+c.kind+"]") {
				t.Errorf("redacted: %s", redacted)
			}
			if again := f.Find(redacted); len(again) > 0 || strings.Contains(redacted, c.text[len(c.text)/2:]) {
				t.Errorf("redacted, it still shows %v", again)
			}
		})
	}
}

func TestFindsAll(t *testing.T) {
	a, b := Secret(), Secret()
	if a == b || len(a) != 40 || len(Bytes()) != 32 {
		t.Errorf("%d and %d characters, %d bytes", len(a), len(b), len(Bytes()))
	}
	text := "1\n" + a + " " + ageIdentity(t).String() + "\n\n" + b + "\n"
	want := []Finding{{"an age identity", 2}, {"a planted secret", 2}, {"a planted secret", 4}}
	if diff := cmp.Diff(want, New().Find(text)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if got, want := New().Redact(text), "1\n[a planted secret] [an age identity]\n\n[a planted secret]\n"; got != want {
		t.Errorf("redacted: %q", got)
	}
}

// TestPublicTextIsNone: what tests, pages and errors may say.
func TestPublicTextIsNone(t *testing.T) {
	_, ssh := ed25519(t)
	id := ageIdentity(t)
	for _, text := range []string{
		"", ssh, id.Recipient().String(), "node-1 namespaces=\"drd\" " + ssh,
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})),
		string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: []byte("x")})),
		"give the file that has AGE-SECRET-KEY lines, not age1…", id.String()[:20] + "…", "AGE-PLUGIN-YUBIKEY-1QQQQ",
		"a key file is one line, DRD-FILE-KEY-1 and 24 characters", "planted secret", "PlantedSecret",
	} {
		if found := New().Find(text); len(found) > 0 {
			t.Errorf("%v in %q", found, text)
		}
		if got := New().Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}
