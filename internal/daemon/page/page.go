// Package page is the daemon's status page: one HTML document that answers, without a word of training, whether the cluster can be
// brought back now, to when, and when that was last proved.
//
// What the daemon saw last flows in, HTML flows out. The page asks nothing of anybody, needs no script, no font and no picture from
// anywhere, and follows the reader's choice of light or dark. Colours only repeat what a word or a shape says.
package page

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/status"
	"github.com/drd-project/drd/internal/stylesheet"
)

// Period is the time that the time lines show, up to now.
const Period = 7 * 24 * time.Hour

// width of a time line in its own units: four for an hour, so that marks of one tick each quarter of an hour are apart.
const width = 672

// View is what the page shows.
type View struct {
	Report  *status.Report
	Targets []Target // in the order of the report's
	Refused bool     // the configuration in the file is not the one that is run
	Version string   // of drd
}

// Target is one target of the report and its last days.
type Target struct {
	status.Target
	Looked    time.Time // when it was last read, or that was tried; zero: never
	Snapshots []Mark
	Drills    []Mark
	Archive   []Span // of which every second can be restored
}

// Mark is something that happened at an instant.
type Mark struct {
	At      time.Time
	Good    bool
	Unknown bool // neither good nor bad
	Title   string
}

// Span is a time, both ends included.
type Span struct{ From, To time.Time }

//go:embed page.html
var source string

// Page renders views. It is safe for concurrent use.
type Page struct{ template *template.Template }

// New reads the template, which is part of the program: an error is a mistake in it.
func New() (*Page, error) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"instant": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"width":   func() int { return width },
		"line":    repo.Printable,
		"style":   stylesheet.Base,
	}).Parse(source)
	if err != nil {
		return nil, fmt.Errorf("read the status page's template: %w", err)
	}
	return &Page{t}, nil
}

// WriteHTML writes the page.
func (p *Page) WriteHTML(w io.Writer, v View) error {
	type line struct {
		Target
		Facts     []status.Fact
		Age       string
		Snapshots []shape
		Drills    []shape
		Archive   []bar
		Summary   string
	}
	var lines []line
	for _, t := range v.Targets {
		l := line{Target: t, Facts: t.Facts(v.Report.Time), Age: "never", Summary: t.summary(v.Report.Time)}
		if !t.Looked.IsZero() {
			l.Age = status.Coarse(max(0, v.Report.Time.Sub(t.Looked))) + " ago"
		}
		l.Snapshots, l.Drills = shapes(t.Snapshots, v.Report.Time), shapes(t.Drills, v.Report.Time)
		l.Archive = bars(t.Archive, v.Report.Time)
		lines = append(lines, l)
	}
	err := p.template.Execute(w, struct {
		*status.Report
		Lines   []line
		Days    []day
		Refused bool
		Version string
	}{v.Report, lines, days(v.Report.Time), v.Refused, v.Version})
	if err != nil {
		return fmt.Errorf("write the status page: %w", err)
	}
	return nil
}

// Secure sets the headers that keep a browser from doing anything with the page but showing it.
func Secure(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// summary is the time line in words, for those who do not see it.
func (t *Target) summary(now time.Time) string {
	count := func(marks []Mark) (all, bad int) {
		for _, m := range marks {
			if inside(m.At, now) {
				all++
				if !m.Good && !m.Unknown {
					bad++
				}
			}
		}
		return all, bad
	}
	snapshots, unusable := count(t.Snapshots)
	drills, failed := count(t.Drills)
	var covered time.Duration
	for _, b := range bars(t.Archive, now) {
		covered += b.to.Sub(b.from)
	}
	return fmt.Sprintf("last 7 days: %d snapshots, %d of them unusable; %d drills, %d failed; the archive covers %d of 168 hours",
		snapshots, unusable, drills, failed, int(covered.Hours()))
}

func inside(t, now time.Time) bool { return !t.Before(now.Add(-Period)) && !t.After(now) }

// x is the place of an instant.
func x(t, now time.Time) float64 {
	return width * (1 - float64(now.Sub(t))/float64(Period))
}

// shape is what stands for the marks of one place.
type shape struct {
	X     string
	Class string // "good", "open" or "bad"
	Title string
}

// shapes are the marks, one for each place that a reader can tell from another; of several in one place the worst counts, and it is
// drawn last.
func shapes(marks []Mark, now time.Time) []shape {
	type place struct {
		shape
		n int
	}
	worst := []string{"good", "open", "bad"}
	places := make(map[int]*place)
	for _, m := range marks {
		if !inside(m.At, now) {
			continue
		}
		class := "bad"
		if m.Good {
			class = "good"
		} else if m.Unknown {
			class = "open"
		}
		at := int(x(m.At, now)/2) * 2
		p := places[at]
		if p == nil {
			p = &place{shape: shape{X: fmt.Sprint(at)}}
			places[at] = p
		}
		if p.n++; p.Class == "" || slices.Index(worst, class) >= slices.Index(worst, p.Class) {
			p.Class, p.Title = class, m.At.UTC().Format("Jan 2 15:04 UTC")+": "+m.Title
		}
	}
	var out []shape
	for _, p := range places {
		if p.n > 1 {
			p.Title += fmt.Sprintf(", and %d more", p.n-1)
		}
		out = append(out, p.shape)
	}
	slices.SortFunc(out, func(a, b shape) int {
		return cmp.Or(slices.Index(worst, a.Class)-slices.Index(worst, b.Class), len(a.X)-len(b.X), cmp.Compare(a.X, b.X))
	})
	return out
}

// bar is a span on the time line.
type bar struct {
	X, Width string
	Title    string
	from, to time.Time
}

// least is the shortest pause of the archive that is shown: what is below a tenth of the width of a line would be invisible.
const least = 2 * time.Minute

// bars are the spans within the period, those that touch in one.
func bars(spans []Span, now time.Time) []bar {
	sorted := slices.SortedFunc(slices.Values(spans), func(a, b Span) int { return a.From.Compare(b.From) })
	var out []bar
	for _, s := range sorted {
		if from := now.Add(-Period); s.From.Before(from) {
			s.From = from
		}
		if s.To.After(now) {
			s.To = now
		}
		switch n := len(out); {
		case s.To.Before(s.From):
		case n > 0 && s.From.Sub(out[n-1].to) <= least:
			if s.To.After(out[n-1].to) {
				out[n-1].to = s.To
			}
		default:
			out = append(out, bar{from: s.From, to: s.To})
		}
	}
	for i := range out {
		b := &out[i]
		b.X = fmt.Sprintf("%.1f", x(b.from, now))
		b.Width = fmt.Sprintf("%.1f", max(1, x(b.to, now)-x(b.from, now)))
		b.Title = "archive " + b.from.UTC().Format("Jan 2 15:04") + " to " + b.to.UTC().Format("Jan 2 15:04 UTC")
	}
	return out
}

// labelRoom is what the name of a day needs on either side of its line.
const labelRoom = 24

// day is a midnight, in UTC, on the time line. Anchor is where its name is held: by its end near the right edge, where the other
// half would be cut off.
type day struct{ X, Name, Anchor string }

func days(now time.Time) []day {
	var out []day
	for at := now.UTC().Truncate(24 * time.Hour); inside(at, now); at = at.Add(-24 * time.Hour) {
		d := day{fmt.Sprintf("%.1f", x(at, now)), at.Format("Mon 2"), "middle"}
		if x(at, now) > width-labelRoom {
			d.Anchor = "end"
		}
		out = append(out, d)
	}
	slices.Reverse(out)
	return out
}
