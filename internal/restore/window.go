package restore

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Window is what one target can restore of the timeline that is current there. Its JSON form is a contract, as that of Plan.
type Window struct {
	Timeline string        `json:"timeline"` // "" where nothing can be restored
	Ranges   []WindowRange `json:"ranges"`   // by revision; what lies between two is lost

	Beyond int64               `json:"-"` // last revision that its segments hold, in a range or not; 0: there are none
	End    time.Time           `json:"-"` // newest instant that they tell of
	Unread []repo.SegmentEntry `json:"-"` // those that could not be read, and may be well
}

// WindowRange is a range of revisions each of which can be restored.
type WindowRange struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	// Times are the spans of time of which every second can be restored. What lies between two was not archived.
	Times []WindowSpan `json:"times"`
	// Newest is the newest instant in it that can be restored: the end of the last span, or of the last snapshot's capture.
	Newest time.Time `json:"newest"`
}

// WindowSpan is a span of time, both ends included.
type WindowSpan struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// ReadWindow finds what a repository can restore, by its catalogue and the commit records of its segments, which it reads. With trust
// nil nothing counts: whose signatures are not checked, that can be restored by nobody. now is as in MakePlan.
func ReadWindow(ctx context.Context, r *repo.Repository, cat *repo.Catalogue, trust *seal.Trust, now time.Time) (*Window, error) {
	w := &Window{Ranges: []WindowRange{}}
	found, err := ReadHistory(ctx, r, cat, trust, now)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return w, nil
	}
	w.Timeline = found.Timeline
	w.Beyond, w.End = archiveEnd(found.Segments)
	for _, e := range found.Segments {
		if e.State == repo.StateUnreadable {
			w.Unread = append(w.Unread, e)
		}
	}
	for _, a := range found.History.Window() {
		w.Ranges = append(w.Ranges, windowRange(a))
	}
	return w, nil
}

// UnreadAt is why a revision may be in the window although it seems to be missing: its segment could not be read. nil: it is missing.
func (w *Window) UnreadAt(revision int64) error { return unreadAt(w.Unread, revision) }

func windowRange(a archive.Range) WindowRange {
	r := WindowRange{First: a.First, Last: a.Last, Times: []WindowSpan{}}
	for _, s := range a.Times {
		r.Times = append(r.Times, WindowSpan(s))
		r.Newest = later(r.Newest, s.To)
	}
	for _, p := range a.Snapshots {
		r.Newest = later(r.Newest, p.Time)
	}
	return r
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// maxSpans bounds how many spans of time people are shown of one range, the newest. The JSON form has all.
const maxSpans = 10

// WriteText writes the window for people, each line behind the given indent.
func (w *Window) WriteText(out io.Writer, indent string) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(w.Ranges) == 0 {
		fmt.Fprintf(t, "%swindow\tnothing can be restored\n", indent)
	}
	for i, r := range w.Ranges {
		if i > 0 {
			fmt.Fprintf(t, "%smissing\trevisions %d to %d\n", indent, w.Ranges[i-1].Last+1, r.First-1)
		}
		fmt.Fprintf(t, "%swindow\trevisions %d to %d, the newest of %s\n", indent, r.First, r.Last, r.Newest.UTC().Format(time.RFC3339))
		if more := len(r.Times) - maxSpans; more > 0 {
			fmt.Fprintf(t, "%s\t%d older spans of time, and\n", indent, more)
		}
		for _, s := range r.Times[max(0, len(r.Times)-maxSpans):] {
			fmt.Fprintf(t, "%s\teach second from %s to %s\n", indent, s.From.UTC().Format(time.RFC3339), s.To.UTC().Format(time.RFC3339))
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the restore window: %w", err)
	}
	return nil
}
