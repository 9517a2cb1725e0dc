package restore

import (
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
)

// Result is what a run made. Its JSON form is a contract, as that of Plan.
type Result struct {
	ID     string `json:"id"`
	Source Origin `json:"source"` // the target that delivered it
	// Path is the file or the data directory, "" of a store that was made in scratch; WALDir the separate WAL directory.
	Path   string `json:"path"`
	WALDir string `json:"wal_dir,omitempty"`

	// SnapshotRevision is the revision that was captured, Revision the one that was restored, and Bumped how far that was
	// moved forward.
	SnapshotRevision int64 `json:"snapshot_revision"`
	Revision         int64 `json:"revision"`
	Bumped           int64 `json:"bumped"`
	// Since is the revision of Request.Since or SinceAt: every one from it to Revision is in the store. Where nobody can tell what was
	// there at SinceAt, it is an earlier one, and Notices say so.
	Since int64 `json:"since,omitempty"`
	// At is the time that was asked for, absent when none was; the result is up to EarlierSeconds older (see Wanted). Segments are how many led to the point, and Replayed how many changes
	// they added.
	At             *time.Time `json:"at,omitempty"`
	EarlierSeconds int64      `json:"earlier_seconds"`
	Segments       int        `json:"segments"`
	Replayed       int64      `json:"replayed"`
	// HashKV is what a live member would have answered for Revision, before it was moved forward.
	HashKV repo.HashKV `json:"hashkv"`
	// Compared are hashes that live members gave at or before Revision, for a revision that was asked for.
	Compared []Comparison `json:"compared"`
	// Facts were read from the finished store: the revision, hash and keys that etcd will have.
	Facts         snapshot.Facts `json:"facts"`
	LeasesAdded   int            `json:"leases_added"`
	AlarmsCleared []string       `json:"alarms_cleared"`

	ObjectBytes int64      `json:"object_bytes"` // downloaded
	Steps       []StepTime `json:"steps"`
	Seconds     float64    `json:"seconds"` // of the whole run
	// Notices are what did not go as planned and was overcome, such as a target that failed.
	Notices []string `json:"notices"`
}

// StepTime is how long one step took.
type StepTime struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}
