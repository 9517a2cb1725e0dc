package advisory

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func numbers(version string) string {
	var out []string
	for _, i := range Known(version) {
		_, number, _ := strings.Cut(i.ID, "#")
		out = append(out, number)
	}
	return strings.Join(out, " ")
}

// TestKnown looks at both sides of every edge.
func TestKnown(t *testing.T) {
	for version, want := range map[string]string{
		"3.3.27":           "",
		"3.4.0":            "11613 11651 14370 17780 18667 20271",
		"3.4.3":            "11613 11651 14370 17780 18667 20271",
		"3.4.4":            "11651 14370 17780 18667 20271",
		"3.4.7":            "11651 14370 17780 18667 20271",
		"3.4.8":            "14370 17780 18667 20271",
		"3.4.19":           "14370 17780 18667 20271",
		"3.4.20":           "14370 14648 17780 18667 20271",
		"3.4.21":           "14648 17780 18667 20271",
		"3.4.22":           "17780 18667 20271",
		"3.4.31":           "17780 18667 20271",
		"3.4.32":           "18667 20271",
		"3.4.37":           "18667 20271",
		"3.4.38":           "18667",
		"3.5.0":            "13766 14370 14685 17158 17780 18667 18679 20271 20967",
		"3.5.2":            "13766 14370 14685 17158 17780 18667 18679 20271 20967",
		"3.5.3":            "14370 14685 17158 17780 18667 18679 20271 20967",
		"3.5.4":            "14370 14685 17158 17780 18667 18679 20271 20967",
		"3.5.5":            "14648 14685 17158 17780 18667 18679 20271 20967",
		"3.5.6":            "17158 17780 18667 18679 20271 20967",
		"3.5.11":           "17158 17780 18667 18679 20271 20967",
		"3.5.12":           "17780 18667 18679 20271 20967",
		"3.5.13":           "17780 18667 18679 20271 20967",
		"3.5.14":           "18667 18679 20271 20967",
		"3.5.16":           "18667 18679 20271 20967",
		"3.5.17":           "18667 20271 20967",
		"3.5.22":           "18667 20271 20967",
		"3.5.23":           "18667 20967",
		"3.5.25":           "18667 20967",
		"3.5.26":           "18667",
		"3.6.0":            "18667 20271",
		"3.6.4":            "18667 20271",
		"3.6.5":            "18667",
		"3.6.99":           "18667",
		"3.7.0":            "",
		"3.7.99":           "",
		"3.8.0":            "",
		"v3.5.2":           "13766 14370 14685 17158 17780 18667 18679 20271 20967",
		"3.5.25-k3s1":      "18667 20967",
		"3.5.26+dirty":     "18667",
		"3.4.23~ds1":       "17780 18667 20271",
		"3.7.0-rc.0":       "",
		"":                 "",
		"3.5":              "",
		"3.5.x":            "",
		"3.5.-1":           "",
		"3.5.2.1":          "",
		"3.5.999999999999": "",
	} {
		if got := numbers(version); got != want {
			t.Errorf("Known(%q): %q, want %q", version, got, want)
		}
	}
}

func TestFixed(t *testing.T) {
	got := Known("3.6.4")
	want := []Issue{
		{ID: "etcd-io/etcd#18667", Summary: got[0].Summary, Fixed: "3.7.0"},
		{ID: "etcd-io/etcd#20271", Summary: got[1].Summary, Fixed: "3.6.5", Patch: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCovers(t *testing.T) {
	for version, want := range map[string]bool{
		"3.3.27": false, "3.4.0": true, "3.6.16": true, "3.7.0": true, "3.7.12": true, "3.8.0": false, "4.0.0": false, "2.3.8": false, "": false, "devel": false,
	} {
		if Covers(version) != want {
			t.Errorf("Covers(%q) = %v", version, !want)
		}
	}
}

func number(t *testing.T, b bug) int {
	t.Helper()
	n, err := strconv.Atoi(b.id[strings.IndexByte(b.id, '#')+1:])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTable: the lines are in order, and say something that can be printed after a colon.
func TestTable(t *testing.T) {
	if !slices.IsSortedFunc(bugs(), func(a, b bug) int { return number(t, a) - number(t, b) }) {
		t.Error("the table is not ordered by number")
	}
	for _, b := range bugs() {
		if strings.ToLower(b.summary[:1]) != b.summary[:1] || strings.HasSuffix(b.summary, ".") || len(b.spans) == 0 {
			t.Errorf("%s: %q, %d spans", b.id, b.summary, len(b.spans))
		}
		for i, s := range b.spans {
			if s.first.compare(s.fixed) >= 0 || i > 0 && b.spans[i-1].fixed.compare(s.first) > 0 {
				t.Errorf("%s: releases %s to %s", b.id, s.first, s.fixed)
			}
		}
	}
}

// TestDocument: docs/etcd-versions.md shows the very table.
func TestDocument(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "etcd-versions.md"))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| Issue | What can happen | In which releases |\n|---|---|---|\n")
	for _, b := range bugs() {
		var releases []string
		for _, s := range b.spans {
			releases = append(releases, fmt.Sprintf("%s until fixed in %s", s.first, s.fixed))
		}
		fmt.Fprintf(&table, "| [%s](https://github.com/%s) | %s | %s |\n", b.id[strings.IndexByte(b.id, '#'):], strings.Replace(b.id, "#", "/issues/", 1), b.summary, strings.Join(releases, "; "))
	}
	if !strings.Contains(string(document), table.String()) {
		t.Errorf("docs/etcd-versions.md must hold this table:\n\n%s", table.String())
	}
}
