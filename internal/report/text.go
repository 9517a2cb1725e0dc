package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/proof"
)

// WriteText writes the report for people: the verdict first, then what it rests on.
func (r *Report) WriteText(w io.Writer) error {
	out := &printer{w: w}
	out.line("Evidence of backup and restore: cluster %s", r.Cluster)
	out.line("%s to %s, by drd %s", instant(r.Since), instant(r.Until), cmp.Or(r.Drd.Version, "of unknown version"))
	out.line("")
	for _, f := range r.facts() {
		out.line("%-20s %s", f.Name, f.Text)
	}
	r.writeTargets(out)
	r.writeDrills(out)
	r.writeMissed(out)
	r.writeRecords(out)
	out.line("\nWhat this does not prove")
	for _, l := range r.Limits {
		out.line("- %s", l)
	}
	return out.err
}

// fact is one line of the summary, for text and HTML.
type fact struct{ Name, Text string }

func (r *Report) facts() []fact {
	s := r.Summary
	facts := []fact{
		{"restore drills", s.Drills.String()},
		{"data checks", s.Data.String()},
		{"archive drills", s.archive()},
		{"last passed drill", moment(s.LastPassed, r.Until, "never in this period")},
		{"recovery time", "not measured in this period"},
		{"recovery point now", moment(s.RecoveryPoint, r.Until, "none: nothing can be restored")},
		{"longest interval", "unknown"},
		{"schedule", "not known here"},
		{"lost snapshots", fmt.Sprint(len(r.Lost))},
	}
	if t := s.RecoverySeconds; t != nil {
		facts[4].Text = fmt.Sprintf("%s newest, %s median, %s longest", seconds(t.Newest), seconds(t.Median), seconds(t.Max))
	}
	if i := s.LongestInterval; i != nil {
		facts[6].Text = fmt.Sprintf("%s without a restore point, %s to %s", time.Duration(i.Seconds)*time.Second, instant(i.From), instant(i.To))
	}
	if t := r.Schedule; t != nil {
		facts[7].Text = fmt.Sprintf("%d ticks, %d answered, %d missed, %d without evidence", t.Ticks, t.Answered, t.Missed, t.NoEvidence)
	}
	return facts
}

// archive counts the drills of archived revisions, for people.
func (s *Summary) archive() string {
	text := s.Archive.String()
	if s.ArchiveData != (Count{}) {
		text += "; data only: " + s.ArchiveData.String()
	}
	if s.ArchivePassed != nil {
		text += "; the last passed " + instant(*s.ArchivePassed)
	}
	return text
}

// String is for people.
func (c Count) String() string {
	if c == (Count{}) {
		return "none"
	}
	return fmt.Sprintf("%d passed, %d failed, %d inconclusive", c.Passed, c.Failed, c.Inconclusive)
}

func (r *Report) writeTargets(out *printer) {
	out.line("\nTargets")
	t := out.table()
	fmt.Fprintln(t, "TARGET\tSNAPSHOTS\tPROVED\tUNPROVEN\tRECOVERY POINT\tLAST PASSED\tLOCATION")
	for _, x := range r.Targets {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%s\t%s\n", x.Name, x.Restorable, x.Proved, len(x.Unproven), orDash(x.RecoveryPoint), orDash(x.LastPassed), x.Location)
	}
	out.flush(t)
	for _, x := range r.Targets {
		if x.Problem != "" {
			out.line("%s: %s", x.Name, x.Problem)
		}
		if len(x.Failed) > 0 {
			out.line("%s: failed, and not passed since: %s", x.Name, strings.Join(x.Failed, " "))
		}
		if len(x.ArchiveFailed) > 0 {
			out.line("%s: archived, failed, and none of its kind passed since: %s", x.Name, strings.Join(x.ArchiveFailed, ", "))
		}
	}
}

func (r *Report) writeDrills(out *printer) {
	out.line("\nDrills and data checks, newest first")
	if len(r.Drills) == 0 {
		out.line("none in this period")
		return
	}
	t := out.table()
	fmt.Fprintln(t, "WHEN\tTARGET\tSNAPSHOT\tLEVEL\tOUTCOME\tRECOVERY\tDB\tHOST\tETCD\tRECORD")
	for _, d := range r.Drills {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", instant(d.Started), d.Target, d.Subject(), d.Level, outcome(d.Outcome),
			recovery(d), disk.Size(d.DBSize), d.Host, cmp.Or(d.Etcd, "-"), d.Record)
	}
	out.flush(t)
	for _, d := range r.Drills {
		if d.Cause != "" {
			out.line("%s %s: %s", d.Subject(), d.Outcome, d.Cause)
		}
	}
	for _, w := range r.warnings() {
		out.line("warning: %s (%s)", w.text, w.of())
	}
	r.writeArchived(out)
}

func (r *Report) writeMissed(out *printer) {
	if r.Schedule != nil && len(r.Schedule.MissedTicks) > 0 {
		out.line("\nMissed ticks")
		for _, tick := range r.Schedule.MissedTicks {
			out.line("%s", instant(tick))
		}
		if more := r.Schedule.Missed - len(r.Schedule.MissedTicks); more > 0 {
			out.line("and %d before these", more)
		}
	}
	if len(r.Lost) > 0 {
		out.line("\nSnapshots that a target will never have")
		for _, l := range r.Lost {
			out.line("%s %s %s: %s", instant(l.At), l.Target, l.Snapshot, l.Reason)
		}
	}
}

// checkCommand checks one record with OpenSSH alone.
const checkCommand = "ssh-keygen -Y verify -f allowed_signers -I SIGNER -n drd -s RECORD.json.sig < RECORD.json"

func (r *Report) writeRecords(out *printer) {
	if len(r.Records) == 0 {
		return
	}
	out.line("\nSigned records. To check one, fetch it and its .sig from the target, then:")
	out.line("  sha256sum RECORD.json")
	out.line("  %s", checkCommand)
	t := out.table()
	fmt.Fprintln(t, "RECORD\tTARGET\tSIGNER\tKEY\tSHA-256 OF THE OBJECT")
	for _, x := range r.Records {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", x.ID, x.Target, cmp.Or(x.Signer, "-"), cmp.Or(x.Fingerprint, "-"), cmp.Or(x.SHA256, "-"))
	}
	out.flush(t)
	for _, x := range r.Records {
		if x.Problem != "" {
			out.line("%s is not counted: %s", x.ID, x.Problem)
		}
	}
}

// printer remembers the first failure to write.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	_, err := fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	p.err = cmp.Or(p.err, err)
}

func (p *printer) table() *tabwriter.Writer { return tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0) }

func (p *printer) flush(t *tabwriter.Writer) { p.err = cmp.Or(p.err, t.Flush()) }

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func orDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return instant(*t)
}

// moment is a time and how long before now it was.
func moment(t *time.Time, now time.Time, none string) string {
	if t == nil {
		return none
	}
	return fmt.Sprintf("%s, %s before this report", instant(*t), now.Sub(*t).Round(time.Second))
}

func seconds(s float64) string { return fmt.Sprintf("%.1f s", s) }

func recovery(d Drill) string {
	if d.RecoverySeconds == 0 {
		return "-"
	}
	return seconds(d.RecoverySeconds)
}

// outcome stands out where a person must look.
func outcome(o proof.Outcome) string {
	if o == proof.Passed {
		return string(o)
	}
	return strings.ToUpper(string(o))
}
