// Package archive keeps what happens between two snapshots, so that a cluster comes back at any revision and second.
//
// etcd's history is a list of changes, each with its revision, and no revision is ever left out. A segment is a piece of that
// list: a contiguous range of whole revisions, with the times at which they were seen and the leases that they name. It is
// written once, sealed and signed like a snapshot (Draft, repo.SignSegment, repo.PutSegment). From the snapshots and segments of a
// repository, a History says which points can be restored, and by which Chain of objects. Replay writes the changes of
// a chain into the snapshot's own store, under their exact revisions: no server, no new revision numbers, and the same HashKV as the
// live member had.
//
// What is missing is never papered over. A range that no object covers is a gap with two ends, and an Unreachable names it with
// the nearest points that can be had instead. Segments of two writers may overlap; where they disagree about one revision,
// replay stops with ErrFork.
package archive
