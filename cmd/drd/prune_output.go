package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/prune"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
)

// pruneOutput is the JSON document of drd prune.
type pruneOutput struct {
	DryRun  bool           `json:"dry_run"`
	Targets []prunedTarget `json:"targets"`
}

type prunedTarget struct {
	Target         string       `json:"target"`
	Location       string       `json:"location"`
	Cluster        string       `json:"cluster"`
	Items          []prunedItem `json:"items"`
	Deleted        int          `json:"deleted"`
	FreedBytes     int64        `json:"freed_bytes"`
	ForeignObjects int          `json:"foreign_objects"`
	Foreign        []string     `json:"foreign,omitempty"` // the first of them
	Notes          []string     `json:"notes,omitempty"`
}

type prunedItem struct {
	Kind     prune.Kind     `json:"kind"`
	ID       string         `json:"id,omitempty"`
	Timeline string         `json:"timeline,omitempty"` // of a segment
	State    repo.State     `json:"state,omitempty"`
	Key      string         `json:"key,omitempty"` // of an upload
	Fate     retention.Fate `json:"fate"`
	Reasons  []string       `json:"reasons"`
	Objects  []string       `json:"objects,omitempty"` // keys
	Size     int64          `json:"size"`
	Outcome  prune.Outcome  `json:"outcome,omitempty"`
	Error    string         `json:"error,omitempty"`
}

func newPrunedTarget(p *prune.Plan, results prune.Results) prunedTarget {
	out := prunedTarget{
		Target: p.Target, Location: p.Location, Cluster: p.Cluster, Items: []prunedItem{}, Deleted: results.Count(prune.Deleted), FreedBytes: results.Freed(),
		ForeignObjects: p.ForeignCount, Foreign: p.Foreign, Notes: p.Notes,
	}
	became := make(map[*prune.Item]prune.Result)
	for _, r := range results {
		became[r.Item] = r
	}
	for i := range p.Items {
		out.Items = append(out.Items, newPrunedItem(&p.Items[i], became[&p.Items[i]]))
	}
	return out
}

func newPrunedItem(item *prune.Item, r prune.Result) prunedItem {
	out := prunedItem{Kind: item.Kind, State: item.State, Fate: item.Fate, Reasons: item.Reasons, Size: item.Size(), Outcome: r.Outcome}
	switch {
	case item.Kind == prune.KindUpload:
		out.Key = item.Upload.Key
	case item.Archived():
		out.ID, out.Timeline = item.Segment.String(), item.Segment.Timeline
	}
	if !item.ID.Time.IsZero() {
		out.ID = item.ID.String()
	}
	for _, o := range item.Objects {
		out.Objects = append(out.Objects, o.Key)
	}
	if r.Err != nil {
		out.Error = r.Err.Error()
	}
	return out
}

// writePlan prints what becomes of each item before anything does.
func writePlan(w io.Writer, p *prune.Plan) error {
	fmt.Fprintf(w, "target %s: %s, cluster %s\n", printable(p.Target), printable(p.Location), p.Cluster)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SNAPSHOT\tSTATE\tSIZE\tFATE\tWHY")
	for i := range p.Items {
		item := &p.Items[i]
		if item.Archived() {
			continue
		}
		state := string(item.State)
		if item.Kind == prune.KindUpload {
			state = "uploading"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", printable(item.Name()), state, disk.Size(item.Size()), item.Fate, printable(strings.Join(item.Reasons, ", ")))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	if err := writeSegments(w, p); err != nil {
		return err
	}
	if p.ForeignCount > 0 {
		fmt.Fprintf(w, "%s that drd does not know, left alone: %s\n", count(p.ForeignCount, "object"), printable(strings.Join(p.Foreign[:min(3, len(p.Foreign))], ", ")))
	}
	for _, note := range p.Notes {
		fmt.Fprintf(w, "note: %s\n", printable(note))
	}
	return nil
}

// alike is what segments of one line have in common.
type alike struct {
	timeline string
	state    repo.State
	fate     retention.Fate
	why      string
}

// together are the segments of one line.
type together struct {
	alike
	n           int
	size        int64
	first, last int64 // revisions
}

// writeSegments prints a line for all segments of a timeline to which the same happens for the same reason: there are thousands.
func writeSegments(w io.Writer, p *prune.Plan) error {
	lines := segmentLines(p)
	if len(lines) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEGMENTS\tTIMELINE\tREVISIONS\tSTATE\tSIZE\tFATE\tWHY")
	for _, l := range lines {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", l.n, l.timeline, revisions(l.first, l.last), l.state, disk.Size(l.size), l.fate, printable(l.why))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// segmentLines are in the order of the first segment of each.
func segmentLines(p *prune.Plan) []*together {
	var lines []*together
	known := make(map[alike]*together)
	for i := range p.Items {
		item := &p.Items[i]
		if !item.Archived() {
			continue
		}
		of := alike{item.Segment.Timeline, item.State, item.Fate, strings.Join(item.Reasons, ", ")}
		l := known[of]
		if l == nil {
			l = &together{alike: of, first: item.Segment.First}
			known[of] = l
			lines = append(lines, l)
		}
		l.n++
		l.size += item.Size()
		l.last = max(l.last, item.Segment.Last)
	}
	return lines
}

// revisions is a range as people read it; that of silences alone is none.
func revisions(first, last int64) string {
	if last < first {
		return "none"
	}
	return fmt.Sprintf("%d to %d", first, last)
}

// mostTold is how many segments are named of which something went wrong: when one fails, thousands may.
const mostTold = 20

// writeResults prints what did not go as planned, and the sum.
func writeResults(w io.Writer, p *prune.Plan, results prune.Results, dryRun bool) {
	told := 0
	for _, r := range results {
		if r.Err == nil || r.Outcome == prune.NotTried {
			continue
		}
		if r.Item.Archived() {
			if told++; told > mostTold {
				continue
			}
		}
		fmt.Fprintf(w, "%s: %s: %s\n", r.Item.Name(), r.Outcome, printable(strings.ReplaceAll(r.Err.Error(), "\n", "; ")))
	}
	if told > mostTold {
		fmt.Fprintf(w, "and %s more\n", count(told-mostTold, "segment"))
	}
	planned := p.Deletions()
	switch {
	case len(planned) == 0:
		fmt.Fprintln(w, "nothing to delete")
	case dryRun:
		var size int64
		for _, item := range planned {
			size += item.Size()
		}
		fmt.Fprintf(w, "dry run: %d would be deleted, %s; nothing was\n", len(planned), disk.Size(size))
	default:
		fmt.Fprintf(w, "%s; %s freed\n", results, disk.Size(results.Freed()))
	}
}
