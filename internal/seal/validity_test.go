package seal

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestValidUntil(t *testing.T) {
	line := func() (ssh.PublicKey, string) {
		raw, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := ssh.NewPublicKey(raw)
		if err != nil {
			t.Fatal(err)
		}
		return pub, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
	}
	pub, key := line()
	_, other := line()
	for _, tc := range []struct {
		name, file, want string
	}{
		{"no end", "node " + key, ""},
		{"an end", `node valid-before="20270101Z" ` + key, "2027-01-01T00:00:00Z"},
		{"the later of two", `node valid-before="20270101Z" ` + key + "\n" + `node valid-before="20280101Z" ` + key, "2028-01-01T00:00:00Z"},
		{"one without end", `node valid-before="20270101Z" ` + key + "\nnode " + key, ""},
		{"another namespace does not count", `node valid-before="20270101Z" ` + key + "\n" + `node namespaces="git" ` + key, "2027-01-01T00:00:00Z"},
		{"another key", `node valid-before="20270101Z" ` + other, ""},
	} {
		trust, err := ParseTrust([]byte(tc.file), tc.name)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if until := trust.ValidUntil(pub); !until.IsZero() {
			got = until.UTC().Format(time.RFC3339)
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
