package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/test/planted"
)

var update = flag.Bool("update", false, "rewrite the golden files from what the code does now")

// TestErrors compares what a person reads for each broken file in testdata/errors, to the column.
func TestErrors(t *testing.T) {
	names, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(names) < 90 {
		t.Fatalf("found %d files: %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parse("drd.yaml", data, fixedEnv)
			if err == nil {
				t.Fatal("accepted")
			}
			checkProblems(t, data, err)
			got := told(err)
			if len(planted.New().Find(got)) > 0 {
				t.Errorf("repeats the secret:\n%s", got)
			}
			compareGolden(t, strings.TrimSuffix(name, ".yaml")+".golden", got)
		})
	}
}

// told is err as the command line prints it, each problem with its own hint.
func told(err error) string {
	var out strings.Builder
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() { //nolint:errorlint // the join itself is wanted
		out.WriteString(one.Error() + "\n")
		for _, h := range hint.Of(one) {
			out.WriteString("  hint: " + h + "\n")
		}
	}
	return out.String()
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorFields(t *testing.T) {
	_, err := Parse("/etc/drd/config.yaml", []byte("cluster: 7\n"))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T: %v", err, err)
	}
	want := &Error{
		File: "/etc/drd/config.yaml", Line: 1, Column: 10, Key: "cluster",
		Problem: "must be a text, is a number", Hint: "put the value in quotes",
	}
	found := false
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() { //nolint:errorlint // the join itself is under test
		if errors.As(one, &e) && cmp.Equal(want, e) {
			found = true
		}
	}
	if !found {
		t.Errorf("no %+v in\n%s", want, told(err))
	}
}
