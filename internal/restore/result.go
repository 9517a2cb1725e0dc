package restore

import "github.com/drd-project/drd/internal/snapshot"

// Result is what a run made. Its JSON form is a contract, as that of Plan.
type Result struct {
	ID     string `json:"id"`
	Source Origin `json:"source"` // the target that delivered it
	// Path is the file or the data directory; WALDir the separate WAL directory.
	Path   string `json:"path"`
	WALDir string `json:"wal_dir,omitempty"`

	// SnapshotRevision is the revision that was captured, Bumped how far it was moved forward.
	SnapshotRevision int64 `json:"snapshot_revision"`
	Bumped           int64 `json:"bumped"`
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
