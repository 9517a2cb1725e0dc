package repo

import "time"

// ManifestFormat is the manifest format that this drd writes, and the highest it reads.
const ManifestFormat = 1

// maxManifest bounds a manifest in bytes. Real ones take about 2 KiB, one with every list at its bound
// about 40 KiB; a planted object must not fill the memory of whoever lists the repository.
const maxManifest = 64 << 10

// maxSignature bounds a signature in bytes. An armored RSA-16384 signature takes about 6 KiB.
const maxSignature = 64 << 10

// trailerSize is what etcd appends to a snapshot stream: the SHA-256 of everything before it.
const trailerSize = 32

// Results of a Comparison.
const (
	ResultEqual       = "equal"
	ResultDiffers     = "differs"
	ResultNotCompared = "not compared"
)

// Manifest describes one snapshot. Its JSON form is what is signed; the fields stand there in this
// order. Times are RFC 3339 in UTC with up to nine decimals of a second. 64-bit identifiers of
// etcd are lower-case hex strings without leading zeros, as etcdctl prints them.
type Manifest struct {
	Format         int    `json:"format"` // ManifestFormat
	ID             string `json:"id"`
	Cluster        string `json:"cluster"`         // name in drd's configuration
	EtcdClusterID  string `json:"etcd_cluster_id"` // hex
	Timeline       string `json:"timeline"`        // 16 hex digits, see Catalogue.NextTimeline
	TimelineParent string `json:"timeline_parent"` // "" on the first timeline
	Member         Member `json:"member"`

	// Slot is the tick of the schedule that this snapshot answers; absent when a person took it.
	Slot         *time.Time `json:"slot,omitempty"`
	CaptureStart time.Time  `json:"capture_start"`
	// CaptureEnd is CaptureStart plus what passed on the monotonic clock: never before CaptureStart,
	// whatever happened to the wall clock.
	CaptureEnd time.Time `json:"capture_end"`

	Revision        int64  `json:"revision"`         // of the snapshot, read out of its own data
	CompactRevision int64  `json:"compact_revision"` // -1: never compacted, as etcd has it
	RaftTerm        uint64 `json:"raft_term"`        // of the member just before the capture, 0: not known
	RaftIndex       uint64 `json:"raft_index"`       // of the member just before the capture, 0: not known

	// Leader is the raft leader that the member knew just before the capture, in hex; "" when it knew none, which is
	// what a member says that is cut off from the majority. nil: not recorded.
	Leader  *string `json:"leader,omitempty"`
	Learner bool    `json:"learner"` // the member had no vote and might be far behind those that have one

	Keys           int64  `json:"keys"`            // live keys at Revision
	Revisions      int64  `json:"revisions"`       // entries in the key bucket, history and tombstones included
	DBSize         int64  `json:"db_size"`         // bytes of the plain snapshot without etcd's trailer
	EtcdVersion    string `json:"etcd_version"`    // of the server
	StorageVersion string `json:"storage_version"` // "" from servers before 3.6
	HashKV         HashKV `json:"hashkv"`          // computed from the snapshot, at Revision and CompactRevision

	// Compared says what live members answered when they were asked for the same hash; at most 64.
	Compared []Comparison `json:"compared,omitempty"`

	Plain       Plain    `json:"plain"`
	Object      Object   `json:"object"`
	Leases      int      `json:"leases"`           // lease records in the snapshot
	Alarms      []string `json:"alarms,omitempty"` // alarms stored in the snapshot, such as "NOSPACE"; at most 64
	AuthEnabled bool     `json:"auth_enabled"`
	Drd         Build    `json:"drd"`

	// Previous is the hex SHA-256 of the manifest that the same node wrote before, "" for its first.
	Previous string `json:"previous"`
	// Audit is where the audit log of the node ended when the manifest was written; nil: it had none, or it could not be read.
	Audit  *Audit            `json:"audit,omitempty"`
	Distro map[string]string `json:"distro,omitempty"` // facts of the distribution, never secrets; at most 64
}

// Member is the etcd member a snapshot was taken from.
type Member struct {
	ID   string `json:"id"` // hex
	Name string `json:"name"`
}

// HashKV is etcd's hash over the key space with the two revisions without which it means nothing.
type HashKV struct {
	Hash            uint32 `json:"hash"`
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
}

// Comparison is the answer of one live member, compared with the hash of the snapshot's own data
// at the same revision and compact revision.
type Comparison struct {
	Member          string `json:"member"`             // hex
	Endpoint        string `json:"endpoint,omitempty"` // where it answered
	Hash            uint32 `json:"hash"`               // what it answered
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
	Result          string `json:"result"`           // ResultEqual, ResultDiffers or ResultNotCompared
	Reason          string `json:"reason,omitempty"` // why it was not compared
}

// Plain is the snapshot as etcd sent it, trailer included.
type Plain struct {
	SHA256 string `json:"sha256"` // hex, of everything but the trailer; the trailer holds the same 32 bytes
	Size   int64  `json:"size"`   // bytes with the trailer: DBSize + 32
}

// Object is the sealed payload.
type Object struct {
	Name       string   `json:"name"`       // last segment of its key, "snapshot.db.zst.age"
	SHA256     string   `json:"sha256"`     // hex
	Size       int64    `json:"size"`       // bytes
	Envelope   string   `json:"envelope"`   // how to open it, "age-v1"
	Recipients []string `json:"recipients"` // fingerprints of the public keys it is sealed for, 1 to 256
}

// Audit is the newest record of a node's audit log. Kept where nobody can rewrite it, it shows later what became of that log.
type Audit struct {
	Host     string `json:"host"` // whose log it is, at most 255 bytes; "" where the host has no name
	Sequence int64  `json:"sequence"`
	SHA256   string `json:"sha256"` // hex, of the record's line without its newline
}

// AuditHost is a host's name as Audit.Host has it: printable and bounded, whatever it is.
func AuditHost(name string) string { return Shorten(Printable(name), maxAuditHost) }

// Build is the drd that wrote the manifest.
type Build struct {
	Version    string `json:"version"`
	FIPSModule string `json:"fips_module"` // "" when no FIPS 140 module was in use
}
