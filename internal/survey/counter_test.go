package survey

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrefix(t *testing.T) {
	for key, want := range map[string]string{
		"/registry/pods/default/web":        "/registry/pods/",
		"/registry/pods/":                   "/registry/pods/",
		"/registry/example.com/widgets/n/x": "/registry/example.com/",
		"/registry/x":                       "/registry/",
		"rke2/etcd/learnerProgress":         "rke2/etcd/",
		"rke2/apiaddresses":                 "rke2/",
		"//x":                               "//",
		"a/b":                               "a/",
		"/":                                 NoPrefix,
		"/x":                                NoPrefix,
		"flat":                              NoPrefix,
		"flat.dotted:colon":                 NoPrefix,
		"\x00\xff":                          NoPrefix,
		"\x00\xff/x":                        "hex:00ff2f",
		"\x1b[2J/x":                         "hex:1b5b324a2f",
		"größe/x":                           "größe/",
		strings.Repeat("a", 128) + "/x":     strings.Repeat("a", 128) + "…",
		strings.Repeat("a", 127) + "/x":     strings.Repeat("a", 127) + "/",
		strings.Repeat("\xff", 500) + "/x":  "hex:" + strings.Repeat("ff", 128) + "…",
		// Cut within a letter: not printable any more, whatever the order of events.
		strings.Repeat("a", 127) + "ß/x": "hex:" + strings.Repeat("61", 127) + "c3…",
	} {
		if got := prefixName(prefixOf([]byte(key))); got != want {
			t.Errorf("prefix of %q: %q, want %q", key, got, want)
		}
	}
}

// TestCounterIgnoresOrder: beyond 999 prefixes too, what is counted does not depend on the order of the keys.
func TestCounterIgnoresOrder(t *testing.T) {
	var keys [][]byte
	for i := range 2500 {
		for range 1 + i%3 {
			keys = append(keys, fmt.Appendf(nil, "/%04d/k", i))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	var first map[string]int64
	for round := range 20 {
		var c Counter
		for _, key := range keys {
			c.Add(key)
		}
		got := c.Counts()
		if round == 0 {
			first = got
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Fatalf("round %d: %s", round, diff)
		}
		random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	}
	var total int64
	for _, n := range first {
		total += n
	}
	if len(first) != 1000 || total != int64(len(keys)) || first["/0000/"] != 1 || first["/0997/"] != 2 || first["/0998/"] != 3 {
		t.Errorf("%d names, %d of %d keys: %d, %d, %d", len(first), total, len(keys), first["/0000/"], first["/0997/"], first["/0998/"])
	}
	if _, ok := first["/0999/"]; ok {
		t.Error("the prefix after the first 999 is told apart")
	}
}

func TestCounterFull(t *testing.T) {
	var c Counter
	for i := range 999 {
		c.Add(fmt.Appendf(nil, "%04d/", i))
	}
	if counts := c.Counts(); len(counts) != 999 || counts[Other] != 0 {
		t.Errorf("as many prefixes as fit: %d names, %d others", len(counts), counts[Other])
	}
}
