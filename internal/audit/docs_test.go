package audit

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of docs/audit.md")

const page = "../../docs/audit.md"

var generated = regexp.MustCompile(`(?s)(<!-- table: events -->\n).*?(<!-- end of table -->)`)

// TestPage: the table of docs/audit.md is Definitions. -update writes it.
func TestPage(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| Event | When | `object` | NIST SP 800-53 |\n|---|---|---|---|\n")
	for _, d := range Definitions() {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", d.Name, d.When, d.Object, d.Controls)
	}
	if n := len(generated.FindAll(b, -1)); n != 1 {
		t.Fatalf("%d tables of events", n)
	}
	want := generated.ReplaceAllString(string(b), "${1}"+table.String()+"${2}")
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if d := cmp.Diff(want, string(b)); d != "" {
		t.Errorf("run `go test ./internal/audit -update`: %s", d)
	}
}

// constant is how event.go names its events.
var constant = regexp.MustCompile(`(?m)^\t([A-Z]\w+) +Name = "([^"]+)"$`)

// TestDefinitions: each event that the code can name is defined, once.
func TestDefinitions(t *testing.T) {
	text, err := os.ReadFile("event.go")
	if err != nil {
		t.Fatal(err)
	}
	// gofmt writes `X Name = "…"` for all constants of the block.
	var named, defined []string
	for _, m := range constant.FindAllStringSubmatch(string(text), -1) {
		named = append(named, m[2])
	}
	for _, d := range Definitions() {
		defined = append(defined, string(d.Name))
		if d.When == "" || d.Object == "" || !strings.Contains(d.Controls, "AU-2") {
			t.Errorf("%s is not described", d.Name)
		}
	}
	if d := cmp.Diff(named, defined); d != "" || len(named) < 10 {
		t.Errorf("events named and defined: %s", d)
	}
}

// Commands of the page that compute a hash: of the line whose hash the next one holds, and of the record that a manifest knows.
var (
	byLine   = regexp.MustCompile(`(?m)^(sed -n )317(p audit\.jsonl \| .*sha256sum) `)
	byNumber = regexp.MustCompile(`(?m)^(grep -h '\^{"sequence":)318(,' audit\*\.jsonl \| .*sha256sum) `)
)

// TestByHand: the page's commands, run on a log, print what the next line holds, and what a manifest would.
func TestByHand(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	p.note(2)
	newest := p.newest()
	p.note(1)
	var next Record
	if err := json.Unmarshal(p.lines()[2], &next); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[*regexp.Regexp]string{byLine: next.Previous, byNumber: newest.Hash} {
		command := pattern.FindStringSubmatch(string(text))
		if command == nil {
			t.Fatalf("the page has no command like %s", pattern)
		}
		sh := exec.CommandContext(t.Context(), "sh", "-c", command[1]+"2"+command[2])
		sh.Dir = filepath.Dir(p.path)
		out, err := sh.Output()
		if err != nil {
			t.Fatal(err)
		}
		if hash, _, _ := strings.Cut(string(out), " "); hash != want {
			t.Errorf("%s: %q, want %q", command[0], hash, want)
		}
	}
}
