package monitoring

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/test/servers"
)

var (
	// metricName is a metric of drd with its matchers, if it has any.
	metricName = regexp.MustCompile(`(?:\b(?:instance|cluster(?:_target)?):)?\bdrd_[a-z_]+(?::[a-z]+)?(\{[^}]*\})?`)
	matcher    = regexp.MustCompile(`([a-z_]+) *(?:=~|!~|!=|=) *"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|on|group_left|group_right) *\(([^)]*)\)`)
)

// scraped are the labels that Prometheus adds to what it scrapes, and the one of histograms.
var scraped = []string{"cluster", "job", "instance", "le"}

// names are the metrics and recording rules that there are, with their labels.
func names(t *testing.T) map[string][]string {
	t.Helper()
	known := make(map[string][]string)
	for _, d := range metrics.Definitions() {
		known[d.Name] = append(slices.Clone(d.Labels), scraped...)
		if d.Type == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[d.Name+suffix] = known[d.Name]
			}
		}
	}
	for _, r := range rules(t) {
		if r.Record != "" {
			known[r.Record] = []string{"cluster", "job", "target"}
		}
	}
	return known
}

// values are those of labels that have a fixed set of them.
func values(metric, label string) []string {
	var all []string
	for _, d := range metrics.Definitions() {
		if d.Name == metric && slices.Contains([]string{"kind", "result", "directory", "use"}, label) {
			for _, v := range d.Values {
				all = append(all, v.Name)
			}
		}
	}
	return all
}

// check fails the test for each metric, label or value in an expression that does not exist.
func check(t *testing.T, where, expr string) (used []string) {
	t.Helper()
	known := names(t)
	for _, found := range metricName.FindAllStringSubmatch(expr, -1) {
		name := strings.TrimSuffix(found[0], found[1])
		labels, exists := known[name]
		if !exists {
			t.Errorf("%s: there is no %s", where, name)
			continue
		}
		used = append(used, name)
		for _, m := range matcher.FindAllStringSubmatch(found[1], -1) {
			if !slices.Contains(labels, m[1]) {
				t.Errorf("%s: %s has no label %s", where, name, m[1])
			}
			if all := values(name, m[1]); len(all) > 0 && !slices.Contains(all, m[2]) {
				t.Errorf("%s: %s of %s is never %q", where, m[1], name, m[2])
			}
		}
	}
	return used
}

// expressions are all that is asked, by where.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, r := range rules(t) {
		all["rule "+r.Alert+r.Record] = r.Expr
	}
	for _, p := range panels(t) {
		all["panel "+p.Title] = strings.Join(p.queries(), "\n")
	}
	return all
}

// TestNamesExist: rules and dashboard ask for nothing that drd does not tell.
func TestNamesExist(t *testing.T) {
	var labels []string
	for _, d := range metrics.Definitions() {
		labels = append(labels, d.Labels...)
	}
	labels = append(labels, scraped...)
	for where, expr := range expressions(t) {
		check(t, where, expr)
		for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
			for _, label := range strings.FieldsFunc(g[1], func(r rune) bool { return r == ',' || r == ' ' }) {
				if !slices.Contains(labels, label) {
					t.Errorf("%s: nothing has a label %s", where, label)
				}
			}
		}
	}
}

// TestPagesNameWhatExists: so do the pages.
func TestPagesNameWhatExists(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(pages, "../../monitoring/README.md", "../../README.md") {
		text := read(t, path)
		if !strings.Contains(text, "drd_") {
			continue
		}
		// A name that ends in an underscore stands for several, and a file such as drd_1.0.0_amd64.deb for none.
		for _, found := range regexp.MustCompile(`\bdrd_[a-z_]+[a-z](\{[^}]*\})?`).FindAllString(text, -1) {
			if strings.HasPrefix(found, "drd_name") || regexp.MustCompile(regexp.QuoteMeta(found)+`[_0-9*]`).MatchString(text) {
				continue
			}
			check(t, filepath.Base(path), found)
		}
	}
}

// unused are the metrics that no rule and no panel asks for, and why.
var unused = map[string]string{
	"drd_config_last_reload_success_timestamp_seconds": "for people: since when the configuration is in force",
}

// TestAllAreUsed: each metric is asked for somewhere, or it is said why not.
func TestAllAreUsed(t *testing.T) {
	var used []string
	for where, expr := range expressions(t) {
		used = append(used, check(t, where, expr)...)
	}
	for _, d := range metrics.Definitions() {
		asked := slices.ContainsFunc(used, func(name string) bool { return name == d.Name || name == d.Name+"_bucket" })
		if _, excused := unused[d.Name]; asked == excused {
			t.Errorf("%s: asked for: %v; listed as unused: %v", d.Name, asked, excused)
		}
	}
}

// TestQueriesParse: promtool, which is stricter than a dashboard that shows nothing, reads every query of it.
func TestQueriesParse(t *testing.T) {
	type record struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var all []record
	for _, p := range panels(t) {
		for _, q := range p.queries() {
			all = append(all, record{"drd:panel", q})
		}
	}
	b, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": all}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "panels.yml")
	write(t, file, string(b))
	if out, err := exec.CommandContext(t.Context(), servers.Tool(t, "promtool"), "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
