package demo

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestObjects(t *testing.T) {
	g := newGenerator()
	seen := make(map[string]bool)
	for _, k := range kinds() {
		for range k.count {
			o := k.make(g)
			if seen[o.key] {
				t.Errorf("%s: made twice", o.key)
			}
			seen[o.key] = true
			if !strings.HasPrefix(o.key, "/registry/") {
				t.Errorf("%s: not a key of Kubernetes", o.key)
			}
			checkValue(t, o.key, o.value)
			once := g.revise(o.value)
			twice := g.revise(once)
			checkValue(t, o.key, twice)
			if bytes.Equal(o.value, once) || len(twice) != len(once) {
				t.Errorf("%s: revisions of %d, %d and %d bytes", o.key, len(o.value), len(once), len(twice))
			}
		}
	}
}

func checkValue(t *testing.T, key string, value []byte) {
	t.Helper()
	if len(value) < 200 || len(value) > 8<<10 {
		t.Errorf("%s: a value of %d bytes", key, len(value))
	}
	if !bytes.HasPrefix(value, []byte(encrypted)) && !json.Valid(value) {
		t.Errorf("%s: neither JSON nor encrypted: %.80q", key, value)
	}
}
