package demo

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrapped(t *testing.T) {
	long := strings.Repeat("x", 120)
	for name, test := range map[string]struct{ text, want string }{
		"short":          {"a b", "a b\n"},
		"paths":          {"/demo/safe/key and file:///demo/target", "safe/key and file://$PWD/target\n"},
		"exactly":        {strings.Repeat("y", 98) + " z", strings.Repeat("y", 98) + " z\n"},
		"one too long":   {strings.Repeat("y", 98) + " zz", strings.Repeat("y", 98) + "\n  zz\n"},
		"a long word":    {long + " z", long + "\n  z\n"},
		"only a word":    {long, long + "\n"},
		"indented":       {"  " + long + " z", "  " + long + "\n  z\n"},
		"wide letters":   {strings.Repeat("é", 98) + " z", strings.Repeat("é", 98) + " z\n"},
		"hangs once":     {strings.Repeat("abcd ", 41) + "e", strings.Repeat("abcd ", 19) + "abcd\n  " + strings.Repeat("abcd ", 18) + "abcd\n  abcd abcd e\n"},
		"nothing at all": {"", "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s := &story{w: &out, columns: columns, place: "/demo"}
			s.wrapped("", "  ", test.text)
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("wrapped (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	s := &story{w: &out}
	s.table([]bool{true, false, true}, [][]string{{"name", "n", "unit"}, {"a", "100", "B"}, {"long name", "1", ""}})
	want := "   name         n  unit\n   a          100  B\n   long name    1\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestColor(t *testing.T) {
	for _, color := range []bool{false, true} {
		var out strings.Builder
		s := &story{w: &out, color: color, columns: columns}
		s.chapter("A cluster")
		if err := s.compare("recorded", []fact{{"keys", 1, 1}}); err != nil {
			t.Error(err)
		}
		if err := s.compare("recorded", []fact{{"keys", 1, 2}}); !errors.Is(err, errDiffers) {
			t.Errorf("error %v, want %v", err, errDiffers)
		}
		for _, text := range []string{bold + "1  A cluster" + plain, green + "equal" + plain, bold + "DIFFERS" + plain} {
			if strings.Contains(out.String(), text) != color {
				t.Errorf("color %t: wrote %q", color, out.String())
			}
		}
	}
}
