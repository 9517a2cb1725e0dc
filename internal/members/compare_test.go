package members

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name      string
		entries   []entry
		want      []string // members that differ, divergence by divergence
		compared  string
		differing string // over all
	}{
		{"nothing", nil, nil, "", ""},
		{"one member alone", []entry{said("a", 10, -1, 1, 0), said("a", 20, -1, 2, 1)}, nil, "", ""},
		{"other revisions", []entry{said("a", 10, -1, 1, 0), said("b", 11, -1, 2, 0), said("c", 10, 5, 3, 0)}, nil, "", ""},
		{"two agree", []entry{said("a", 10, -1, 1, 0), said("b", 10, -1, 1, 0)}, nil, "ab", ""},
		{"two differ", []entry{said("a", 10, -1, 1, 0), said("b", 10, -1, 2, 0)}, []string{"ab"}, "ab", "ab"},
		{"one of three", []entry{said("a", 10, -1, 1, 0), said("b", 10, -1, 2, 0), said("c", 10, -1, 1, 0)}, []string{"b"}, "abc", "b"},
		{"all three", []entry{said("a", 10, -1, 1, 0), said("b", 10, -1, 2, 0), said("c", 10, -1, 3, 0)}, []string{"abc"}, "abc", "abc"},
		{"two against two", []entry{
			said("a", 10, -1, 1, 0), said("b", 10, -1, 2, 0), said("c", 10, -1, 1, 0), said("d", 10, -1, 2, 0),
		}, []string{"abcd"}, "abcd", "abcd"},
		{"one that lagged", []entry{
			said("a", 10, -1, 1, 0), said("b", 10, -1, 1, 0), said("a", 20, 10, 2, 5), said("b", 20, 10, 2, 5), said("c", 10, -1, 9, 20),
		}, []string{"c"}, "abc", "c"},
		{"longer ago than an hour", []entry{said("a", 10, -1, 1, 0), said("b", 10, -1, 2, 61)}, nil, "", ""},
		{"overtaken", []entry{
			said("a", 10, -1, 1, 0), said("b", 10, -1, 2, 0), said("a", 20, 10, 3, 5), said("b", 20, 10, 3, 5),
		}, nil, "ab", ""},
		{"overtaken for some only", []entry{
			said("a", 10, -1, 1, 0), said("b", 10, -1, 1, 0), said("c", 10, -1, 2, 0), said("a", 20, 10, 3, 5), said("b", 20, 10, 3, 5),
		}, []string{"c"}, "abc", "c"},
		{"still so", []entry{
			said("a", 10, -1, 1, 0), said("b", 10, -1, 2, 0), said("a", 20, 10, 3, 5), said("b", 20, 10, 4, 5),
		}, []string{"ab"}, "ab", "ab"},
		{"changed its own answer", []entry{said("a", 10, -1, 1, 0), said("a", 10, -1, 2, 5)}, []string{"a"}, "a", "a"},
		{"one that is no member any more", []entry{said("a", 10, -1, 1, 0), said("x", 10, -1, 2, 0)}, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			diverged, compared := judge(tt.entries, map[string]bool{"a": true, "b": true, "c": true, "d": true})
			var got []string
			for _, d := range diverged {
				got = append(got, strings.Join(d.Differing(), ""))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			names := ""
			for _, name := range []string{"a", "b", "c", "d", "x"} {
				if !compared[name].IsZero() {
					names += name
				}
			}
			if names != tt.compared {
				t.Errorf("compared %q, want %q", names, tt.compared)
			}
			if all := strings.Join(Report{Diverged: diverged}.Differing(), ""); all != tt.differing {
				t.Errorf("differing %q, want %q", all, tt.differing)
			}
		})
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "two\nlines": "two", "bell\a\x1b[31m": "bell??[31m", "\xff": "?",
		strings.Repeat("ü", 300): strings.Repeat("ü", 98) + "…",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
