package restore

import (
	"fmt"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
)

// outOfReach is a point that cannot be restored. It wraps *archive.Unreachable, and so repo.ErrNothing.
type outOfReach struct {
	gap  *archive.Unreachable
	text string
}

func (o *outOfReach) Error() string { return o.text }
func (o *outOfReach) Unwrap() error { return o.gap }

// newOutOfReach says what is out of reach and why, what lies next to it, and how to get that.
func newOutOfReach(f *finding, gap *archive.Unreachable, req Request) error {
	text := describeGap(gap)
	text += describeNearest(f.history, gap.Before, "below")
	text += describeNearest(f.history, gap.After, "above")
	if gap.MissingFirst > 0 {
		text += f.found.unusable(gap.MissingFirst, gap.MissingLast)
	}
	var err error = &outOfReach{gap: gap, text: text}
	var near []string
	for _, p := range []*archive.Point{gap.Before, gap.After} {
		if p != nil {
			near = append(near, fmt.Sprintf("--revision %d", p.Revision))
		}
	}
	if len(near) > 0 {
		err = hint.New(err, "restore what is there: %s", strings.Join(near, " or "))
	}
	if n := f.found.unread(); n > 0 {
		err = hint.New(err, "%s were not read, they are too many: name the snapshot nearest to the point with --id", segments(n))
	}
	if req.ID != "" {
		return hint.New(err, "leave --id out: another snapshot may hold it")
	}
	if e := elsewhere(f.all, gap, req); e != nil {
		err = hint.New(err, "another timeline holds it: --id %s --revision %d", e.ID, req.Revision)
	}
	return err
}

func describeGap(gap *archive.Unreachable) string {
	text := fmt.Sprintf("%v: nothing holds revision %d of timeline %s", repo.ErrNothing, gap.Revision, gap.Timeline)
	if gap.Revision == 0 {
		text = fmt.Sprintf("%v: nothing leads to the revision of %s on timeline %s", repo.ErrNothing, gap.Time.UTC().Format(time.RFC3339), gap.Timeline)
	}
	if gap.MissingLast > 0 {
		text += fmt.Sprintf(": revisions %d to %d are missing", gap.MissingFirst, gap.MissingLast)
	}
	return text
}

func describeNearest(h *archive.History, p *archive.Point, side string) string {
	if p == nil {
		return "; there is none " + side
	}
	chain, err := h.AtRevision(p.Revision)
	if err != nil {
		return ""
	}
	text := fmt.Sprintf("; the nearest %s is %d", side, p.Revision)
	if !p.Time.IsZero() {
		text += " (" + p.Time.UTC().Format(time.RFC3339) + ")"
	}
	text += fmt.Sprintf(", of snapshot %s", chain.Base.ID)
	if n := len(chain.Segments); n > 0 {
		text += " and " + segments(n)
	}
	return text
}

// elsewhere is the newest snapshot of another timeline that holds the revision.
func elsewhere(all *repo.Catalogue, gap *archive.Unreachable, req Request) *repo.Entry {
	for i := len(all.Entries) - 1; i >= 0; i-- {
		e := &all.Entries[i]
		if !e.Restorable(req.InsecureSkipSignature) || e.Manifest.Timeline == gap.Timeline || req.Revision == 0 {
			continue
		}
		if e.Manifest.CompactRevision <= req.Revision && req.Revision <= e.Manifest.Revision {
			return e
		}
	}
	return nil
}
