package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

const directoryOfRules = "../../monitoring"

// rule is one recording rule or alert.
type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	decode(t, "drd.rules.yml", &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func alerts(t *testing.T) []rule {
	t.Helper()
	return slices.DeleteFunc(rules(t), func(r rule) bool { return r.Alert == "" })
}

func decode(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(directoryOfRules, name))), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPromtool runs promtool's checks and tests of the rules.
func TestPromtool(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", "drd.rules.yml"}, {"test", "rules", "drd.rules.test.yml"}} {
		cmd := exec.CommandContext(t.Context(), servers.Tool(t, "promtool"), args...)
		cmd.Dir = directoryOfRules
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestAlertsSayWhatToDo: each alert has a severity that somebody routes by, a line for the telephone, and a chapter of the page
// that its address leads to.
func TestAlertsSayWhatToDo(t *testing.T) {
	page := read(t, "../../docs/alerts.md")
	var named []string
	for _, a := range alerts(t) {
		named = append(named, a.Alert)
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if s := a.Annotations["summary"]; s == "" || strings.Contains(strings.TrimSpace(s), "\n") {
			t.Errorf("%s: summary %q", a.Alert, s)
		}
		if want := "https://github.com/drd-project/drd/blob/main/docs/alerts.md#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
		_, chapter, found := strings.Cut(page, "\n### "+a.Alert+"\n")
		chapter, _, _ = strings.Cut(chapter, "\n### ")
		for _, part := range []string{"**Severity:** " + a.Labels["severity"], "**What it means.**", "**What is lost.**", "**First.**", "**It ends**"} {
			if !found || !strings.Contains(chapter, part) {
				t.Errorf("docs/alerts.md, %s: no %q", a.Alert, part)
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Drd\w+)$`).FindAllStringSubmatch(page, -1) {
		if !slices.Contains(named, m[1]) {
			t.Errorf("docs/alerts.md describes %s, which is no alert", m[1])
		}
	}
}

// timeline is one test of promtool.
type timeline struct {
	Name   string `yaml:"name"`
	Series []struct {
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Steps []struct {
		Alert string `yaml:"alertname"`
		Fires []any  `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
}

// TestAlertsAreTested: for each alert one timeline is silent at first, over a gap too, then fires, and ends.
func TestAlertsAreTested(t *testing.T) {
	var file struct {
		Tests []timeline `yaml:"tests"`
	}
	decode(t, "drd.rules.test.yml", &file)
	for _, a := range alerts(t) {
		whole := slices.ContainsFunc(file.Tests, func(one timeline) bool {
			gap := slices.ContainsFunc(one.Series, func(s struct {
				Values string `yaml:"values"`
			}) bool {
				return strings.Contains(s.Values, "_x")
			})
			return gap && one.course(a.Alert) == "silent fires silent"
		})
		if !whole {
			t.Errorf("%s: no timeline with a gap is silent, fires, and is silent again", a.Alert)
		}
	}
}

// course is what an alert does, each state once.
func (l timeline) course(alert string) string {
	var states []string
	for _, s := range l.Steps {
		state := "silent"
		if len(s.Fires) > 0 {
			state = "fires"
		}
		if s.Alert == alert && (len(states) == 0 || states[len(states)-1] != state) {
			states = append(states, state)
		}
	}
	return strings.Join(states, " ")
}

// TestAlertmanagerExample: a real Alertmanager starts with the example, and the alerts that it names exist.
func TestAlertmanagerExample(t *testing.T) {
	t.Parallel()
	example := read(t, filepath.Join(directoryOfRules, "alertmanager.example.yml"))
	named := regexp.MustCompile(`Drd\w+`).FindAllString(example, -1)
	if len(named) == 0 {
		t.Error("it names no alert")
	}
	for _, name := range named {
		if !slices.ContainsFunc(alerts(t), func(a rule) bool { return a.Alert == name }) {
			t.Errorf("there is no alert %s", name)
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "alertmanager.yml"), example)
	url := startAlertmanager(t, dir)
	program.Eventually(t, time.Minute, func() error { _, err := get(t.Context(), url+"/-/ready"); return err })
}
