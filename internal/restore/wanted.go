package restore

import (
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/repo"
)

// Wanted is a point in the history.
type Wanted struct {
	// Revision is the one that will be restored; null until the segment that tells the time was opened. It lies
	// between Lowest and Highest.
	Revision *int64 `json:"revision"`
	Lowest   int64  `json:"lowest"`
	Highest  int64  `json:"highest"`
	// At is the time that was asked for, null when none was.
	At *time.Time `json:"at"`
	// Exact: the keys of the result, with their revisions, versions and leases, are those that etcd had at that point, to
	// the byte. It is false where a time was asked for of which no archive tells: the result is up to EarlierSeconds older, and
	// what happened between is not in it.
	Exact          bool  `json:"exact"`
	EarlierSeconds int64 `json:"earlier_seconds"`
	// ClockNote is what the node noted of its clock when it told of At: the time may be off by as much. "" nothing.
	ClockNote string `json:"clock_note,omitempty"`
	// CutRevisions are the revisions of the snapshot that come after the point, and are taken away.
	CutRevisions int64 `json:"cut_revisions"`
	// Newest is the newest revision of this history that could be restored instead.
	Newest int64 `json:"newest"`
}

// Archive sums up the segments of a plan.
type Archive struct {
	Segments      int       `json:"segments"`
	FirstRevision int64     `json:"first_revision"`
	LastRevision  int64     `json:"last_revision"`
	Changes       int64     `json:"changes"`
	Size          int64     `json:"size"` // bytes to download
	From          time.Time `json:"from"`
	To            time.Time `json:"to"`
}

func describeWanted(a aim, req Request) *Wanted {
	c := a.chain
	if req.Revision == 0 && req.At.IsZero() && len(c.Segments) == 0 {
		return nil
	}
	base := c.Base.Manifest.Revision
	w := &Wanted{Lowest: c.Low, Highest: c.High, Exact: a.earlier == 0, CutRevisions: max(0, base-c.High), Newest: max(c.Newest.Revision, base)}
	if c.Low == c.High {
		w.Revision = &c.High
	}
	if !req.At.IsZero() {
		w.At, w.ClockNote = &req.At, repo.Printable(c.ClockNote)
	}
	// Rounded up: less than a second is not nothing.
	w.EarlierSeconds = int64((a.earlier + time.Second - 1) / time.Second)
	return w
}

func describeArchive(c *archive.Chain) *Archive {
	if len(c.Segments) == 0 {
		return nil
	}
	first, last := c.Segments[0].Segment, c.Segments[len(c.Segments)-1].Segment
	a := &Archive{Segments: len(c.Segments), FirstRevision: first.First, LastRevision: last.Last, From: first.From, To: last.To}
	for _, e := range c.Segments {
		a.Changes += e.Segment.Events
		a.Size += e.Segment.Object.Size
	}
	return a
}

// growth estimates what the segments of a chain add to the working directory, in bytes: their sealed objects, and their changes as
// bbolt stores them, each with a key of 17 bytes and a page entry of 16, on pages that are nine tenths full.
func growth(a aim) int64 {
	var sum int64
	for _, e := range needs(a) {
		s := e.Segment
		plain := (s.Plain.Size + s.Events*40) * 5 / 4
		sum += s.Object.Size + int64(float64(plain)*replayed(a.chain, s))
	}
	return sum
}

// replayed is which part of a segment is replayed: its revisions up to the one that is wanted. A merged one may be a day, of which an hour
// is wanted. Where a time is, it may be all.
func replayed(c *archive.Chain, s *repo.Segment) float64 {
	if c.Low != c.High || c.High >= s.Last || c.High < s.First {
		return 1
	}
	return float64(c.High-s.First+1) / float64(s.Last-s.First+1)
}

func (p *Plan) writeWanted(line writeLine) {
	w := p.Wanted
	if w == nil {
		return
	}
	switch {
	case w.At != nil && !w.Exact:
		line("wanted", "%s; nothing was archived then: this is up to %s EARLIER, and what happened between is lost", w.At.Format(time.RFC3339), elapsed(w.EarlierSeconds))
	case w.At != nil && w.Revision == nil:
		line("wanted", "%s, exactly: a revision from %d to %d, which a segment tells once it is open", w.At.Format(time.RFC3339), w.Lowest, w.Highest)
	case w.At != nil:
		line("wanted", "%s, exactly: revision %d", w.At.Format(time.RFC3339), *w.Revision)
	default:
		line("wanted", "revision %d, exactly%s", *w.Revision, p.ownRevision())
	}
	if w.ClockNote != "" {
		line("clock", "when this was archived, %s: the time may be off by as much", w.ClockNote)
	}
	if w.CutRevisions > 0 {
		line("cut back", "from revision %d; leases, users and roles are those of the snapshot", p.Snapshot.Revision)
	}
	if a := p.Archive; a != nil {
		line("archive", "%s, revisions %d to %d, %d changes, %s to %s, to download %s", segments(a.Segments), a.FirstRevision, a.LastRevision, a.Changes,
			a.From.Format(time.RFC3339), a.To.Format(time.RFC3339), disk.Size(a.Size))
		line("", "users and roles are those of the snapshot")
	}
}

func segments(n int) string {
	if n == 1 {
		return "1 segment"
	}
	return fmt.Sprintf("%d segments", n)
}

func (p *Plan) ownRevision() string {
	if p.Archive == nil && *p.Wanted.Revision == p.Snapshot.Revision {
		return ": that of the snapshot"
	}
	return ""
}

// point is what will be restored, for people.
func (p *Plan) point() string {
	w := p.Wanted
	switch {
	case w == nil || !w.Exact:
		return fmt.Sprintf("revision %d", p.Snapshot.Revision)
	case w.Revision == nil:
		return w.At.Format(time.RFC3339)
	}
	return fmt.Sprintf("revision %d", *w.Revision)
}
