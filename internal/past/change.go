package past

// Change is one change of one key.
type Change struct {
	Key      []byte `json:"key"`
	Revision int64  `json:"revision"`
	Deleted  bool   `json:"deleted,omitempty"`
	// The rest is that of a put, and zero of a deletion.
	CreateRevision int64  `json:"create_revision,omitempty"`
	Version        int64  `json:"version,omitempty"` // how often it was put since it was created, from 1
	Lease          int64  `json:"lease,omitempty"`   // ID; 0: none
	Size           int64  `json:"size,omitempty"`    // of the value, in bytes
	Value          []byte `json:"value,omitempty"`   // where it was asked for
}

// Fate is what became of a key between two revisions.
type Fate string

// The fates of keys that are worth telling.
const (
	Created Fate = "created"
	Changed Fate = "changed"
	Deleted Fate = "deleted"
)

// Difference is a key that is not what it was.
type Difference struct {
	Fate Fate `json:"fate"`
	// Last is the last change up to the later revision.
	Last Change `json:"last"`
	// Changes is how many there were in between, at least 1.
	Changes int64 `json:"changes"`
	// Before is the value at the earlier revision, where values were asked for; nil of a key that was created.
	Before []byte `json:"before,omitempty"`
}

// Facts are what a reading found out about the store, and how much it handed out.
type Facts struct {
	Revision        int64 `json:"revision"`
	CompactRevision int64 `json:"compact_revision"` // up to it the history has holes; -1: it never was compacted
	Found           int64 `json:"found"`            // changes, differences or keys
	// CameAndWent are keys that were there at neither of the two revisions of a Diff, and were in between.
	CameAndWent int64 `json:"came_and_went,omitempty"`
}
