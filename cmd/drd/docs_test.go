package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestDocumentedFields: every field of a JSON document that a script has seen is named in docs/json.md, and those of a
// manifest in docs/format.md.
func TestDocumentedFields(t *testing.T) {
	named := make(map[string]bool)
	for _, page := range []string{"json.md", "format.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range regexp.MustCompile("`[^`\n]+`").FindAllString(string(text), -1) {
			for name := range strings.SplitSeq(strings.Trim(code, "`."), ".") {
				named[strings.TrimSuffix(name, "[]")] = true
			}
		}
	}
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, script := range scripts {
		archive, err := txtar.ParseFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range archive.Files {
			if !strings.HasPrefix(file.Name, "want") {
				continue // no fields, but what the script gives to drd
			}
			for line := range strings.Lines(string(file.Data)) {
				path, _, _ := strings.Cut(strings.TrimSpace(line), " ")
				for name := range strings.SplitSeq(path, ".") {
					fields++
					if name = strings.TrimSuffix(name, "[]"); !named[name] {
						t.Errorf("%s: %s is in no page of docs: nothing is called %q there", script, path, name)
					}
				}
			}
		}
	}
	if fields < 100 {
		t.Errorf("the scripts have %d fields only", fields)
	}
}
