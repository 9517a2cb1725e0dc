// Package config turns the YAML file of a node into validated structs.
//
// A backup tool that ignores a misspelt key runs for months without the thing the key asked for.
// So nothing is forgiven here: an unknown key, a wrong type, a value out of range, a contradiction,
// a secret written into the file or a key file that others can read is an error with file, line
// and column, all of them are reported at once, and the daemon does not start. Text flows in, a
// *Config flows out; no other package reads the file.
//
// The fields below carry their own rules in tags, so that the decoder, the redacted output, the
// file checks and the test of docs/configuration.md read them from one place:
//
//	yaml      the key
//	range     "min..max", both ends included, in the unit of the field
//	oneof     the words allowed, separated by |
//	unit      "days" (a duration that may use d) or "size" (bytes, or a number with KiB, MB, …)
//	path      "dir", "file" (public), "secret" (nobody but its owner may read it), "program" or "output" (drd writes it)
//	default   what docs/configuration.md says of a default that is no constant
//	mask      "url": user names, passwords and queries are hidden when shown
//	only      "node": a verifier host, which takes no snapshots, has no use for it (see Config.Verifier)
package config

import (
	"path/filepath"
	"time"
)

// Config is one node's configuration with all defaults filled in. A *Config that came out of Load
// or Parse is valid.
type Config struct {
	Cluster  string `yaml:"cluster" default:"required"` // names the cluster in the repository and in metrics
	Etcd     Etcd   `yaml:"etcd" only:"node"`
	StateDir string `yaml:"state_dir" path:"dir"` // spool and working files; survives reboots
	// SpoolMaxBytes bounds what waits below StateDir for targets that cannot be reached. There is no "unlimited": etcd may
	// share the disk.
	SpoolMaxBytes int64 `yaml:"spool_max_bytes" unit:"size" range:"64MiB..16TiB" only:"node"`
	// SpoolKeep is how many of the newest snapshots stay sealed below StateDir after every target has them.
	SpoolKeep  int       `yaml:"spool_keep" range:"0..100" only:"node"`
	RuntimeDir string    `yaml:"runtime_dir" path:"dir"` // sockets and file keys; should be a tmpfs, gone at reboot
	Snapshot   Snapshot  `yaml:"snapshot"`
	Archive    Archive   `yaml:"archive" only:"node"`
	Seal       Seal      `yaml:"seal" only:"node"`
	Signing    Signing   `yaml:"signing"`
	Trust      Trust     `yaml:"trust"`
	Targets    []Target  `yaml:"targets" default:"required"`
	Retention  Retention `yaml:"retention" only:"node"`
	Verify     Verify    `yaml:"verify"`
	Metrics    Metrics   `yaml:"metrics"`

	source source // where each value was written, for the errors of CheckFiles
}

// Etcd says how to reach the protected member.
type Etcd struct {
	Endpoints    []string      `yaml:"endpoints" default:"required" mask:"url"` // all http or all https
	CAFile       string        `yaml:"ca_file" path:"file" default:"system pool"`
	CertFile     string        `yaml:"cert_file" path:"file"`
	KeyFile      string        `yaml:"key_file" path:"secret"`
	Username     string        `yaml:"username"`
	PasswordFile string        `yaml:"password_file" path:"secret"`
	DialTimeout  time.Duration `yaml:"dial_timeout" range:"100ms..5m"`
}

// Snapshot says when snapshots are taken and how the stream from etcd is guarded.
type Snapshot struct {
	Schedule         string        `yaml:"schedule" only:"node"` // see ParseSchedule
	Timezone         string        `yaml:"timezone"`             // IANA name; verify.schedule is read in it too
	Stagger          time.Duration `yaml:"stagger" range:"0s..1h" only:"node"`
	Jitter           time.Duration `yaml:"jitter" range:"0s..1h" only:"node"`
	StallTimeout     time.Duration `yaml:"stall_timeout" range:"5s..1h" only:"node"`
	HashMembersBelow int64         `yaml:"hash_members_below" unit:"size" range:"0..8GiB" only:"node"` // bytes; 0 is never
}

// Archive says whether and how the revision log is followed between snapshots.
type Archive struct {
	Enabled       bool          `yaml:"enabled"`
	FlushInterval time.Duration `yaml:"flush_interval" range:"1s..5m"`
	// KeepWithin is the time of which every second can be restored: what is older is pruned. It says nothing without the
	// section retention, for then nothing is pruned.
	KeepWithin time.Duration `yaml:"keep_within" unit:"days" range:"1h..36500d" default:"7d, or retention.keep_within where that is longer"`
}

// Seal names who can decrypt: at least one age recipient, inline or in the file. There is no key
// that switches encryption off.
type Seal struct {
	Recipients     []string `yaml:"recipients" default:"one of the two"`
	RecipientsFile string   `yaml:"recipients_file" path:"file" default:"one of the two"`
}

// Signing names the key that signs this node's manifests and drill records. A verifier host without one writes no records.
type Signing struct {
	KeyFile string `yaml:"key_file" path:"secret" default:"required"`
}

// Trust names the allowed signers file that list, verify and restore check manifests against on this
// node. Empty: the node trusts its own signing key only. A verifier host must have one.
type Trust struct {
	File string `yaml:"file" path:"file" default:"own key only"`
}

// How an uploaded object is checked before it counts as stored.
const (
	ReadBackFull     = "full"     // every byte is downloaded and compared
	ReadBackChecksum = "checksum" // the checksum the store computed is compared
)

// Target is one place that gets every object: either S3 or Dir is set.
type Target struct {
	Name     string `yaml:"name" default:"required"` // label in metrics and directory name in the spool
	S3       *S3    `yaml:"s3" default:"one of the two"`
	Dir      string `yaml:"dir" path:"dir" default:"one of the two"`
	ReadBack string `yaml:"read_back" oneof:"full|checksum"`
	// Bytes per second of all transfers together; 0 is no limit.
	UploadLimit   int64 `yaml:"upload_limit" unit:"size" range:"0..100GiB"`
	DownloadLimit int64 `yaml:"download_limit" unit:"size" range:"0..100GiB"`
}

// Server-side encryption, as S3 spells it.
const (
	SSES3  = "AES256"
	SSEKMS = "aws:kms"
)

// Checksum modes of a target.
const (
	ChecksumAuto     = "auto"     // compared when the store returns one
	ChecksumRequired = "required" // a store that returns none is an error
)

// S3 is a bucket on Amazon S3 or a store that speaks its protocol.
type S3 struct {
	Bucket          string     `yaml:"bucket" default:"required"`
	Prefix          string     `yaml:"prefix"` // no slash at either end
	Region          string     `yaml:"region" default:"us-east-1 with endpoint, else required"`
	Endpoint        string     `yaml:"endpoint" default:"Amazon S3" mask:"url"`
	CAFile          string     `yaml:"ca_file" path:"file" default:"system pool"` // added to the system pool
	PathStyle       bool       `yaml:"path_style"`
	CredentialsFile string     `yaml:"credentials_file" path:"secret" default:"AWS default chain"` // AWS shared format
	Profile         string     `yaml:"profile"`                                                    // section of the credentials file
	SSE             string     `yaml:"sse" oneof:"AES256|aws:kms" default:"store's own"`
	KMSKeyID        string     `yaml:"kms_key_id"`
	StorageClass    string     `yaml:"storage_class" default:"store's own"`
	PartSize        int64      `yaml:"part_size" unit:"size" range:"5MiB..512MiB"` // bytes
	Checksum        string     `yaml:"checksum" oneof:"auto|required"`
	AllowPlainHTTP  bool       `yaml:"allow_plain_http"`
	ObjectLock      ObjectLock `yaml:"object_lock"`
}

// Object Lock modes.
const (
	LockGovernance = "governance"
	LockCompliance = "compliance"
)

// ObjectLock asks the store to refuse deletion of each object for Days. The zero value asks
// for nothing.
type ObjectLock struct {
	Mode string `yaml:"mode" oneof:"governance|compliance" default:"required in object_lock"`
	Days int    `yaml:"days" range:"1..36500" default:"required in object_lock"`
}

// Retention says which snapshots are kept; one that any rule keeps stays. The zero value (no
// section in the file) keeps everything.
type Retention struct {
	KeepWithin time.Duration `yaml:"keep_within" unit:"days" range:"0s..36500d"`
	Last       int           `yaml:"last" range:"0..100000"`
	Hourly     int           `yaml:"hourly" range:"0..100000"`
	Daily      int           `yaml:"daily" range:"0..100000"`
	Weekly     int           `yaml:"weekly" range:"0..100000"`
	Monthly    int           `yaml:"monthly" range:"0..100000"`
	Yearly     int           `yaml:"yearly" range:"0..100000"`
	MinCopies  int           `yaml:"min_copies" range:"1..100000"`
}

// What becomes of a snapshot that has just arrived in a target.
const (
	FreshData  = "data"  // it is read back, opened and checked
	FreshDrill = "drill" // a whole drill is made of it
	FreshNone  = "none"
)

// Verify says when restore drills run, with which identity, and with what. The zero value runs none.
type Verify struct {
	Schedule     string `yaml:"schedule" default:"none"` // in snapshot.timezone; see ParseSchedule
	IdentityFile string `yaml:"identity_file" path:"secret"`
	// EtcdBinary is started on the restored data in place of the server inside drd.
	EtcdBinary string `yaml:"etcd_binary" path:"program" default:"embedded server"`
	ScratchDir string `yaml:"scratch_dir" path:"dir" default:"scratch in state_dir"` // plaintext lies there during a drill
	// CoverWithin is the time in which each retained snapshot is to be drilled.
	CoverWithin time.Duration `yaml:"cover_within" unit:"days" range:"1d..3650d"`
	Fresh       string        `yaml:"fresh" oneof:"data|drill|none"`
	MemoryLimit int64         `yaml:"memory_limit" unit:"size" range:"0..1TiB"` // bytes, of the restored etcd; 0: automatic
}

// Metrics says where the HTTP endpoint listens, and where else the daemon tells how it is. An address other than loopback needs a web
// configuration (TLS, passwords) in the format of Prometheus' exporter toolkit.
type Metrics struct {
	Listen        string `yaml:"listen"`
	WebConfigFile string `yaml:"web_config_file" path:"file"`
	// Textfile is written every minute for the textfile collector of node_exporter, which reads *.prom.
	Textfile string `yaml:"textfile" path:"output"`
	// HeartbeatURLFile holds a URL that is called every minute as long as all targets are safe. Who knows it can keep the one
	// who waits for it quiet, hence the file.
	HeartbeatURLFile string `yaml:"heartbeat_url_file" path:"secret"`
}

const defaultS3Region = "us-east-1" // what stores other than Amazon's expect when they ignore it

// defaults is the configuration of an empty file; fillDefaults has those of optional sections.
func defaults() *Config {
	return &Config{
		StateDir:      "/var/lib/drd",
		RuntimeDir:    "/run/drd",
		SpoolKeep:     1,        // the newest one is at hand without a network
		SpoolMaxBytes: 10 << 30, // one snapshot of the largest database that etcd recommends, or many of a usual one
		Etcd:          Etcd{DialTimeout: 5 * time.Second},
		Snapshot: Snapshot{
			Schedule:         "0 */6 * * *",
			Timezone:         "UTC",
			Stagger:          2 * time.Minute,
			StallTimeout:     time.Minute,
			HashMembersBelow: 64 << 20, // a scan of this much costs a member some 50 ms
		},
		Archive: Archive{FlushInterval: 5 * time.Second}, // KeepWithin: see fillArchive
		Metrics: Metrics{Listen: "127.0.0.1:9877"},
	}
}

// shortestArchive is how much of the archive is kept when nobody says more: a mistake made on a Friday is found out in the
// week after.
const shortestArchive = 7 * day

func defaultTarget() Target { return Target{ReadBack: ReadBackFull} }

func defaultS3() S3 {
	return S3{PartSize: 8 << 20, Checksum: ChecksumAuto} // few parts per object, little memory
}

func defaultRetention() Retention { return Retention{MinCopies: 3} }

func defaultVerify() Verify {
	return Verify{CoverWithin: 30 * day, Fresh: FreshData} // a daily run that takes one older snapshot covers 30 of them
}

// Verifier says that this is the configuration of a verifier host: targets to read, snapshots to drill, and no etcd to
// take snapshots of. It has no sections etcd and seal.
func (c *Config) Verifier() bool { return len(c.Etcd.Endpoints) == 0 }

// Scratch is the directory for the plaintext of drills.
func (c *Config) Scratch() string {
	if c.Verify.ScratchDir != "" {
		return c.Verify.ScratchDir
	}
	return filepath.Join(c.StateDir, "scratch")
}
