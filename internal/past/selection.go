package past

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/drd-project/drd/internal/kube"
)

// Selection says which keys are meant: at most one field is set, and none means all.
type Selection struct {
	Key    []byte `json:"key,omitempty"`
	Prefix []byte `json:"prefix,omitempty"` // every key that begins so
	// Namespace means a namespace of Kubernetes: its own object, and all objects in it.
	Namespace string `json:"namespace,omitempty"`
}

// Validate returns what is wrong with it.
func (s Selection) Validate() error {
	set := 0
	for _, is := range []bool{len(s.Key) > 0, len(s.Prefix) > 0, s.Namespace != ""} {
		if is {
			set++
		}
	}
	if set > 1 {
		return errors.New("a key, a prefix and a namespace exclude each other")
	}
	return nil
}

// All reports whether no key is left out.
func (s Selection) All() bool { return len(s.Key) == 0 && len(s.Prefix) == 0 && s.Namespace == "" }

// Has reports whether a key is meant. The empty key is nobody's: etcd has it in a store whose revision was moved forward.
func (s Selection) Has(key []byte) bool {
	switch {
	case len(key) == 0:
		return false
	case len(s.Key) > 0:
		return bytes.Equal(key, s.Key)
	case len(s.Prefix) > 0:
		return bytes.HasPrefix(key, s.Prefix)
	case s.Namespace != "":
		ref, ok := kube.ParseKey(key)
		return ok && ref.In(s.Namespace)
	}
	return true
}

// KeyText is a key for people: as it is if it is printable, otherwise quoted and escaped, which ParseKeyText reads again.
func KeyText(key []byte) string {
	text := string(key)
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` || text == "" {
		return quoted
	}
	return text
}

// ParseKeyText is a key as somebody gave it: literally, or as KeyText has quoted it.
func ParseKeyText(text string) []byte {
	if len(text) >= 2 && text[0] == '"' {
		if key, err := strconv.Unquote(text); err == nil {
			return []byte(key)
		}
	}
	return []byte(text)
}
