package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/proof"
)

// TestWarnings: what many drills said stands once, with the newest of them.
func TestWarnings(t *testing.T) {
	said := func(snapshot string, warnings ...string) Drill {
		return Drill{Drill: proof.Drill{Snapshot: snapshot, Warnings: warnings}}
	}
	r := &Report{Drills: []Drill{said("c", "no namespace"), said("b", "slow", "no namespace"), said("a", "no namespace")}}
	var got []string
	for _, w := range r.warnings() {
		got = append(got, w.text+": "+w.of())
	}
	if diff := cmp.Diff([]string{"no namespace: c and 2 more", "slow: b"}, got); diff != "" {
		t.Error(diff)
	}
}
