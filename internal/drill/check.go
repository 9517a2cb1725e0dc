package drill

import (
	"context"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
)

// The checks, in the order in which they are made. The name says which layer is at fault when one fails.
const (
	CheckManifest  = "manifest"  // there, readable, and of this snapshot
	CheckSignature = "signature" // by somebody trusted
	CheckChain     = "chain"     // the manifest before it is the one that it names
	CheckObject    = "object"    // SHA-256 and size of what lies in the target
	CheckEnvelope  = "envelope"  // decryption and decompression
	CheckTrailer   = "trailer"   // the SHA-256 that etcd wrote, and the manifest repeats, is that of the plaintext
	CheckStructure = "structure" // bbolt's own consistency check

	CheckRevision        = "revision"
	CheckCompactRevision = "compact-revision"
	CheckKeys            = "keys"     // live keys, and entries stored
	CheckHashKV          = "hashkv"   // computed offline
	CheckMembers         = "members"  // hashes that live members gave
	CheckContents        = "contents" // every entry decoded

	CheckRestore      = "restore" // a data directory: wal, membership, leases
	CheckBoot         = "boot"
	CheckAuth         = "auth" // enforced, where it was enabled
	CheckLinearizable = "linearizable-read"
	CheckLeases       = "leases"
	CheckAlarms       = "alarms"
	CheckEtcdHashKV   = "etcd-hashkv" // as the restored etcd answers it
	CheckEtcdKeys     = "etcd-keys"   // keys by prefix, through the client API
	CheckSamples      = "samples"     // values, revisions and leases of some keys, through the client API
	CheckWatch        = "watch"       // delivers the write
	CheckWrite        = "write-read-back"
	CheckShutdown     = "shutdown"
	CheckWipe         = "wipe" // always made
)

// The checks of an archived revision, beside those of the snapshot that it begins with and of the etcd that is started.
const (
	CheckPlan           = "plan"            // snapshot and segments lead to the revision, none is missing
	CheckSegmentChain   = "segment-chain"   // each segment follows the one that it names
	CheckFork           = "fork"            // writers agree about the revisions at which their segments end
	CheckSegments       = "segments"        // SHA-256 and size of what lies in the target
	CheckSegmentContent = "segment-content" // decryption, decompression, and every change decoded
	CheckReplay         = "replay"          // nothing missing, nothing contradicted, and the store is sound
	CheckCheckpoints    = "checkpoints"     // HashKV as live members gave it on the way
	CheckMade           = "made-contents"   // every entry of the store at the revision decoded
)

// dataChecks belong to each level, drillChecks to those that start an etcd. CheckWipe ends each.
var (
	dataChecks = []string{
		CheckManifest, CheckSignature, CheckChain, CheckObject, CheckEnvelope, CheckTrailer, CheckStructure, CheckRevision,
		CheckCompactRevision, CheckKeys, CheckHashKV, CheckMembers, CheckContents,
	}
	drillChecks = []string{
		CheckRestore, CheckBoot, CheckAuth, CheckLinearizable, CheckLeases, CheckAlarms, CheckEtcdHashKV, CheckEtcdKeys,
		CheckSamples, CheckWrite, CheckWatch, CheckShutdown,
	}
)

// The checks of an archived revision that are made before and after those of its snapshot.
var (
	wayChecks  = []string{CheckPlan, CheckSegmentChain, CheckFork, CheckSegments}
	madeChecks = []string{CheckSegmentContent, CheckReplay, CheckCheckpoints, CheckMade}
)

// checksOf are the names of all checks of a level but the last, CheckWipe.
func checksOf(level proof.Level) []string {
	checks := dataChecks
	if level.Archive() {
		checks = slices.Concat(wayChecks, dataChecks, madeChecks)
	}
	if level.Boots() {
		checks = slices.Concat(checks, drillChecks)
	}
	return checks
}

// maxText bounds what a record repeats of one error, in bytes, and maxWarnings how many sentences it has.
const (
	maxText     = 400
	maxWarnings = 100
)

// printable makes a text fit to be signed and shown: one line, bounded.
func printable(text string) string {
	return repo.Shorten(repo.Printable(text), maxText)
}

// check makes one check, unless the drill is over, and reports whether the drill goes on.
func (a *attempt) check(ctx context.Context, name string, f func(c *proof.Check) error) bool {
	if a.over() {
		return false
	}
	a.watch.Step(name, 0)
	begin := time.Now()
	c := proof.Check{Name: name}
	err := f(&c)
	c.Seconds = time.Since(begin).Seconds()
	return a.record(ctx, c, err)
}

// record keeps a check that was made, and reports whether the drill goes on.
func (a *attempt) record(ctx context.Context, c proof.Check, err error) bool {
	c.Outcome = a.judge(ctx, err)
	if err != nil {
		c.Detail = err.Error()
	}
	c.Expected, c.Found, c.Detail = printable(c.Expected), printable(c.Found), printable(c.Detail)
	a.out.Checks = append(a.out.Checks, c)
	if c.Outcome == proof.Failed || c.Outcome == proof.Inconclusive {
		a.end(c.Outcome, c.Name+": "+c.Detail)
	}
	return !a.over()
}

// end concludes the drill. The first conclusion stands.
func (a *attempt) end(outcome proof.Outcome, cause string) {
	if !a.over() {
		a.out.Outcome, a.out.Cause = outcome, printable(cause)
	}
}

// over reports whether the drill is concluded.
func (a *attempt) over() bool { return a.out.Outcome != "" }

// next is the first check that was not made yet.
func (a *attempt) next() string {
	for _, name := range checksOf(a.out.Level) {
		if !a.made(name) {
			return name
		}
	}
	return CheckWipe
}

func (a *attempt) made(name string) bool {
	return slices.ContainsFunc(a.out.Checks, func(c proof.Check) bool { return c.Name == name })
}

// notReached records the checks that a drill did not come to.
func (a *attempt) notReached() {
	for _, name := range checksOf(a.out.Level) {
		if !a.made(name) {
			a.out.Checks = append(a.out.Checks, proof.Check{Name: name, Outcome: proof.Skipped, Detail: "not reached"})
		}
	}
}

// warn notes what a person should look at; whoever reads the record shows it.
func (a *attempt) warn(text string) {
	if len(a.out.Warnings) < maxWarnings {
		a.out.Warnings = append(a.out.Warnings, printable(text))
	}
}
