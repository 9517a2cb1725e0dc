package config

import (
	"slices"
	"strings"
)

const adviceSecretFile = "put it into a file that only its owner can read (chmod 600), name that file with a …_file key, and replace the secret: it has been exposed"

// secretKeys are keys people reach for to write a secret into the file, with the key that names a
// file instead.
var secretKeys = map[string]string{
	"access_key":        "credentials_file",
	"access_key_id":     "credentials_file",
	"secret_key":        "credentials_file",
	"secret_access_key": "credentials_file",
	"session_token":     "credentials_file",
	"token":             "credentials_file",
	"password":          "password_file",
	"passphrase":        "identity_file",
	"identity":          "identity_file",
	"private_key":       "key_file",
}

// unknown reports a key that its section does not have.
func (d *decoder) unknown(at place, path, key string, known []field) {
	if file, ok := secretKeys[strings.ToLower(strings.ReplaceAll(key, "-", "_"))]; ok {
		d.addAt(at, child(path, key), "write the secret into a file of its own (chmod 600) and name it with "+file, "secrets are not written into the configuration")
		return
	}
	var names []string
	for _, f := range known {
		names = append(names, f.key())
	}
	advice := didYouMean(key, names)
	if advice == "" {
		advice = "the keys here are " + strings.Join(names, ", ")
	}
	d.addAt(at, child(path, key), advice, "unknown key")
}

// looksSecret reports whether s holds private key material, whatever key it stands under.
func looksSecret(s string) bool {
	upper := strings.ToUpper(s)
	return strings.Contains(upper, "AGE-SECRET-KEY-") ||
		strings.Contains(upper, "AGE-PLUGIN-") ||
		strings.Contains(upper, "DRD-FILE-KEY-") ||
		strings.Contains(upper, "PRIVATE KEY-----")
}

// didYouMean returns a hint naming the word closest to s, or "" when none is close.
func didYouMean(s string, words []string) string {
	if s = strings.ToLower(s); len(s) > 64 {
		return ""
	}
	best, distance := "", 1+len(s)/3 // one typing error in three letters
	for _, w := range words {
		if n := editDistance(s, strings.ToLower(w)); n <= distance && (n < distance || best == "") {
			best, distance = w, n
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that turn a
// into b (optimal string alignment).
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = slices.Min([]int{rows[i-1][j] + 1, rows[i][j-1] + 1, replace})
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
