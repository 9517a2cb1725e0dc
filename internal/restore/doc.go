// Package restore brings a point in the history of a cluster back as something etcd can start from: a snapshot as it is, one
// that is cut back to an earlier revision of its own, or one with the segments of the archive that lead on from it.
//
// It works in two halves. MakePlan only reads: it refuses a destination that must not be touched,
// finds the point in one of several targets, checks who signed what leads there, and says what a restore
// would do. Run does that: download the segments; fetch, decrypt and hash the snapshot in one pass into a scratch directory
// beside the destination; inspect the file in a child process and compare it with the signed manifest; bring it to the point,
// and compare that with what live members said; edit
// it offline where a restored cluster would otherwise misbehave (alarms, leases without a record,
// the storage version of an older server, revisions that must not go backwards); inspect again;
// and only then give it its final name, in one rename.
//
// Nothing less is restored than was asked for: an object that is damaged is gone around where that leads to the very same
// point, and otherwise the error says what can be had instead.
//
// Until that rename nothing exists under the final name, whatever happens: an error, an interrupt
// or a power cut. Existing data is never overwritten and never deleted.
//
// The package knows repositories and etcd's offline formats. It never talks to a live cluster.
package restore
