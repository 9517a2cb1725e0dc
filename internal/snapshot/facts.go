package snapshot

// NeverCompacted is the compact revision of a store that was never compacted, by etcd's own convention.
const NeverCompacted int64 = -1

// Facts are what a snapshot file says of itself. All of them are read from the file's own buckets.
type Facts struct {
	// Revision is the store's revision: what an etcd started on this file reports. At least 1.
	Revision int64 `json:"revision"`
	// CompactRevision is the newest revision that was compacted, finished or still scheduled; NeverCompacted if none.
	CompactRevision int64 `json:"compact_revision"`
	// Keys is the number of live keys at Revision.
	Keys int64 `json:"keys"`
	// Revisions is the number of entries of the key bucket: every version of every key still stored, tombstones too.
	Revisions int64 `json:"revisions"`
	// DBSize is the size of the bbolt file in bytes, without the SHA-256 trailer.
	DBSize int64 `json:"db_size"`
	// HashKV is etcd's HashKV at Revision with CompactRevision.
	HashKV uint32 `json:"hash_kv"`
	// StorageVersion is the schema version, "" before etcd 3.6.
	StorageVersion string `json:"storage_version,omitempty"`
	// ClusterVersion is the version the members had agreed on, such as "3.5.0"; "" when the file does not say.
	ClusterVersion string `json:"cluster_version,omitempty"`
	// ConsistentIndex and Term are the raft position the file was written at; Term is 0 before etcd 3.5.
	ConsistentIndex uint64 `json:"consistent_index"`
	Term            uint64 `json:"term"`
	// Leases is the number of lease records.
	Leases int `json:"leases"`
	// MissingLeases are the IDs that live keys name but that have no record, ascending. etcd would crash on
	// `put --ignore-lease` of such a key, so a restore must add them.
	MissingLeases []int64 `json:"missing_leases,omitempty"`
	// Alarms are the raised alarms, such as "NOSPACE on member 8e9e05c52164694d".
	Alarms []string `json:"alarms,omitempty"`
	// AuthEnabled says whether etcd's own authentication is on.
	AuthEnabled bool `json:"auth_enabled"`
	// Members are the names of the members recorded in the file, ascending; a member that never started has none.
	Members []string `json:"members,omitempty"`
	// Kubernetes is true when a live key begins with /registry/.
	Kubernetes bool `json:"kubernetes"`
}
