package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/hint"
)

// allowedSigner is one line of an allowed_signers file.
type allowedSigner struct {
	principal  string
	key        ssh.PublicKey
	namespaces []string  // patterns; nil permits every namespace
	after      time.Time // zero: no limit; the instant itself is valid
	before     time.Time // zero: no limit; the instant itself is valid
}

// permits reports why the key may not have signed in the namespace "drd" at the given time.
func (s allowedSigner) permits(at time.Time) error {
	if s.namespaces != nil && !matchPatterns(Namespace, s.namespaces) {
		return hint.New(fmt.Errorf("%w: %s is trusted for namespaces %s, not for %s", ErrUnknownSigner, s.principal, strings.Join(s.namespaces, ","), Namespace),
			`add namespaces="drd" to its line among the trusted signers`)
	}
	at = at.Truncate(time.Second) // as ssh-keygen counts
	if !s.after.IsZero() && at.Before(s.after) {
		return fmt.Errorf("%w: %s is valid after %s, the content is from %s", ErrExpiredSigner, s.principal, rfc3339(s.after), rfc3339(at))
	}
	if !s.before.IsZero() && at.After(s.before) {
		return fmt.Errorf("%w: %s is valid before %s, the content is from %s", ErrExpiredSigner, s.principal, rfc3339(s.before), rfc3339(at))
	}
	return nil
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseAllowedSigner reads "principals [options] keytype base64 [comment]".
func parseAllowedSigner(line string) (allowedSigner, error) {
	principal, rest, err := field(line)
	if err != nil || principal == "" {
		return allowedSigner{}, errors.New("malformed principals")
	}
	s := allowedSigner{principal: principal}
	if !startsWithKeyType(rest) {
		end, closed := scanQuoted(rest, " \t")
		if !closed {
			return allowedSigner{}, errOpenQuote
		}
		if err := s.parseOptions(rest[:end]); err != nil {
			return allowedSigner{}, err
		}
		rest = rest[end:]
	}
	if s.key, err = parseKeyFields(rest); err != nil {
		return allowedSigner{}, err
	}
	if err := checkSigningKey(s.key); err != nil {
		return allowedSigner{}, err
	}
	return s, nil
}

var errOpenQuote = errors.New("a quote is not closed")

// startsWithKeyType tells a key from options; no option starts like a type of key.
func startsWithKeyType(text string) bool {
	for _, prefix := range []string{"ssh-", "ecdsa-", "sk-"} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// parseKeyFields reads "keytype base64 [comment]".
func parseKeyFields(text string) (ssh.PublicKey, error) {
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return nil, hint.New(errors.New("there is no public key"), "a line is: name, options if any, key type, key")
	}
	wire, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errors.New("malformed public key")
	}
	key, err := ssh.ParsePublicKey(wire)
	if err != nil || key.Type() != fields[0] {
		return nil, errors.New("malformed public key")
	}
	return key, nil
}

// field cuts the first field off, which may be in double quotes.
func field(text string) (first, rest string, err error) {
	if quoted, ok := strings.CutPrefix(text, `"`); ok {
		first, rest, ok = strings.Cut(quoted, `"`)
		if !ok {
			return "", "", errOpenQuote
		}
		return first, strings.TrimSpace(rest), nil
	}
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		return text[:i], strings.TrimSpace(text[i:]), nil
	}
	return text, "", nil
}

// scanQuoted returns the index of the first of the given characters outside double quotes, or the
// length of text. It reports false when a quote is not closed. \" does not end a quote.
func scanQuoted(text, stop string) (int, bool) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\' && i+1 < len(text) && text[i+1] == '"':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(stop, text[i]) >= 0:
			return i, true
		}
	}
	return len(text), !quoted
}

// parseOptions reads "name=value,name,…". Every option limits trust, so one that is not understood,
// or given twice, is an error.
func (s *allowedSigner) parseOptions(text string) error {
	seen := make(map[string]bool)
	for text != "" {
		end, ok := scanQuoted(text, ",")
		if !ok {
			return errOpenQuote
		}
		name, value, _ := strings.Cut(text[:end], "=")
		name = strings.ToLower(name)
		if seen[name] {
			return errors.New("an option is given twice")
		}
		seen[name] = true
		if err := s.setOption(name, value); err != nil {
			return err
		}
		if end < len(text) {
			end++ // the comma
			if end == len(text) {
				return errors.New("malformed options: they end in a comma")
			}
		}
		text = text[end:]
	}
	if !s.after.IsZero() && !s.before.IsZero() && !s.before.After(s.after) {
		return errors.New("valid-before is not later than valid-after")
	}
	return nil
}

// setOption takes one option. An unknown name is not shown: it may be anything, pasted by mistake.
func (s *allowedSigner) setOption(name, value string) error {
	var err error
	switch name {
	case "namespaces":
		value, err = unquote(value)
		s.namespaces = strings.Split(value, ",")
	case "valid-after":
		s.after, err = parseTimestamp(value)
	case "valid-before":
		s.before, err = parseTimestamp(value)
	case "cert-authority":
		return hint.New(errors.New("certificate authorities are not supported: a node signs with a plain key"), "list the key of each node instead")
	default:
		return hint.New(errors.New("unknown option"), "known options are namespaces, valid-after and valid-before")
	}
	if err != nil {
		return fmt.Errorf("option %s: %w", name, err)
	}
	return nil
}

// unquote requires the double quotes that ssh-keygen(1) requires.
func unquote(value string) (string, error) {
	if len(value) < 3 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", errors.New("the value must be in double quotes and not empty")
	}
	return strings.ReplaceAll(value[1:len(value)-1], `\"`, `"`), nil
}

// parseTimestamp reads a quoted YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in the local time zone unless a Z
// follows.
func parseTimestamp(value string) (time.Time, error) {
	text, err := unquote(value)
	if err != nil {
		return time.Time{}, err
	}
	digits, utc := strings.CutSuffix(text, "Z")
	layout, ok := map[int]string{8: "20060102", 12: "200601021504", 14: "20060102150405"}[len(digits)]
	zone := time.Local
	if utc {
		zone = time.UTC
	}
	if ok {
		if t, err := time.ParseInLocation(layout, digits, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("not a time like 20261231 or 20261231235959Z")
}

// matchPatterns follows PATTERNS of ssh_config(5): * and ? are wildcards, and a pattern after ! takes
// back what another one permits.
func matchPatterns(name string, patterns []string) bool {
	matched := false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(p, "!")
		if !matchPattern(name, p) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// matchPattern is iterative: it goes back to the last * only, so no pattern makes it slow.
func matchPattern(name, pattern string) bool {
	n, p := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			n++
			p++
		case star >= 0:
			mark++
			n, p = mark, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
