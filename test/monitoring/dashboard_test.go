package monitoring

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

// panel is one picture of the dashboard.
type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

// queries are what it asks, with Grafana's variables filled in.
func (p panel) queries() []string {
	var out []string
	for _, t := range p.Targets {
		out = append(out, strings.ReplaceAll(t.Expr, "$cluster", ".*"))
	}
	return out
}

func panels(t *testing.T) []panel {
	t.Helper()
	b, err := os.ReadFile("../../monitoring/drd.dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d.Panels
}

// firstRow are the panels between the first heading and the second.
func firstRow(all []panel) []panel {
	var out []panel
	headings := 0
	for _, p := range all {
		if p.Type == "row" {
			headings++
		} else if headings == 1 {
			out = append(out, p)
		}
	}
	return out
}

// TestDashboard: the first row asks the questions of the page's first line, no two panels lie on each other, each says what it
// shows and asks only within the chosen cluster.
func TestDashboard(t *testing.T) {
	all := panels(t)
	var titles []string
	for _, p := range firstRow(all) {
		titles = append(titles, p.Title)
	}
	want := "Could I restore now? To when? How much would be lost? How long would it take? When was that proved?"
	if got := strings.Join(titles, " "); got != want {
		t.Errorf("first row: %s", got)
	}
	taken, ids := make(map[[2]int]string), make(map[int]bool)
	for _, p := range all {
		if ids[p.ID] {
			t.Errorf("%s: its number is not its own", p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("%s says not what it shows, or shows nothing", p.Title)
		}
		for _, q := range p.queries() {
			if strings.Contains(q, "$") || !strings.Contains(q, `cluster=~".*`) {
				t.Errorf("%s: %s", p.Title, q)
			}
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x > 23 {
					t.Fatalf("%s lies on %q, or beside the page", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// answers is content when Prometheus understands a query, whatever it finds.
func (m *monitor) answers(query string) error {
	_, err := get(m.t.Context(), m.prometheus+"/api/v1/query?query="+url.QueryEscape(query))
	if err != nil {
		err = fmt.Errorf("%s: %w", query, err)
	}
	return err
}
