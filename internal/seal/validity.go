package seal

import (
	"time"

	"golang.org/x/crypto/ssh"
)

// ValidUntil is the last instant at which what the key signs is believed. Zero: no line of the key sets an end, or the key is
// not trusted at all, which Verify says.
func (t *Trust) ValidUntil(pub ssh.PublicKey) time.Time {
	var last time.Time
	for _, s := range t.entriesOf(pub) {
		if s.namespaces != nil && !matchPatterns(Namespace, s.namespaces) {
			continue
		}
		if s.before.IsZero() {
			return time.Time{}
		}
		if s.before.After(last) {
			last = s.before
		}
	}
	return last
}
