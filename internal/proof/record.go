// Package proof is the evidence that backups can be restored: the records that drills leave in the repository, and what
// they say together.
//
// A Record tells of one run against one target: who ran it, when, which snapshots were restored, what each check
// expected and found. It is JSON, signed like a manifest, and written once into the target that it is about. Nobody needs
// to believe it for a restore; it answers an auditor and drd list. A History is what all records of a target say:
// which snapshots are proved, since when, which failed, which were never tried.
//
// A run that could not find out is inconclusive: it counts as neither proof nor corruption.
//
// The package knows repositories and signatures, and nothing of etcd.
package proof

import (
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// RecordFormat is the record format that this drd writes, and the highest it reads.
const RecordFormat = 1

// RecordKind is what every record says it is, so that a signed record can never pass for a signed manifest.
const RecordKind = "drd-drill-record"

// Level is how far a drill goes.
type Level string

// The levels.
const (
	// LevelData reads the object back from its target, decrypts it, and checks everything that can be read out of the file.
	LevelData Level = "data"
	// LevelDrill restores in addition a data directory, starts etcd on it and reads through the client API. It alone
	// proves a snapshot.
	LevelDrill Level = "drill"
)

// Outcome is what a drill, or one check of it, came to.
type Outcome string

// The outcomes.
const (
	Passed Outcome = "passed"
	// Failed: the backup cannot be restored as it is, or is not what its manifest says.
	Failed Outcome = "failed"
	// Inconclusive: it could not be found out, by no fault of the backup. Neither success nor corruption.
	Inconclusive Outcome = "inconclusive"
	// Skipped is the outcome of a check that does not apply or was not reached; no drill has it.
	Skipped Outcome = "skipped"
)

// What started a run.
const (
	TriggerSchedule = "schedule" // verify.schedule
	TriggerFresh    = "fresh"    // a snapshot that has just arrived in the target
	TriggerCommand  = "command"  // drd verify
)

// Record is one run against one target. Its JSON form is what is signed. Times are in UTC.
type Record struct {
	Kind    string `json:"kind"`   // RecordKind
	Format  int    `json:"format"` // RecordFormat
	ID      string `json:"id"`     // "<utc>-<host>", the name of the object without its extension
	Cluster string `json:"cluster"`
	Host    string `json:"host"`
	Trigger string `json:"trigger"`
	Target  Target `json:"target"`

	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	Drills  []Drill   `json:"drills"` // at least one, at most 100
	// Coverage is how much of the target was proved when the run ended, this run included; nil where it was not counted.
	Coverage *Coverage  `json:"coverage,omitempty"`
	Drd      repo.Build `json:"drd"`
}

// Target is the place that was read.
type Target struct {
	Name     string `json:"name"`     // in the configuration of the host that ran it
	Location string `json:"location"` // of the bucket
}

// Drill is one snapshot that was tried, or one archived revision that begins with it.
type Drill struct {
	Snapshot       string    `json:"snapshot"`        // its ID
	ManifestSHA256 string    `json:"manifest_sha256"` // hex, of the manifest that was believed; "" when none could be
	CapturedAt     time.Time `json:"captured_at"`
	Revision       int64     `json:"revision"`
	Level          Level     `json:"level"`
	// Archived is the revision that was made of the snapshot and segments, at LevelArchive and LevelArchiveData only: the snapshot is
	// then the one that it began with.
	Archived *Archived `json:"archived,omitempty"`
	Outcome  Outcome   `json:"outcome"`
	// Cause says in one printable line why the drill failed or was inconclusive; "" when it passed.
	Cause string `json:"cause,omitempty"`
	// OpenedWith says which kind of key opened the object: "retained file key", "identity" or "file key"; "" for none.
	OpenedWith string    `json:"opened_with,omitempty"`
	Started    time.Time `json:"started"`
	Seconds    float64   `json:"seconds"` // of the whole drill, the wiping included
	// RecoverySeconds is the measured recovery time: from the first request to the target until the restored etcd
	// answered a linearizable read. 0 where no etcd was started, and where it did not come that far.
	RecoverySeconds float64 `json:"recovery_seconds"`
	ObjectBytes     int64   `json:"object_bytes"`
	DBSize          int64   `json:"db_size"`
	// Etcd is the server that was started on the restored data, such as "3.7.0 (embedded)"; "" where none was.
	Etcd       string      `json:"etcd,omitempty"`
	Checks     []Check     `json:"checks"` // in the order in which they were made; at most 100
	Kubernetes *Kubernetes `json:"kubernetes,omitempty"`
	Warnings   []string    `json:"warnings,omitempty"` // what a person should look at although nothing failed; at most 100
}

// Check is one thing that was compared.
type Check struct {
	Name     string  `json:"name"` // one of the names in package drill, such as "signature"
	Outcome  Outcome `json:"outcome"`
	Expected string  `json:"expected,omitempty"`
	Found    string  `json:"found,omitempty"`
	Detail   string  `json:"detail,omitempty"` // why it failed, or was skipped; one printable line
	Seconds  float64 `json:"seconds"`
}

// Kubernetes is what a store with /registry/ keys holds, as far as that can be said without its encryption keys.
type Kubernetes struct {
	// Resources counts the objects of each resource, such as "secrets" or "services/specs"; at most 1,000.
	Resources map[string]int64 `json:"resources"`
	// Encodings counts how values are written: "protobuf", "json", or the prefix of an encryption provider such as
	// "k8s:enc:aescbc:v1:key1"; at most 1,000.
	Encodings map[string]int64 `json:"encodings"`
	// Undecodable counts values that are none of these.
	Undecodable int64 `json:"undecodable"`
	// Missing names objects that every cluster has and this store has not.
	Missing []string `json:"missing,omitempty"`
}

// Coverage says how much of what a target holds has been drilled.
type Coverage struct {
	Period     string `json:"period"`     // in which every retained snapshot should be drilled, such as "720h0m0s"
	Restorable int    `json:"restorable"` // snapshots that can be restored from the target
	Drilled    int    `json:"drilled"`    // of these, proved by a drill within the period
	// NoKey are restorable snapshots that this host cannot open: it has neither an identity nor their retained key.
	NoKey int `json:"no_key"`
}
