package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/stylesheet"
)

//go:embed page.html
var pageSource string

// WriteHTML writes the report as one page that needs nothing else: no script, no style sheet, no font and no picture from anywhere.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.New("report").Funcs(template.FuncMap{
		"instant": instant, "time": orDash, "size": disk.Size, "recovery": recovery, "dots": r.dots, "width": func() int { return chartWidth },
		"style": stylesheet.Base,
	}).Parse(pageSource)
	if err != nil {
		return fmt.Errorf("read the page's template: %w", err)
	}
	err = page.Execute(w, struct {
		*Report
		Facts   []fact
		Command string
		Good    bool
	}{r, r.facts(), checkCommand, r.good()})
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// good: each target has a passed drill in the period, and of the snapshots in it none stands failed, be it by a drill of
// long ago, and no archived revision: that another one can be restored, or that its data can be read, heals none.
func (r *Report) good() bool {
	for _, t := range r.Targets {
		if t.LastPassed == nil || t.Problem != "" || len(t.Failed) > 0 || len(t.ArchiveFailed) > 0 {
			return false
		}
	}
	return len(r.Targets) > 0
}

// chartWidth is the width of a target's time line in its own units.
const chartWidth = 1000

// dot is one drill on a target's time line.
type dot struct {
	X     int
	Shape string // "circle", "square" or "cross": colours do not survive a printer
	Class string
	Title string
}

func gravity(d dot) int { return slices.Index([]string{"circle", "square", "cross"}, d.Shape) }

// dots are the drills of a target, placed by time.
func (r *Report) dots(target string) []dot {
	whole := r.Until.Sub(r.Since)
	if whole <= 0 {
		return nil
	}
	var out []dot
	for _, d := range r.Drills {
		if d.Target != target {
			continue
		}
		p := dot{X: int(float64(d.Started.Sub(r.Since)) / float64(whole) * chartWidth), Shape: "circle", Class: string(d.Level) + " " + string(d.Outcome)}
		switch d.Outcome {
		case proof.Failed:
			p.Shape = "cross"
		case proof.Inconclusive:
			p.Shape = "square"
		}
		p.Title = fmt.Sprintf("%s %s: %s %s", d.Started.UTC().Format(time.RFC3339), d.Subject(), d.Level, d.Outcome)
		out = append(out, p)
	}
	// What failed is drawn last, so that nothing lies over it.
	slices.SortStableFunc(out, func(a, b dot) int { return cmp.Compare(gravity(a), gravity(b)) })
	return out
}
