package status

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
)

// maxProblems bounds how many problems people are shown, so that the targets stay on the same screen. The JSON form has all.
const maxProblems = 8

// columns is the width of a terminal that nobody has made wider.
const columns = 80

// brief is how long a segment may wait without anything being wrong: several are written in that time.
const brief = time.Minute

// Verdict is the first line: whether the cluster can be restored, to when, how long it takes, and when that was proved.
func (r *Report) Verdict() string {
	if r.RecoveryPoint == nil {
		return "NOT RECOVERABLE: no target that was read has a snapshot to restore"
	}
	parts := []string{fmt.Sprintf("recoverable to %s (%s)", instant(r.RecoveryPoint), r.since(*r.RecoveryPoint)), r.proved()}
	if s := r.RestoreSeconds; s != nil && r.Proof != proof.StateFailed {
		parts = append(parts, "RTO "+Coarse(time.Duration(math.Max(1, *s)*float64(time.Second))))
	}
	text := strings.Join(parts, ", ")
	if !r.Healthy {
		text = "AT RISK: " + text
	}
	return text
}

// proved says when a restore last worked, or what is worse. What is known of the snapshot that counts is on the second line.
func (r *Report) proved() string {
	switch {
	case r.FailedNewer != "":
		return "newer FAILED"
	case r.Proof == proof.StateFailed:
		return "drill FAILED " + r.since(*r.ProofAt)
	case r.Proved == nil:
		return "NOT PROVED"
	default:
		return "proved " + r.since(*r.Proved)
	}
}

// Standing is the second line: what is known of the newest snapshot. "": there is none.
func (r *Report) Standing() string {
	if r.Snapshot == "" {
		return ""
	}
	which := "newest snapshot "
	if r.FailedNewer != "" {
		which = "newest sound snapshot "
	}
	text := map[string]string{proof.StateProved: "proved", proof.StateDataProved: "data proved", proof.StateFailed: "drill FAILED"}[r.Proof]
	if text == "" {
		return which + r.Snapshot + ": unproven"
	}
	return fmt.Sprintf("%s%s: %s %s", which, r.Snapshot, text, r.since(*r.ProofAt))
}

// Next says what the schedules of this host bring. "": nothing.
func (r *Report) Next() string {
	var parts []string
	for _, s := range []struct {
		what string
		at   *time.Time
	}{{"snapshot", r.NextSnapshot}, {"drill", r.NextDrill}} {
		if s.at != nil {
			parts = append(parts, fmt.Sprintf("%s %s (in %s)", s.what, s.at.Format("15:04 UTC"), Coarse(max(0, s.at.Sub(r.Time)))))
		}
	}
	return strings.Join(parts, ", ")
}

// Fact is one line of what is said of a target.
type Fact struct {
	Name, Text string
	Bad        bool
}

// Facts are what people are told of a target, at the time of the report.
func (t *Target) Facts(now time.Time) []Fact {
	r := &Report{Time: now}
	point := Fact{Name: "recovery point", Text: "none", Bad: true}
	if t.RecoveryPoint != nil {
		point = Fact{Name: point.Name, Text: fmt.Sprintf("%s, %s", instant(t.RecoveryPoint), r.since(*t.RecoveryPoint))}
	}
	if !t.Readable {
		point.Text = "not known: the target cannot be read"
		return append([]Fact{point}, t.queue(r)...)
	}
	facts := []Fact{point, t.proof(r)}
	if t.Failed > 0 {
		facts = append(facts, Fact{Name: "failed drills", Text: count(t.Failed, "snapshot") + ": drd list says which", Bad: true})
	}
	return append(append(facts, t.queue(r)...), t.kept())
}

func (t *Target) proof(r *Report) Fact {
	f := Fact{Name: "proof", Text: "no drill passed yet"}
	if t.Proved != nil {
		f.Text = "drill passed " + r.since(*t.Proved)
	}
	if a := t.ArchiveProved; a != nil {
		f.Text += fmt.Sprintf("; archive restored %s (revision %d)", r.since(a.At), a.Revision)
	}
	return f
}

func (t *Target) queue(r *Report) []Fact {
	f := Fact{Name: "queue", Text: "empty"}
	if t.Waiting > 0 {
		f.Text, f.Bad = count(t.Waiting, "snapshot")+" waiting", true
		if t.WaitingSince != nil {
			f.Text += ", the oldest of " + r.since(*t.WaitingSince)
		}
	} else if t.SegmentsWaiting > 0 {
		f.Text = "no snapshots"
	}
	if t.Lost > 0 {
		f.Text += fmt.Sprintf("; %d lost", t.Lost)
	}
	facts := []Fact{f}
	if t.SegmentsWaiting > 0 && t.SegmentsSince != nil {
		facts = append(facts, Fact{
			Name: "archive queue", Text: count(t.SegmentsWaiting, "segment") + " waiting, the oldest for " + Coarse(max(0, r.Time.Sub(*t.SegmentsSince))),
			Bad: r.Time.Sub(*t.SegmentsSince) > brief,
		})
	}
	if t.LastError != "" {
		facts = append(facts, Fact{Name: "last error", Text: t.LastError, Bad: true})
	}
	return facts
}

func (t *Target) kept() Fact {
	f := Fact{Name: "retention", Text: count(t.Restorable, "snapshot")}
	if t.Oldest != nil {
		f.Text += " since " + t.Oldest.UTC().Format(time.DateOnly)
	}
	if t.Due != nil {
		f.Text += fmt.Sprintf(", %d to prune", *t.Due)
	}
	if t.Future > 0 {
		f.Text += fmt.Sprintf("; %d of the future", t.Future)
	}
	if t.Other > 0 {
		f.Text += fmt.Sprintf("; %d unusable", t.Other)
	}
	return f
}

// WriteText writes the report for people: one screen of 80 columns, but for names and errors that are longer.
func (r *Report) WriteText(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, r.head())
	if s := r.Standing(); s != "" {
		fmt.Fprintln(out, s)
	}
	for i, p := range r.Problems {
		if i == maxProblems {
			fmt.Fprintf(out, "and %s more: drd status --json\n", count(len(r.Problems)-i, "problem"))
			break
		}
		fmt.Fprintf(out, "problem: %s\n", repo.Printable(p.Text))
		for _, h := range p.Hints {
			fmt.Fprintf(out, "  hint: %s\n", repo.Printable(h))
		}
	}
	for _, t := range r.Targets {
		fmt.Fprintf(out, "\n%s  %s\n", repo.Printable(t.Name), repo.Printable(t.Location))
		for _, f := range t.Facts(r.Time) {
			fmt.Fprintf(out, "  %s\t%s\n", f.Name, f.Text)
		}
	}
	if next := r.Next(); next != "" {
		fmt.Fprintf(out, "\nnext: %s\n", next)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	return nil
}

// head is the cluster and the verdict, on two lines where one is too short.
func (r *Report) head() string {
	line := r.Cluster + ": " + r.Verdict()
	if len(line) > columns {
		return r.Cluster + ":\n" + r.Verdict()
	}
	return line
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func instant(t *time.Time) string { return t.UTC().Format(time.RFC3339) }

// since says how long ago something was when the report was made.
func (r *Report) since(t time.Time) string {
	d := r.Time.Sub(t)
	if d < 0 {
		return "in the future"
	}
	return Coarse(d) + " ago"
}

// Coarse is a duration for people, which is not negative: "41s", "3m", "5h", "12d".
func Coarse(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
