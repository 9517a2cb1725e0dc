package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/verify"
)

// verifyReport tells what drills came to: as text while they are made, or as one JSON document at the end.
type verifyReport struct {
	*app
	asJSON   bool
	unsigned string // why no records are stored; "": they are

	results []verifyResult
}

// verifyOutput is the JSON document of drd verify.
type verifyOutput struct {
	Outcome proof.Outcome  `json:"outcome"` // the worst of all
	Results []verifyResult `json:"results"` // a drill each, or a target where there was none
}

// verifyResult is one drill, or a target where none could be made, in the JSON document of drd verify.
type verifyResult struct {
	Target   string        `json:"target"`
	Outcome  proof.Outcome `json:"outcome"`
	Error    string        `json:"error,omitempty"` // why nothing was tried
	Record   *proof.Record `json:"record,omitempty"`
	Recorded bool          `json:"recorded"`
	// Unrecorded says why the target does not have the record.
	Unrecorded string `json:"unrecorded,omitempty"`

	err error
}

func (v *verifyReport) add(r verify.Result) {
	out := verifyResult{Target: r.Target, Outcome: r.Outcome(), Record: r.Record, Recorded: r.Recorded, err: r.Err}
	switch {
	case r.Err != nil:
		out.Error = r.Err.Error()
	case v.unsigned != "":
		out.Unrecorded = v.unsigned
	case r.Unrecorded != nil:
		out.Unrecorded = r.Unrecorded.Error()
	}
	v.results = append(v.results, out)
	if !v.asJSON {
		v.write(out)
	}
}

func (v *verifyReport) end() error {
	end := exitOf(v.results)
	if !v.asJSON {
		return end
	}
	document := verifyOutput{Outcome: proof.Passed, Results: v.results}
	for _, r := range v.results {
		if r.Outcome == proof.Failed || document.Outcome == proof.Passed {
			document.Outcome = r.Outcome
		}
	}
	if err := v.writeJSON(document); err != nil {
		return err
	}
	return end
}

// write writes the block of one drill.
func (v *verifyReport) write(r verifyResult) {
	if r.err != nil {
		fmt.Fprintf(v.err, "drd: note: %s: nothing was tried: %v\n", r.Target, r.err)
		for _, h := range hint.Of(r.err) {
			fmt.Fprintf(v.err, "drd: hint: %s\n", h)
		}
		return
	}
	for i := range r.Record.Drills {
		v.writeDrill(r.Target, &r.Record.Drills[i])
	}
	switch {
	case r.Recorded:
		fmt.Fprintf(v.out, "recorded in %s as %s\n\n", r.Target, r.Record.ID)
	default:
		fmt.Fprintf(v.out, "not recorded in %s: %s\n\n", r.Target, r.Unrecorded)
	}
}

// writeDrill is one block: the verdict, what it cost, and each check.
func (v *verifyReport) writeDrill(target string, d *proof.Drill) {
	fmt.Fprintf(v.out, "%s  %s from %s (%s)\n", strings.ToUpper(string(d.Outcome)), subject(d), target, levelText(d.Level))
	v.writeArchived(d)
	if d.Cause != "" {
		fmt.Fprintf(v.out, "cause     %s\n", d.Cause)
	}
	if d.RecoverySeconds > 0 {
		fmt.Fprintf(v.out, "recovery  %.1f s from the first request until etcd %s answered\n", d.RecoverySeconds, d.Etcd)
	}
	fmt.Fprintf(v.out, "took      %.1f s, %s sealed, %s of database\n", d.Seconds, disk.Size(d.ObjectBytes), disk.Size(d.DBSize))
	if d.OpenedWith != "" {
		fmt.Fprintf(v.out, "opened    with: %s\n", d.OpenedWith)
	}
	v.writeChecks(d.Checks)
	for _, w := range d.Warnings {
		fmt.Fprintf(v.out, "warning   %s\n", w)
	}
}

// subject is what a drill tried.
func subject(d *proof.Drill) string {
	switch a := d.Archived; {
	case a == nil:
		return d.Snapshot
	case a.Revision == 0:
		return "what was there at " + a.String()
	default:
		return a.String()
	}
}

// writeArchived says what an archived revision was made of, and who vouches for it.
func (v *verifyReport) writeArchived(d *proof.Drill) {
	a := d.Archived
	if a == nil {
		return
	}
	if a.At != nil && a.Revision != 0 {
		fmt.Fprintf(v.out, "time      %s\n", a.At.Format(time.RFC3339))
	}
	fmt.Fprintf(v.out, "made of   snapshot %s and %s\n", d.Snapshot, count(a.Segments, "segment"))
	switch {
	case d.Outcome != proof.Passed:
	case a.Differed > 0:
		fmt.Fprintf(v.out, "members   %d of %d hashes of live members agree\n", a.Compared, a.Compared+a.Differed)
	case a.Compared == 0:
		fmt.Fprintln(v.out, "members   no live hash covers it")
	case a.Compared == 1:
		fmt.Fprintln(v.out, "members   1 hash of live members agrees")
	default:
		fmt.Fprintf(v.out, "members   %d hashes of live members agree\n", a.Compared)
	}
}

// notReached is the detail of a check that another one, which failed, came before.
const notReached = "not reached"

// writeChecks is a line for each check. Those that were not reached because one failed are one line together.
func (v *verifyReport) writeChecks(checks []proof.Check) {
	var unreached []string
	t := tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		if c.Outcome == proof.Skipped && c.Detail == notReached {
			unreached = append(unreached, c.Name)
			continue
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", c.Name, checkWord(c.Outcome), checkTime(c.Seconds), found(c))
	}
	_ = t.Flush() // the writer below remembers its failure
	if len(unreached) > 0 {
		fmt.Fprintf(v.out, "  not reached: %s\n", strings.Join(unreached, ", "))
	}
}

// checkTime leaves out what took no time that a person would notice.
func checkTime(seconds float64) string {
	if seconds < 0.01 {
		return ""
	}
	return fmt.Sprintf("%.2f s", seconds)
}

func levelText(l proof.Level) string {
	switch l {
	case proof.LevelData:
		return "data only"
	case proof.LevelArchive:
		return "drill of the archive"
	case proof.LevelArchiveData:
		return "archive, data only"
	}
	return "drill"
}

func checkWord(o proof.Outcome) string {
	switch o {
	case proof.Passed:
		return "ok"
	case proof.Failed:
		return "FAILED"
	case proof.Skipped:
		return "-"
	}
	return "?"
}

// found is what a person wants to know of a check: why it did not pass, or what was found.
func found(c proof.Check) string {
	var parts []string
	if c.Outcome == proof.Failed && c.Expected != "" {
		parts = append(parts, "expected "+c.Expected+", found "+orDash(c.Found))
	} else if c.Outcome == proof.Passed && c.Found != "" {
		parts = append(parts, c.Found)
	}
	if c.Detail != "" {
		parts = append(parts, c.Detail)
	}
	return printable(strings.Join(parts, "; "))
}

// named lists the targets of this outcome.
func named(results []verifyResult, o proof.Outcome) string {
	var names []string
	for _, r := range results {
		if r.Outcome == o && !slices.Contains(names, r.Target) {
			names = append(names, r.Target)
		}
	}
	return strings.Join(names, ", ")
}
