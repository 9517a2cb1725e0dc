package replicate

import (
	"strings"

	"github.com/drd-project/drd/internal/repo"
)

// ref names what reaches a target as a whole or not at all: a snapshot, or a segment of the archive.
type ref struct {
	id      repo.ID          // zero for a segment
	segment repo.SegmentName // zero for a snapshot
}

func snapshotRef(id repo.ID) ref           { return ref{id: id} }
func segmentRef(name repo.SegmentName) ref { return ref{segment: name} }
func (r ref) isSegment() bool              { return r.segment.Timeline != "" }
func (r ref) attrs(attrs ...any) []any     { return append(attrs, r.noun(), r.String()) }
func (r ref) recordKey(of *repo.Repository) string {
	if r.isSegment() {
		return of.SegmentRecordKey(r.segment)
	}
	return of.ManifestKey(r.id)
}

func (r ref) noun() string {
	if r.isSegment() {
		return "segment"
	}
	return "snapshot"
}

// String is the snapshot's ID, or the segment's timeline and name.
func (r ref) String() string {
	if r.isSegment() {
		return r.segment.Timeline + "/" + r.segment.String()
	}
	return r.id.String()
}

// segmentMarks is the directory of the marks of segments, below that of the target.
const segmentMarks = "archive/"

// mark is the name of its marks, below the target.
func (r ref) mark() string {
	if r.isSegment() {
		return segmentMarks + r.String()
	}
	return r.String()
}

// parseMark reads the name of a mark, below the target. of is any repository: the grammar of names is in there.
func parseMark(of *repo.Repository, name string) (r ref, ok bool) {
	name = strings.TrimSuffix(name, failedSuffix)
	if segment, is := strings.CutPrefix(name, segmentMarks); is {
		parsed, record, ok := of.ParseSegmentKey(of.SegmentsPrefix("") + segment + ".signed")
		return segmentRef(parsed), ok && record
	}
	id, err := repo.ParseID(name)
	return snapshotRef(id), err == nil
}
