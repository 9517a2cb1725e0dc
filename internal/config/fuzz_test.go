package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzParse looks for inputs that crash the parser, for errors without a place, and for
// configurations that change when they are shown and read again.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/errors/*.yaml", "testdata/*.yaml", "../../packaging/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("no seeds in %s: %v", pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse("f.yaml", data, fixedEnv)
		if err != nil {
			checkProblems(t, data, err)
			return
		}
		again, err := parse("f.yaml", c.Redacted(), fixedEnv)
		if err != nil {
			t.Fatalf("read back what was shown:\n%s\n%s", c.Redacted(), err)
		}
		if diff := cmp.Diff(c, again, cmpopts.IgnoreUnexported(Config{})); diff != "" {
			t.Error(diff)
		}
	})
}

func fixedEnv(name string) (string, bool) {
	v, ok := map[string]string{"CLUSTER": "prod-east", "DOLLAR": "a$b${CLUSTER}", "KEY": "AGE-SECRET-KEY-1QQ"}[name]
	return v, ok
}

// checkProblems asserts that err is made of *Error alone, each with a place inside data.
func checkProblems(t *testing.T, data []byte, err error) {
	t.Helper()
	lines := strings.Count(string(data), "\n") + 1    // as an editor counts
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // the join itself is under test
	if !ok {
		t.Fatalf("%T is not a join: %v", err, err)
	}
	for _, one := range joined.Unwrap() {
		var e *Error
		if !errors.As(one, &e) {
			t.Fatalf("%T is not an *Error: %v", one, one)
		}
		if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Problem == "" {
			t.Errorf("%+v in a file of %d lines", e, lines)
		}
		if strings.ContainsFunc(e.Error(), isControl) {
			t.Errorf("control character in %q", e.Error())
		}
	}
}
