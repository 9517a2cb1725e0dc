package proof

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Levels of drills of archived revisions. They have names of their own, so that no reader takes one for the drill of a snapshot.
const (
	// LevelArchiveData makes the store at an archived revision of a snapshot and segments, and checks it; no etcd is started.
	LevelArchiveData Level = "archive-data"
	// LevelArchive starts etcd on that store in addition, and reads through the client API.
	LevelArchive Level = "archive"
)

// Archive reports whether a drill of this level is of an archived revision, and not of a snapshot.
func (l Level) Archive() bool { return l == LevelArchive || l == LevelArchiveData }

// Boots reports whether a drill of this level starts an etcd.
func (l Level) Boots() bool { return l == LevelDrill || l == LevelArchive }

// Kinds of archived revisions. What failed of a kind stays failed until a newer drill of the same kind passes.
const (
	PointNewest = "newest" // the newest that was archived
	PointOlder  = "older"  // one at random, one that could not be restored before, or one that somebody asked for
)

// Archived is an archived revision that was made of a snapshot and segments.
type Archived struct {
	Kind     string     `json:"kind"`         // PointNewest or PointOlder
	At       *time.Time `json:"at,omitempty"` // the time that was asked for; absent when a revision was
	Timeline string     `json:"timeline"`     // "" where no way to the point was found
	Revision int64      `json:"revision"`     // that was made, or was to be; 0 where the time that was asked for was not resolved
	// Segments are how many led on from the snapshot to the revision; First and Last name the ends of that way, and SHA256 is the hash
	// of the digests of their manifests, each in hex with a line feed, in order. 0 and "" where the snapshot holds the revision itself.
	Segments int    `json:"segments"`
	First    string `json:"first_segment,omitempty"`
	Last     string `json:"last_segment,omitempty"`
	SHA256   string `json:"segments_sha256,omitempty"`
	Bytes    int64  `json:"segment_bytes"` // sealed
	Replayed int64  `json:"replayed"`      // changes that were added to the snapshot
	// Compared are how many hashes that live members gave of this history were computed again and found equal, and Differed those that
	// another member outvoted. Compared 0: no live hash covers it.
	Compared int `json:"compared"`
	Differed int `json:"differed"`
	// Base is what the checks of the snapshot alone came to; "" where they were not finished.
	Base Outcome `json:"base,omitempty"`
}

// String names the point: "revision 500", or "2026-11-22T10:15:30Z" where it was not found out which revision was there then.
func (a *Archived) String() string {
	if a.Revision == 0 && a.At != nil {
		return a.At.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("revision %d", a.Revision)
}

// Flag has drd verify try the point again: "--revision 500", or "--at 2026-11-22T10:15:30Z".
func (a *Archived) Flag() string {
	if a.Revision == 0 && a.At != nil {
		return "--at " + a.String()
	}
	return fmt.Sprintf("--revision %d", a.Revision)
}

// ArchiveStanding is the newest conclusive word on the archived revisions of one kind.
type ArchiveStanding struct {
	Standing
	Snapshot string // the base
	Archived Archived
}

// addArchived lets the drill of an archived revision have its word: on the archive, and, as a check of its data, on the snapshot
// that it began with. No etcd was started on that one, so that it cannot prove it.
func (h *History) addArchived(rec *Record, d *Drill) {
	at := d.end(rec)
	base := Standing{At: at, Record: rec.ID, Level: LevelData}
	switch d.Archived.Base {
	case Passed:
		base.State = StateDataProved
		h.settle(subject{d.Snapshot, d.ManifestSHA256}, base)
	case Failed:
		base.State, base.Cause = StateFailed, d.Cause
		h.drilled[subject{d.Snapshot, d.ManifestSHA256}] = at
		h.settle(subject{d.Snapshot, d.ManifestSHA256}, base)
	}
	next := ArchiveStanding{Snapshot: d.Snapshot, Archived: *d.Archived, Standing: Standing{State: StateFailed, At: at, Record: rec.ID, Level: d.Level, Cause: d.Cause}}
	if d.Outcome == Passed {
		next.State = StateProved
		if d.Level == LevelArchiveData {
			next.State = StateDataProved
		}
	}
	before, known := h.archived[d.Archived.Kind]
	if known && d.Level == LevelArchiveData && before.Level == LevelArchive && (d.Outcome == Passed || before.State == StateFailed) {
		return // as with snapshots: what only an etcd can tell is not taken back without one
	}
	h.archived[d.Archived.Kind] = next
}

// Archived are the newest conclusive words on archived revisions, one of each kind that was tried, the newest first.
func (h *History) Archived() []ArchiveStanding {
	var all []ArchiveStanding
	for _, s := range h.archived {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b ArchiveStanding) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Archived.Kind, b.Archived.Kind))
	})
	return all
}

// ArchiveFailed are those of Archived that stand failed.
func (h *History) ArchiveFailed() []ArchiveStanding {
	return slices.DeleteFunc(h.Archived(), func(s ArchiveStanding) bool { return s.State != StateFailed })
}

// LastArchivePassed is when an archived revision of this target was last restored into a running etcd, and which one; ok is false when none
// ever was, as far as records were read.
func (h *History) LastArchivePassed() (at time.Time, what Archived, ok bool) {
	for rec, d := range h.drills() {
		if d.Level == LevelArchive && d.Outcome == Passed {
			at, what, ok = d.end(rec), *d.Archived, true
		}
	}
	return at, what, ok
}

// Tried yields the archived revisions of a kind and timeline that a drill passed or failed, and when, oldest first.
func (h *History) Tried(kind, timeline string, each func(revision int64, at time.Time)) {
	for rec, d := range h.drills() {
		if d.Level.Archive() && d.Outcome != Inconclusive && d.Archived.Kind == kind && d.Archived.Timeline == timeline {
			each(d.Archived.Revision, d.end(rec))
		}
	}
}

var timelinePattern = regexp.MustCompile(`^[0-9a-f]{16}$`)

// archived checks what belongs to a drill of an archived revision.
func (w *wrong) archived(key string, d *Drill) {
	a := d.Archived
	w.unless((a != nil) == d.Level.Archive(), "%s: level %s and archived do not belong together", key, d.Level)
	if a == nil {
		return
	}
	key += ".archived"
	w.unless(a.Kind == PointNewest || a.Kind == PointOlder, "%s.kind: %.40q is not known", key, a.Kind)
	w.unless(timelinePattern.MatchString(a.Timeline) || a.Timeline == "" && d.Outcome != Passed, "%s.timeline: %.40q is not valid", key, a.Timeline)
	w.unless(a.Revision >= 1 || a.Revision == 0 && d.Outcome != Passed, "%s.revision: %d", key, a.Revision)
	w.unless(a.Segments >= 0 && a.Bytes >= 0 && a.Replayed >= 0 && a.Compared >= 0 && a.Differed >= 0, "%s: a negative number", key)
	w.unless((a.Segments == 0) == (a.SHA256 == "") && (a.SHA256 == "" || sha256Pattern.MatchString(a.SHA256)), "%s.segments_sha256: %.80q is not valid", key, a.SHA256)
	w.unless(slices.Contains([]Outcome{"", Passed, Failed, Inconclusive}, a.Base), "%s.base: %.40q is not known", key, a.Base)
	w.unless(d.Outcome != Passed || a.Base == Passed, "%s.base: %q in a drill that passed", key, a.Base)
	w.unless(a.At == nil || isUTC(*a.At), "%s.at: is not in UTC", key)
	w.texts(key, a.First, a.Last)
}

func (a *Archived) clean() {
	if a == nil {
		return
	}
	a.First, a.Last = tidyText(a.First), tidyText(a.Last)
	if a.At != nil {
		utc := a.At.UTC()
		a.At = &utc
	}
}
