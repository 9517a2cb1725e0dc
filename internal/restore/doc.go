// Package restore brings one snapshot of a repository back as something etcd can start from.
//
// It works in two halves. MakePlan only reads: it refuses a destination that must not be touched,
// finds the snapshot in one of several targets, checks who signed it, and says what a restore
// would do. Run does that: fetch, decrypt and hash in one pass into a scratch directory beside the
// destination; inspect the file in a child process and compare it with the signed manifest; edit
// it offline where a restored cluster would otherwise misbehave (alarms, leases without a record,
// the storage version of an older server, revisions that must not go backwards); inspect again;
// and only then give it its final name, in one rename.
//
// Until that rename nothing exists under the final name, whatever happens: an error, an interrupt
// or a power cut. Existing data is never overwritten and never deleted.
//
// The package knows repositories and etcd's offline formats. It never talks to a live cluster.
package restore
