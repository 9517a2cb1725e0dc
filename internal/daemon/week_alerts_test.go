package daemon

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/test/servers"
)

const (
	// scrapeEvery is also how often the rules are evaluated.
	scrapeEvery = 5 * time.Minute
	rulesFile   = "../../monitoring/drd.rules.yml"
	// job are the labels that Prometheus adds to what it scrapes.
	job = `cluster="prod-east",job="drd",instance="node-1"`
)

// chapter is what Prometheus scraped in one part of the story, and the points at which somebody looked.
type chapter struct {
	name    string
	began   time.Time // of the first scrape
	scrapes int
	series  map[string][]string // values by scrape, as promtool reads them; a series that began late lacks the first
	points  []*point
}

// point is one moment of the story.
type point struct {
	at     int // how many scrapes there were
	title  string
	clock  string   // of the host; "": it is right
	taken  []string // ticks that were answered since the last look
	status string
	alerts []string // that fire
}

// scrape notes the metrics of a host that is on.
func (c *chapter) scrape(m *metrics.Metrics, on bool) error {
	if c.scrapes == 0 {
		c.began, c.series = time.Now(), make(map[string][]string)
	}
	note := func(name, value string) {
		for len(c.series[name]) < c.scrapes {
			c.series[name] = append(c.series[name], "_")
		}
		c.series[name] = append(c.series[name], value)
	}
	up := "0"
	if on {
		up = "1"
		if err := c.gather(m, note); err != nil {
			return err
		}
	}
	note("up{"+job+"}", up)
	c.scrapes++
	return nil
}

func (c *chapter) gather(m *metrics.Metrics, note func(name, value string)) error {
	families, err := m.Gatherer().Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			value := s.GetGauge().GetValue() + s.GetCounter().GetValue()
			if s.GetHistogram() != nil {
				continue // no alert reads one
			}
			if strings.HasSuffix(f.GetName(), "_timestamp_seconds") {
				value -= float64(c.began.Unix()) // the time of promtool's tests begins at 0
			}
			labels := job
			for _, l := range s.GetLabel() {
				labels += fmt.Sprintf(",%s=%q", l.GetName(), l.GetValue())
			}
			note(f.GetName()+"{"+labels+"}", strconv.FormatFloat(value, 'f', -1, 64))
		}
	}
	return nil
}

// runs writes equal values in a row as promtool does.
func runs(values []string) string {
	var parts []string
	for i := 0; i < len(values); {
		n := 1
		for i+n < len(values) && values[i+n] == values[i] {
			n++
		}
		if values[i] == "_" {
			parts = append(parts, fmt.Sprintf("_x%d", n))
		} else {
			parts = append(parts, fmt.Sprintf("%sx%d", values[i], n-1))
		}
		i += n
	}
	return strings.Join(parts, " ")
}

// write is the chapter for people.
func (c *chapter) write(out *strings.Builder) {
	fmt.Fprintf(out, "# %s\n", c.name)
	for _, p := range c.points {
		fmt.Fprintf(out, "\n## %s\n", p.title)
		if p.clock != "" {
			fmt.Fprintf(out, "The clock of the host shows %s.\n", p.clock)
		}
		if len(p.taken) > 0 {
			fmt.Fprintf(out, "Ticks answered: %s\n", strings.Join(p.taken, ", "))
		}
		for _, a := range p.alerts {
			fmt.Fprintf(out, "ALERT %s\n", a)
		}
		fmt.Fprintln(out)
		for line := range strings.Lines(p.status) {
			out.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
		}
	}
	fmt.Fprintln(out)
}

// evaluate asks promtool which alerts fire at each point: it is told to expect none, and tells those that it did not expect.
func evaluate(t *testing.T, chapters []*chapter) {
	t.Helper()
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	groups := namesIn(rules, `(?m)^  - name: (\S+)$`)
	alerts := namesIn(rules, `(?m)^      - alert: (\w+)$`)
	if len(groups) == 0 || len(alerts) == 0 {
		t.Fatalf("%s has %d groups and %d alerts", rulesFile, len(groups), len(alerts))
	}
	path, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "week.test.yml")
	if err := os.WriteFile(file, []byte(promtoolTest(path, groups, alerts, chapters)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), servers.Tool(t, "promtool"), "test", "rules", file).CombinedOutput()
	if err == nil {
		t.Fatal("no alert fired in a week of trouble")
	}
	fires := firing(t, string(out))
	for _, c := range chapters {
		for _, p := range c.points {
			for _, alert := range alerts {
				p.alerts = append(p.alerts, slices.Sorted(slices.Values(fires[c.moment(p)+alert]))...)
			}
		}
	}
}

// namesIn are the texts of the first group of a pattern.
func namesIn(text []byte, pattern string) []string {
	var names []string
	for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// moment names a point as firing does: by chapter and time since its begin.
func (c *chapter) moment(p *point) string {
	return fmt.Sprintf("%s %s ", c.name, time.Duration(p.at-1)*scrapeEvery)
}

// promtoolTest is a file for promtool that expects no alert at any point.
func promtoolTest(rules string, groups, alerts []string, chapters []*chapter) string {
	var b strings.Builder
	minutes := int(scrapeEvery.Minutes())
	fmt.Fprintf(&b, "rule_files: [%q]\nevaluation_interval: %dm\ngroup_eval_order: [%s]\ntests:\n", rules, minutes, strings.Join(groups, ", "))
	for _, c := range chapters {
		fmt.Fprintf(&b, "  - name: %s\n    interval: %dm\n    input_series:\n", c.name, minutes)
		for _, name := range slices.Sorted(maps.Keys(c.series)) {
			fmt.Fprintf(&b, "      - {series: '%s', values: '%s'}\n", name, runs(c.series[name]))
		}
		b.WriteString("    alert_rule_test:\n")
		for _, p := range c.points {
			for _, alert := range alerts {
				fmt.Fprintf(&b, "      - {eval_time: %dm, alertname: %s}\n", (p.at-1)*minutes, alert)
			}
		}
	}
	return b.String()
}

// firing takes the alerts that fire out of what promtool says of those that it did not expect, by moment and name.
func firing(t *testing.T, said string) map[string][]string {
	t.Helper()
	fires := make(map[string][]string)
	heading := regexp.MustCompile(`^alertname: (\w+), time: (\w+),`)
	severity := regexp.MustCompile(`^Labels:.*severity="(\w+)"`)
	summary := regexp.MustCompile(`^Annotations:.*summary="((?:[^"\\]|\\.)*)"`)
	var chapter, moment, alert, grave string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if name, found := strings.CutPrefix(line, "name: "); found {
			chapter = strings.TrimSuffix(name, ",")
		} else if m := heading.FindStringSubmatch(line); m != nil {
			after, err := time.ParseDuration(regexp.MustCompile(`\d+[wd]`).ReplaceAllStringFunc(m[2], hours))
			if err != nil {
				t.Fatalf("promtool: %v\n%s", err, said)
			}
			alert, moment = m[1], fmt.Sprintf("%s %s %s", chapter, after, m[1])
		} else if m := severity.FindStringSubmatch(line); m != nil {
			grave = m[1]
		} else if m := summary.FindStringSubmatch(line); m != nil {
			fires[moment] = append(fires[moment], grave+" "+alert+": "+m[1])
		}
	}
	if len(fires) == 0 {
		t.Fatalf("promtool: %s", said)
	}
	return fires
}

// hours writes weeks and days, which Go does not know.
func hours(long string) string {
	n, _ := strconv.Atoi(long[:len(long)-1]) // the pattern has seen to it
	if strings.HasSuffix(long, "w") {
		n *= 7
	}
	return fmt.Sprintf("%dh", 24*n)
}
