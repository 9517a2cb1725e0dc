package status

import (
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/hint"
)

// ArchiveProof is an archived revision that a drill restored.
type ArchiveProof struct {
	Revision int64     `json:"revision"`
	At       time.Time `json:"at"` // when that was found out
}

// judgeArchive names the archived points whose newest drill failed, and none of their kind has passed since.
func (r *Report) judgeArchive(target string, f Seen) {
	for _, s := range f.history.ArchiveFailed() {
		r.problem(KindProof, hint.New(fmt.Errorf("target %s: the drill of the archive at %s FAILED on %s: %s", target, &s.Archived, s.At.Format(time.RFC3339), s.Cause),
			"drd verify %s tries again and shows every check", s.Archived.Flag()))
	}
}

// newestArchive is the newest of the targets' archived revisions that were proved; nil: none was.
func (r *Report) newestArchive() *ArchiveProof {
	var newest *ArchiveProof
	for _, t := range r.Targets {
		if p := t.ArchiveProved; p != nil && (newest == nil || p.At.After(newest.At)) {
			newest = p
		}
	}
	return newest
}
