package past_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/past"
)

func difference(fate past.Fate, key string) *past.Difference {
	return &past.Difference{Fate: fate, Last: past.Change{Key: []byte(key)}}
}

func TestTally(t *testing.T) {
	var tally past.Tally
	for i := range 40 {
		tally.Add(difference(past.Deleted, fmt.Sprintf("/registry/pods/shop/web-%d", i)))
		tally.Add(difference(past.Changed, fmt.Sprintf("/registry/leases/kube-node-lease/node-%d", i)))
	}
	tally.Add(difference(past.Deleted, "/registry/namespaces/shop"))
	tally.Add(difference(past.Deleted, "/registry/services/specs/shop/web"))
	tally.Add(difference(past.Created, "/registry/namespaces/new"))
	tally.Add(difference(past.Created, "/registry/example.com/widgets/new/blue"))
	tally.Add(difference(past.Changed, "/registry/ranges/serviceips"))
	tally.Add(difference(past.Changed, "app/\xff/x"))
	tally.Add(difference(past.Deleted, "flat"))
	var out strings.Builder
	if err := tally.WriteText(&out, 4); err != nil {
		t.Fatal(err)
	}
	want := `
NAMESPACE        CREATED  CHANGED  DELETED
shop             0        0        41  the namespace itself was DELETED
kube-node-lease  0        40       0
new              1        0        0  the namespace itself was CREATED

RESOURCE     CREATED  CHANGED  DELETED
pods         0        0        40
namespaces   1        0        1
(no prefix)  0        0        1
services     0        0        1
and 4 more
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if got := tally.Total(); got.Created != 2 || got.Changed != 42 || got.Deleted != 43 {
		t.Errorf("%+v", got)
	}
}

// TestTallyIsBounded: names beyond a thousand count together.
func TestTallyIsBounded(t *testing.T) {
	var tally past.Tally
	for i := range 5000 {
		tally.Add(difference(past.Deleted, fmt.Sprintf("/registry/pods/ns-%04d/p", i)))
	}
	namespaces := tally.Namespaces()
	if len(namespaces) != 1000 || namespaces[0].Name != past.Other || namespaces[0].Deleted != 4001 {
		t.Errorf("%d namespaces, the first is %+v", len(namespaces), namespaces[0])
	}
}

// TestTallyQuotes: a name that somebody chose to write to a terminal with is quoted, and everything else is as it is.
func TestTallyQuotes(t *testing.T) {
	var tally past.Tally
	tally.Add(difference(past.Created, "/registry/pods/\x1b]0;title\a/x"))
	tally.Add(difference(past.Deleted, "/registry/namespaces/\x1b[2J"))
	tally.Add(difference(past.Created, "/registry/\u202epods/shop/x"))
	tally.Add(difference(past.Created, "\x1b[2J/\xff/x"))
	tally.Add(difference(past.Created, "/registry/pods/shop/x"))
	var out strings.Builder
	if err := tally.WriteText(&out, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"\x1b]0;title\a"`, `"\x1b[2J"`, `"\u202epods"`, `"\x1b[2J/\xff/"`, "\nshop "} {
		if !strings.Contains(out.String(), name) {
			t.Errorf("%s is not in %q", name, &out)
		}
	}
	if strings.ContainsAny(out.String(), "\x1b\a\u202e") || !utf8.ValidString(out.String()) {
		t.Errorf("%q", &out)
	}
}
