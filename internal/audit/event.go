package audit

// Name is what happened.
type Name string

// The events. Their definitions are in Definitions.
const (
	DaemonStart    Name = "daemon.start"
	DaemonStop     Name = "daemon.stop"
	ConfigReload   Name = "config.reload"
	KeyGenerate    Name = "key.generate"
	SigningKeyLoad Name = "signing-key.load"
	IdentityLoad   Name = "identity.load"
	FileKeyLoad    Name = "file-key.load"
	FileKeyRecover Name = "file-key.recover"
	HeaderExport   Name = "header.export"
	RestoreBegin   Name = "restore.begin"
	RestoreInstall Name = "restore.install"
	RestoreEnd     Name = "restore.end"
	DrillBegin     Name = "drill.begin"
	DrillEnd       Name = "drill.end"
	PastBegin      Name = "past.begin"
	PastEnd        Name = "past.end"
	ExtractWrite   Name = "extract.write"
	ObjectDownload Name = "object.download"
	ObjectDecrypt  Name = "object.decrypt"
	SegmentsFetch  Name = "segments.download"
	SegmentsOpen   Name = "segments.decrypt"
	PruneBegin     Name = "prune.begin"
	PruneDelete    Name = "prune.delete"
	PruneEnd       Name = "prune.end"
	SpoolDrop      Name = "spool.drop"
)

// Outcome is how it went.
type Outcome string

// The outcomes.
const (
	Begun   Outcome = "begun" // it is about to happen; where no record of its end follows, drd was killed meanwhile
	Done    Outcome = "done"
	Failed  Outcome = "failed"
	Refused Outcome = "refused" // drd would not do it
)

// Definition says of an event what docs/audit.md says of it.
type Definition struct {
	Name     Name
	When     string // what happens
	Object   string // what Event.Object names
	Controls string // of NIST SP 800-53, besides AU-3, AU-8 and AU-10, which all records answer
	bulk     bool   // many in a row: not synced to the disk one by one
}

// Definitions are all events, in the order in which people read of them.
func Definitions() []Definition {
	return []Definition{
		{Name: DaemonStart, When: "the service starts", Object: "the configuration file", Controls: "AU-2, AU-12"},
		{Name: DaemonStop, When: "the service ends, and how", Object: "the configuration file", Controls: "AU-2, AU-12"},
		{Name: ConfigReload, When: "another configuration takes effect (`done`), or does not (`refused`: the one before stays in force)", Object: "the configuration file", Controls: "AU-2, CM-3, CM-6"},
		{Name: KeyGenerate, When: "`drd keygen` makes a private key", Object: "the file with the private key", Controls: "AU-2, SC-12"},
		{Name: SigningKeyLoad, When: "the service, or a command, reads the key that signs snapshots and drill records", Object: "the key file", Controls: "AU-2, SC-12"},
		{Name: IdentityLoad, When: "an identity, which opens every snapshot sealed for it, is read; by the service, while it goes on being read, once an hour", Object: "the identity file", Controls: "AU-2, AC-6(9), SC-12"},
		{Name: FileKeyLoad, When: "the key of one object is read from a file; or `drd verify` begins to use the keys of what the node has just made itself", Object: "the key file, or the directory of the keys", Controls: "AU-2, AC-6(9), SC-12"},
		{Name: FileKeyRecover, When: "`drd unlock` turns a header into the key of one object", Object: "the header file, and the snapshot it is said to be of", Controls: "AU-2, AC-6(9), SC-12"},
		{Name: HeaderExport, When: "the header of an object is written, for `drd unlock`", Object: "the snapshot", Controls: "AU-2"},
		{Name: RestoreBegin, When: "a restore is confirmed", Object: "the snapshot, and the destination", Controls: "AU-2, CP-10"},
		{Name: RestoreInstall, When: "what was restored gets its final name", Object: "the destination", Controls: "AU-2, CP-10"},
		{Name: RestoreEnd, When: "the restore ends", Object: "the snapshot, and the destination", Controls: "AU-2, CP-10"},
		{Name: DrillBegin, When: "a run of drills begins, by schedule or by hand", Object: "what was asked for", Controls: "AU-2, CP-9(1)"},
		{Name: DrillEnd, When: "the run of drills ends; its outcomes are in the signed drill records", Object: "what was asked for", Controls: "AU-2, CP-9(1)"},
		{Name: PastBegin, When: "`drd log`, `diff` or `extract` begin to make a store in scratch", Object: "the snapshot", Controls: "AU-2, AC-6(9)"},
		{Name: PastEnd, When: "they end", Object: "the snapshot", Controls: "AU-2, AC-6(9)"},
		{Name: ExtractWrite, When: "`drd extract` writes contents of etcd, `count` objects, to a file or standard output", Object: "the file, or `-`", Controls: "AU-2, AC-6(9)"},
		{Name: ObjectDownload, When: "the download of a snapshot begins", Object: "the object's key", Controls: "AU-2, CP-9(8)"},
		{Name: ObjectDecrypt, When: "a snapshot was downloaded, decrypted and checked, or could not be", Object: "the object's key", Controls: "AU-2, CP-9(8), SC-28(1)"},
		{Name: SegmentsFetch, When: "the download of `count` segments of the archive begins", Object: "the first and the last of them", Controls: "AU-2, CP-9(8)"},
		{Name: SegmentsOpen, When: "those segments were decrypted and applied, or could not be", Object: "the first and the last of them", Controls: "AU-2, CP-9(8), SC-28(1)"},
		{Name: PruneBegin, When: "a prune is about to delete `count` items; it does not begin without this record", Object: "the cluster", Controls: "AU-2, AU-9, CP-9"},
		{Name: PruneDelete, When: "one of them, or up to 64 segments, are about to be deleted (`begun`); then for each how that went. Where either cannot be recorded the prune stops", Object: "the snapshot, segment or upload; or the first and the last segment", Controls: "AU-2, AU-9, CP-9", bulk: true},
		{Name: PruneEnd, When: "the prune ends; `count` items were deleted", Object: "the cluster", Controls: "AU-2, AU-9, CP-9"},
		{Name: SpoolDrop, When: "a snapshot, or a stretch of the archive, is given up for a target that does not have it; the service goes on whether this can be recorded or not", Object: "the snapshot, or the first and the last segment as it begins: `gaps.jsonl` has how long it became", Controls: "AU-2, CP-9"},
	}
}

// bulk reports whether the event is written without waiting for the disk.
func (n Name) bulk() bool {
	for _, d := range Definitions() {
		if d.Name == n {
			return d.bulk
		}
	}
	return false
}

// Event is what a caller knows of an event.
type Event struct {
	Name Name
	// Outcome is Done, or Failed where Err is not nil, if it is empty.
	Outcome Outcome
	// Object names a file, an object or a directory; never a secret. Of a longer one the first 1024 bytes are kept.
	Object string
	// Target is the name of a target; "" where none takes part.
	Target string
	// Count is of how many objects this is, where it is of several; 0: not told.
	Count int64
	// Err is why it failed. Its class is recorded, and not its text.
	Err error
}
