package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/drd-project/drd/internal/hint"
)

// expand replaces ${NAME} by the value lookup returns and $$ by $. Everything else after a $ is an
// error: a name without braces is more often a typing error or a secret than a variable.
func expand(s string, lookup func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		if rest, ok := strings.CutPrefix(after, "$"); ok {
			out.WriteByte('$')
			s = rest
			continue
		}
		name, rest, ok := variable(after)
		if !ok {
			return "", hint.New(errors.New("has a $ that is neither ${NAME} nor $$"), "write $$ for a plain $")
		}
		value, set := lookup(name)
		if !set {
			return "", hint.New(fmt.Errorf("${%s} is not set", name), "set it in the environment of the service, or write $${…} for a plain text")
		}
		out.WriteString(value)
		s = rest
	}
}

// variable splits "{NAME}rest".
func variable(s string) (name, rest string, ok bool) {
	s, braced := strings.CutPrefix(s, "{")
	name, rest, closed := strings.Cut(s, "}")
	return name, rest, braced && closed && isVariableName(name)
}

func isVariableName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		digit := '0' <= r && r <= '9'
		if !letter && (i == 0 || !digit) {
			return false
		}
	}
	return s != ""
}
