// Package planted makes the secrets of tests, so that each can be told from everything else wherever it turns up: what a test wants to
// stay secret comes from Secret, or is written down with Planted0Secret in it, and Find knows it again in any text, without a list. Find
// knows private keys by their own forms, too.
//
// The program under test writes to logs, files and pages; the tests themselves write to standard output. None of it may hold what Find
// finds. test/tools/suite sees to that for all output of the tests, and test/program for all output of drd in them.
package planted

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// mark begins every planted secret. It consists of letters and digits alone, so that JSON, YAML, URLs and shells leave it as it is, and
// says nothing that a text would say by itself. With the 26 characters behind it, it is as long as the keys that MinIO takes: 40.
const mark = "Planted0Secret"

// Secret returns a new secret of 40 letters and digits. MinIO and versitygw take it for a key, etcd and drd for a password.
func Secret() string { return mark + rand.Text() }

// Bytes returns a new secret of 32 bytes, for a symmetric key.
func Bytes() []byte { return []byte(Secret()[:32]) }

// kind is one kind of secret.
type kind struct {
	name string
	form *regexp.Regexp
}

// Finder finds secrets. It is safe for concurrent use.
type Finder struct{ kinds []kind }

// Finding is one secret in a text.
type Finding struct {
	Kind string // such as "an age identity"
	Line int    // where it begins, from 1
}

// New returns a finder. Public keys, fingerprints and the beginnings of secrets that are too short to be one are none.
func New() *Finder {
	return &Finder{[]kind{
		// All letters of Bech32, in the forms of X25519, post-quantum and plugins: https://age-encryption.org/v1.
		{"an age identity", regexp.MustCompile(`(?i)AGE-(SECRET-KEY-(PQ-)?|PLUGIN-[A-Z0-9-]+-)1[02-9AC-HJ-NP-Z]{32,}`)},
		// To its end, or to that of the text: what is cut off is as secret. Without its first line, OpenSSH's own form begins with
		// "openssh-key-v1" and a zero byte, in base64.
		{"a private key", regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)` +
			`|b3BlbnNzaC1rZXktdjEA[0-9A-Za-z+/=\s]*`)},
		{"a file key", regexp.MustCompile(`DRD-FILE-KEY-1 [0-9A-Za-z+/]{22}==`)},
		{"a planted secret", regexp.MustCompile(strings.Join(marks(), "|"))},
	}}
}

// marks are what the mark may look like, as regular expressions that take what follows it with them: plain, in hexadecimal, as Go prints
// bytes, and in base64, where it may begin at the first, second or third byte of a group.
func marks() []string {
	forms := []string{
		"(?i:" + mark + "[0-9A-Z]*)",
		"(?i:" + hex.EncodeToString([]byte(mark)) + ")[0-9A-Fa-f]*",
		strings.Trim(fmt.Sprint([]byte(mark)), "[]") + "[0-9 ]*",
	}
	for shift := range 3 {
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + mark))
		first := (shift*8 + 5) / 6           // of the characters that tell of nothing but the mark, six bits each
		after := (shift + len(mark)) * 8 / 6 // the first one that does not
		forms = append(forms, text[first:after]+"[0-9A-Za-z+/_=-]*")
	}
	return forms
}

// Find returns the secrets in a text, those of one kind in their order.
func (f *Finder) Find(text string) []Finding {
	var found []Finding
	for _, k := range f.kinds {
		for _, at := range k.form.FindAllStringIndex(text, -1) {
			found = append(found, Finding{k.name, 1 + strings.Count(text[:at[0]], "\n")})
		}
	}
	return found
}

// Redact returns the text with what each secret is in its place.
func (f *Finder) Redact(text string) string {
	for _, k := range f.kinds {
		text = k.form.ReplaceAllString(text, "["+k.name+"]")
	}
	return text
}
