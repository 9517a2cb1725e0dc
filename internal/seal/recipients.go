package seal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"filippo.io/age/tag"
	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/hint"
)

// Recipients is a parsed set of age recipients, all of one kind: either all post-quantum or all
// classic. It never changes and may be used by several goroutines at once.
type Recipients struct {
	list []recipient
}

type recipient struct {
	age.Recipient

	canonical   string // the one spelling that is fingerprinted and compared
	postQuantum bool
	where       string // "recipient 2" or "file:line", for errors
}

// ParseRecipients reads inline recipients and, when file is not empty, a recipients file: one per
// line, empty lines and # comments ignored. The same recipient given twice counts once.
//
// It takes native age recipients (age1…, age1pq1…), tagged ones of hardware keys (age1tag1…,
// age1tagpq1…) and SSH keys (ssh-ed25519, ssh-rsa of at least 2048 bits). Errors name the entry by
// its place and never show its text, which may be a secret pasted by mistake.
func ParseRecipients(inline []string, file string) (*Recipients, error) {
	if err := refuseApprovedOnly(); err != nil {
		return nil, err
	}
	set := &Recipients{}
	for i, text := range inline {
		if err := set.add(fmt.Sprintf("recipient %d", i+1), strings.TrimSpace(text)); err != nil {
			return nil, err
		}
	}
	if file != "" {
		if err := set.addFile(file); err != nil {
			return nil, err
		}
	}
	if len(set.list) == 0 {
		return nil, hint.New(errors.New("no recipients: nothing could ever open what is sealed"), "make an identity with `drd keygen` and configure its recipient")
	}
	return set, nil
}

// Fingerprints returns one "SHA256:…" per recipient, sorted. See Fingerprint of an identity for the
// other side of the comparison.
func (r *Recipients) Fingerprints() []string {
	prints := make([]string, 0, len(r.list))
	for _, one := range r.list {
		prints = append(prints, fingerprint(one.canonical))
	}
	slices.Sort(prints)
	return prints
}

// Len is the number of different recipients, at least 1.
func (r *Recipients) Len() int { return len(r.list) }

func (r *Recipients) addFile(path string) error {
	content, err := readSmall(path)
	if err != nil {
		return fmt.Errorf("read recipients file: %w", err)
	}
	before := len(r.list)
	lines := 0
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		lines++
		if err := r.add(fmt.Sprintf("%s:%d", path, i+1), line); err != nil {
			return err
		}
	}
	if lines == 0 && before == 0 {
		return hint.New(fmt.Errorf("recipients file %s has no recipient", path), "write one age recipient per line")
	}
	return nil
}

func (r *Recipients) add(where, text string) error {
	one, err := parseRecipient(text)
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	one.where = where
	for _, other := range r.list {
		if other.canonical == one.canonical {
			return nil
		}
		if other.postQuantum != one.postQuantum {
			return mixedKinds(other, one)
		}
	}
	r.list = append(r.list, one)
	return nil
}

// mixedKinds explains why one classic recipient would undo the protection of all the others.
func mixedKinds(a, b recipient) error {
	pq, classic := a, b
	if b.postQuantum {
		pq, classic = b, a
	}
	return hint.New(
		fmt.Errorf("%s is post-quantum but %s is classic: an object sealed for both is only as strong as the weaker one", pq.where, classic.where),
		"use only age1pq1… and age1tagpq1… recipients, or only the others; `drd keygen` makes either kind")
}

func parseRecipient(text string) (recipient, error) {
	switch {
	case looksSecret(text):
		return recipient{}, hint.New(errors.New("this is a secret key where a recipient (public key) belongs"),
			"treat this identity as leaked: make a new one with `drd keygen`, configure its recipient, and remove the secret from this file and its history")
	case strings.HasPrefix(text, "age1tag1"), strings.HasPrefix(text, "age1tagpq1"):
		return parseTagged(text)
	case strings.HasPrefix(text, "age1pq1"):
		r, err := age.ParseHybridRecipient(text)
		if err != nil {
			return recipient{}, malformed("post-quantum age recipient")
		}
		return recipient{Recipient: r, canonical: r.String(), postQuantum: true}, nil
	case strings.HasPrefix(text, "age1") && strings.Count(text, "1") > 1:
		return recipient{}, refusePlugin(text)
	case strings.HasPrefix(text, "age1"):
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return recipient{}, malformed("age recipient")
		}
		return recipient{Recipient: r, canonical: r.String()}, nil
	case strings.HasPrefix(text, "ssh-"):
		return parseSSHRecipient(text)
	}
	return recipient{}, hint.New(errors.New("not a recipient"), "a recipient starts with age1, age1pq1, ssh-ed25519 or ssh-rsa")
}

func parseTagged(text string) (recipient, error) {
	r, err := tag.ParseRecipient(text)
	if err != nil {
		return recipient{}, malformed("tagged age recipient")
	}
	return recipient{Recipient: r, canonical: r.String(), postQuantum: r.Hybrid()}, nil
}

func parseSSHRecipient(text string) (recipient, error) {
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return recipient{}, malformed("SSH public key")
	}
	canonical := authorizedKey(pub)
	switch pub.Type() {
	case ssh.KeyAlgoED25519:
		r, err := agessh.NewEd25519Recipient(pub)
		if err != nil {
			return recipient{}, malformed("ssh-ed25519 key")
		}
		return recipient{Recipient: r, canonical: canonical}, nil
	case ssh.KeyAlgoRSA:
		r, err := agessh.NewRSARecipient(pub)
		if err != nil {
			return recipient{}, errors.New("unusable ssh-rsa key: it needs at least 2048 bits")
		}
		return recipient{Recipient: r, canonical: canonical}, nil
	}
	return recipient{}, fmt.Errorf("SSH keys of type %s cannot be sealed for: only ssh-ed25519 and ssh-rsa", pub.Type())
}

// refusePlugin: a plugin recipient would start a program from PATH for every object, as root.
func refusePlugin(text string) error {
	name, _, err := plugin.ParseRecipient(text)
	if err != nil {
		return malformed("age recipient")
	}
	return hint.New(fmt.Errorf("recipients of plugins (%s) are not supported: the daemon would run age-plugin-%s for every object", name, name),
		"use an age1tag1… recipient of the same hardware key, or seal for an age identity that the hardware key protects")
}

func malformed(what string) error {
	return hint.New(fmt.Errorf("malformed %s", what), "copy the whole recipient again: a character is missing or changed")
}

// looksSecret reports whether text is, or holds, something that opens objects.
func looksSecret(text string) bool {
	upper := strings.ToUpper(text)
	return strings.Contains(upper, "AGE-SECRET-KEY") || strings.Contains(upper, "AGE-PLUGIN-") || strings.Contains(upper, "PRIVATE KEY")
}

// authorizedKey spells an SSH public key as "type base64", without comment or newline.
func authorizedKey(pub ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
}
