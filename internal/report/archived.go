package report

import (
	"cmp"
	"fmt"

	"github.com/drd-project/drd/internal/proof"
)

// Archived are the drills of archived revisions, newest first.
func (r *Report) Archived() []Drill {
	var all []Drill
	for _, d := range r.Drills {
		if d.Archived != nil {
			all = append(all, d)
		}
	}
	return all
}

// Subject is what was tried, for people.
func (d *Drill) Subject() string {
	switch a := d.Archived; {
	case a == nil:
		return d.Snapshot
	case a.Revision == 0:
		return "archive at " + a.String()
	default:
		return fmt.Sprintf("archive r%d", a.Revision)
	}
}

// LiveHashes says, of a drill of an archived revision, how many hashes that live members gave of it were found again.
func (d *Drill) LiveHashes() string {
	a := d.Archived
	switch {
	case a.Differed > 0:
		return fmt.Sprintf("%d agree, %d do not", a.Compared, a.Differed)
	case a.Compared > 0:
		return fmt.Sprintf("%d agree", a.Compared)
	case d.Outcome == proof.Passed:
		return "none covers it"
	}
	return "-" // it did not come that far, or they are the cause
}

// writeArchived says what archived revisions were made of, and who vouches for them.
func (r *Report) writeArchived(out *printer) {
	all := r.Archived()
	if len(all) == 0 {
		return
	}
	out.line("\nArchived revisions, newest first")
	t := out.table()
	fmt.Fprintln(t, "POINT\tKIND\tTARGET\tOUTCOME\tSNAPSHOT\tSEGMENTS\tCHANGES\tLIVE HASHES\tSHA-256 OF THE SEGMENTS\tRECORD")
	for _, d := range all {
		a := d.Archived
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", a, a.Kind, d.Target, outcome(d.Outcome), d.Snapshot, a.Segments, a.Replayed,
			d.LiveHashes(), cmp.Or(a.SHA256, "-"), d.Record)
	}
	out.flush(t)
}
