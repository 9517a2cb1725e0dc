package seal_test

import (
	"slices"
	"strings"
	"testing"

	"filippo.io/age/plugin"
	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

func generate(t *testing.T, postQuantum bool) (secret, public string) {
	t.Helper()
	secret, public, err := seal.GenerateIdentity(postQuantum)
	if err != nil {
		t.Fatal(err)
	}
	return secret, public
}

func TestParseRecipients(t *testing.T) {
	_, a := generate(t, false)
	_, b := generate(t, false)
	ssh := sshKeyPair(t, "ssh", "-t", "ed25519").recipient
	file := writeFile(t, "recipients.txt", "# the safe\r\n\r\n  "+b+"  \r\n#"+a+"\n"+ssh+"\n"+b+"\n")
	r, err := seal.ParseRecipients([]string{a, " " + b + "\n"}, file)
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() != 3 {
		t.Errorf("%d recipients, want 3", r.Len())
	}
	withoutComment := strings.Join(strings.Fields(ssh)[:2], " ")
	want := slices.Concat(parseRecipients(t, a).Fingerprints(), parseRecipients(t, b).Fingerprints(), parseRecipients(t, withoutComment).Fingerprints())
	slices.Sort(want)
	if diff := cmp.Diff(want, r.Fingerprints()); diff != "" {
		t.Error(diff)
	}
	for _, print := range want {
		if len(print) != len("SHA256:")+43 || !strings.HasPrefix(print, "SHA256:") {
			t.Errorf("fingerprint %q", print)
		}
	}
}

// TestFingerprintIsStable: manifests hold it for ever.
func TestFingerprintIsStable(t *testing.T) {
	const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p" // the example in age's manual
	want := []string{"SHA256:" + shaBase64(recipient)}
	if diff := cmp.Diff(want, parseRecipients(t, recipient).Fingerprints()); diff != "" {
		t.Error(diff)
	}
}

// TestTaggedRecipient: hardware keys of the kind that needs no program to seal for.
func TestTaggedRecipient(t *testing.T) {
	const generator = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" // of P-256: a valid point
	tagged := plugin.EncodeRecipient("tag", unhex(t, generator))
	r := parseRecipients(t, tagged)
	if object := sealed(t, r, []byte("x")); !strings.Contains(string(object), "\n-> p256tag ") {
		t.Error("there is no stanza for the hardware key")
	}
	_, pq := generate(t, true)
	if _, err := seal.ParseRecipients([]string{pq, tagged}, ""); err == nil {
		t.Error("a classic hardware key was mixed with a post-quantum recipient")
	}
}

func TestRefusedRecipients(t *testing.T) {
	secret, public := generate(t, false)
	secretPQ, publicPQ := generate(t, true)
	private, _, err := seal.GenerateSigningKey("")
	if err != nil {
		t.Fatal(err)
	}
	rsa1024 := sshKeyPair(t, "weak", "-t", "rsa", "-b", "1024").recipient
	ecdsa := sshKeyPair(t, "ecdsa", "-t", "ecdsa").recipient
	for _, tc := range []struct {
		name   string
		inline []string
		file   string
		want   []string // parts of the error and its hints
	}{
		{"none", nil, "", []string{"no recipients", "drd keygen"}},
		{"empty file", nil, "# nobody\n", []string{"recipients.txt has no recipient", "one age recipient per line"}},
		{"secret inline", []string{public, secret}, "", []string{"recipient 2: this is a secret key", "treat this identity as leaked"}},
		{"secret in lower case", []string{strings.ToLower(secret)}, "", []string{"recipient 1: this is a secret key"}},
		{"post-quantum secret in file", nil, "#\n" + secretPQ, []string{"recipients.txt:2: this is a secret key"}},
		{"SSH secret in file", nil, string(private), []string{"recipients.txt:1: this is a secret key"}},
		{"mixed", []string{public}, publicPQ, []string{"recipients.txt:1 is post-quantum but recipient 1 is classic", "use only age1pq1"}},
		{"mixed the other way", []string{publicPQ, public}, "", []string{"recipient 1 is post-quantum but recipient 2 is classic"}},
		{"plugin", []string{plugin.EncodeRecipient("yubikey", []byte("0123456789"))}, "", []string{"plugins (yubikey)", "run age-plugin-yubikey for every object", "age1tag1"}},
		{"checksum", []string{public[:20] + flip(public[20:21]) + public[21:]}, "", []string{"recipient 1: malformed age recipient", "copy the whole recipient"}},
		{"cut", []string{publicPQ[:1900]}, "", []string{"malformed post-quantum age recipient"}},
		{"tag", []string{"age1tag1qqqq"}, "", []string{"malformed tagged age recipient"}},
		{"SSH cut", []string{"ssh-ed25519 AAAAC3Nz"}, "", []string{"malformed SSH public key"}},
		{"SSH weak", []string{rsa1024}, "", []string{"at least 2048 bits"}},
		{"SSH ecdsa", []string{"ssh-" + ecdsa}, "", []string{"malformed SSH public key"}},
		{"ecdsa", []string{ecdsa}, "", []string{"not a recipient", "starts with age1"}},
		{"word", []string{"everybody"}, "", []string{"recipient 1: not a recipient"}},
		{"empty", []string{""}, "", []string{"recipient 1: not a recipient"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := ""
			if tc.file != "" {
				file = writeFile(t, "recipients.txt", tc.file)
			}
			_, err := seal.ParseRecipients(tc.inline, file)
			if err == nil {
				t.Fatal("accepted")
			}
			checkError(t, err, tc.want...)
			for _, input := range append(tc.inline, strings.Split(tc.file, "\n")...) {
				if len(input) > 20 && strings.Contains(err.Error(), input[5:20]) {
					t.Errorf("the error shows what it read: %v", err)
				}
			}
		})
	}
}

func TestUnreadableRecipientsFile(t *testing.T) {
	if _, err := seal.ParseRecipients(nil, "/nonexistent/recipients"); err == nil || !strings.Contains(err.Error(), "/nonexistent/recipients") {
		t.Errorf("got %v", err)
	}
	big := writeFile(t, "recipients.txt", strings.Repeat("#\n", 1<<20))
	if _, err := seal.ParseRecipients(nil, big); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

// TestSealForNobody: the zero value of a set is not a way around ParseRecipients.
func TestSealForNobody(t *testing.T) {
	for _, nobody := range []*seal.Recipients{nil, {}} {
		if _, err := seal.Default().Seal(new(counter), nobody); err == nil {
			t.Error("sealed for nobody")
		}
	}
}

// checkError looks for each part in the error's text or hints.
func checkError(t *testing.T, err error, parts ...string) {
	t.Helper()
	all := err.Error() + "\n" + strings.Join(hint.Of(err), "\n")
	for _, part := range parts {
		if !strings.Contains(all, part) {
			t.Errorf("%q is not in %q", part, all)
		}
	}
}

// flip returns another letter of the bech32 alphabet.
func flip(letter string) string {
	if letter == "q" {
		return "p"
	}
	return "q"
}
