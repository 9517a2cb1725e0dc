package metrics

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = "../../docs/metrics.md"

// generated is one table of the page, between its marks.
var generated = regexp.MustCompile(`(?s)(<!-- table: ([^>]+) -->\n).*?(<!-- end of table -->)`)

// TestPage: the tables of docs/metrics.md are those of the registry, each section once. -update writes them.
func TestPage(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	want := generated.ReplaceAllStringFunc(string(b), func(block string) string {
		parts := generated.FindStringSubmatch(block)
		sections = append(sections, parts[2])
		return parts[1] + table(parts[2]) + parts[3]
	})
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if d := cmp.Diff(want, string(b)); d != "" {
		t.Errorf("run `go test ./internal/metrics -update`: %s", d)
	}
	var defined []string
	for _, d := range Definitions() {
		if !slices.Contains(defined, d.Section) {
			defined = append(defined, d.Section)
		}
	}
	if d := cmp.Diff(defined, sections); d != "" {
		t.Errorf("sections: %s", d)
	}
}

func table(section string) string {
	var out strings.Builder
	out.WriteString("| Name | Type | Labels | Unit | What it says |\n|---|---|---|---|---|\n")
	for _, d := range Definitions() {
		if d.Section == section {
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", d.Name, d.Type, codes(d.Labels), d.Unit, meaning(d))
		}
	}
	return out.String()
}

func codes(names []string) string {
	var quoted []string
	for _, n := range names {
		quoted = append(quoted, "`"+n+"`")
	}
	return strings.Join(quoted, ", ")
}

// code are the words of a help text that stand in configuration files, on command lines and in Prometheus.
var code = regexp.MustCompile(`\b(drd_[a-z_]+|drd list|[a-z]+_dir|[a-z_]+_file|lost\.jsonl|[a-z]+\.(schedule|file|textfile|[a-z]+_[a-z]+|[a-z]+_[a-z]+_[a-z]+|endpoints)|x_security_token_expires)\b`)

func meaning(d Definition) string {
	text := code.ReplaceAllString(d.Help, "`$1`")
	text = strings.Replace(text, "This node:", "*This node:*", 1)
	var values []string
	for _, v := range d.Values {
		values = append(values, fmt.Sprintf("`%s`: %s", v.Name, code.ReplaceAllString(v.Meaning, "`$1`")))
	}
	if len(values) > 0 {
		text += " " + strings.Join(values, "; ") + "."
	}
	return text
}

// TestDefinitions: what is defined is what is registered, with these labels, and help is there for each.
func TestDefinitions(t *testing.T) {
	families, err := full().Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "drd_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		got[f.GetName()] = strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, " ") + ": " + f.GetHelp()
	}
	want := make(map[string]string)
	for _, d := range Definitions() {
		if d.Help == "" || d.Section == "" {
			t.Errorf("%s is not described", d.Name)
		}
		labels := slices.Sorted(slices.Values(d.Labels))
		want[d.Name] = d.Type + " " + strings.Join(labels, " ") + ": " + d.Help
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestStagesDocumented: the page has a row for each stage of drd_errors_total.
func TestStagesDocumented(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stages() {
		if !strings.Contains(string(b), "\n| `"+string(s)+"` |") {
			t.Errorf("stage %s is not documented", s)
		}
	}
}
