package seal_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/seal"
)

// TestAllowedSignersLikeSSHKeygen asks ssh-keygen and us about the same files. Both must come to the
// same decision, and for a refusal ours must be of the right kind.
func TestAllowedSignersLikeSSHKeygen(t *testing.T) {
	pair := sshKeyPair(t, "node", "-t", "ed25519")
	other := sshKeyPair(t, "other", "-t", "ed25519").recipient
	key := strings.Join(strings.Fields(pair.recipient)[:2], " ")
	sig := sign(t, loadSigner(t, pair.identityFile), manifest)
	sigFile := writeFile(t, "manifest.json.sig", string(sig))
	for _, tc := range []struct {
		name, file string
		kind       error // nil: accepted; errAny: any error
	}{
		{"plain", "me " + key, nil},
		{"comment", "me " + key + " somebody's laptop", nil},
		{"CRLF", "# x\r\n\r\nme " + key + "\r\n", nil},
		{"indented", "  \tme \t " + key, nil},
		{"quoted principal", `"me" ` + key, nil},
		{"several principals", "you,me " + key, nil},
		{"pattern", "*@example,m? " + key, nil},
		{"namespace", `me namespaces="drd" ` + key, nil},
		{"namespace list", `me namespaces="git,drd" ` + key, nil},
		{"namespace wildcard", `me namespaces="d*" ` + key, nil},
		{"namespace wildcard one", `me namespaces="d?d" ` + key, nil},
		{"namespace several stars", `me namespaces="*d**d*" ` + key, nil},
		{"namespace all", `me namespaces="*" ` + key, nil},
		{"keyword in capitals", `me NameSpaces="drd" ` + key, nil},
		{"other namespace", `me namespaces="git" ` + key, seal.ErrUnknownSigner},
		{"longer namespace", `me namespaces="drdx,xdrd,drd?" ` + key, seal.ErrUnknownSigner},
		{"namespace taken back", `me namespaces="*,!drd" ` + key, seal.ErrUnknownSigner},
		{"only taken back", `me namespaces="!git" ` + key, seal.ErrUnknownSigner},
		{"other key", "me " + other, seal.ErrUnknownSigner},
		{"after", `me valid-after="20261122095959Z" ` + key, nil},
		{"after, exactly", `me valid-after="20261122100000Z" ` + key, nil},
		{"not yet", `me valid-after="20261122100001Z" ` + key, seal.ErrExpiredSigner},
		{"before", `me valid-before="20261123Z" ` + key, nil},
		{"before, exactly", `me valid-before="202611221000Z" ` + key, nil},
		{"expired", `me valid-before="20261122095959Z" ` + key, seal.ErrExpiredSigner},
		{"local time", `me valid-after="20261122120000" ` + key, nil},
		{"local time, not yet", `me valid-after="20261122120001" ` + key, seal.ErrExpiredSigner},
		{"window", `me namespaces="drd",valid-after="2026",valid-before="2027" ` + key, errAny},
		{"window of days", `me valid-after="20260101Z",namespaces="drd",valid-before="20270101Z" ` + key, nil},
		{"rotated: the second entry holds", `me valid-before="20250101Z" ` + key + "\nme " + key, nil},
		{"window inside out", `me valid-after="20270101Z",valid-before="20260101Z" ` + key, errAny},
		{"unknown option", `me no-such-option ` + key, errAny},
		{"unknown option with value", `me valid-until="20270101Z" ` + key, errAny},
		{"value not quoted", `me namespaces=drd ` + key, errAny},
		{"quote not closed", `me namespaces="drd ` + key, errAny},
		{"no value", `me namespaces ` + key, errAny},
		{"twice", `me namespaces="drd",namespaces="drd" ` + key, errAny},
		{"comma at the end", `me namespaces="drd", ` + key, errAny},
		{"no principal", key, errAny},
		{"no key", "me", errAny},
		{"key cut", "me " + key[:40], errAny},
		{"wrong type", "me " + strings.Replace(key, "ssh-ed25519", "ssh-rsa", 1), errAny},
		{"certificate authority", "me cert-authority " + key, errAny},
		{"empty", "", errAny},
		{"comments only", "# me " + key, errAny},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("TZ", "Etc/GMT-2") // two hours ahead of UTC
			setLocal(t, time.FixedZone("", 2*60*60))
			_, complaint, refusal := try(t, []byte(manifest), "ssh-keygen", "-Y", "verify", "-f", writeFile(t, "signers", tc.file),
				"-I", "me", "-n", "drd", "-s", sigFile, "-O", "verify-time="+manifestTime.Format("20060102150405")+"Z")
			err := verifyWith(tc.file, sig)
			if (refusal == nil) != (tc.kind == nil) {
				t.Errorf("the table is wrong: ssh-keygen says %v %s", refusal, complaint)
			}
			if (err == nil) != (tc.kind == nil) || tc.kind != errAny && !errors.Is(err, tc.kind) {
				t.Errorf("got %v, want %v", err, tc.kind)
			}
		})
	}
}

var errAny = errors.New("any error")

func verifyWith(file string, sig []byte) error {
	trust, err := seal.ParseTrust([]byte(file), "signers")
	if err != nil {
		return err
	}
	_, err = trust.Verify([]byte(manifest), sig, manifestTime)
	return err
}

// setLocal changes the local time zone, which a program reads only once, for one test.
func setLocal(t *testing.T, zone *time.Location) {
	t.Helper()
	before := time.Local
	time.Local = zone
	t.Cleanup(func() { time.Local = before })
}

// TestRefusedSigners: a line that cannot be honoured as written is an error with its place, though
// ssh-keygen would pass over it.
func TestRefusedSigners(t *testing.T) {
	good := newSigner(t)
	key := strings.TrimSpace(string(authorized(good)))
	private, _, err := seal.GenerateSigningKey("")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, line string
		want       []string
	}{
		{"certificate authority", "*@example cert-authority " + key, []string{"certificate authorities are not supported", "list the key of each node"}},
		{"hardware key", "me sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIDYWqEfB5ACqL5AVQfBTzlqcGMhPjZWrFUgq5vlAQMhVAAAABHNzaDo=", []string{"keys of type sk-ssh-ed25519@openssh.com cannot sign"}},
		{"weak rsa", "me " + sshKeyPair(t, "weak", "-t", "rsa", "-b", "1024").recipient, []string{"rsa key of 1024 bits is too weak"}},
		{"unknown option", "me verify-required " + key, []string{"unknown option", "known options are namespaces"}},
		{"no such day", `me valid-before="20260230Z" ` + key, []string{"option valid-before: not a time like"}},
		{"two commas", `me namespaces="drd",,valid-before="20270101Z" ` + key, []string{"unknown option"}},
		{"private key", string(private), []string{":2:"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := seal.ParseTrust([]byte("# first line\n"+tc.line+"\nme "+key), "signers")
			if err == nil {
				t.Fatal("accepted")
			}
			checkError(t, err, append(tc.want, "signers:2: ")...)
		})
	}
}
