// Package replicate brings sealed snapshots and segments of the archive from this host to every target, and proves that they
// are there.
//
// For one of them and one target the order is fixed: payload, then signature and manifest (the commit), then the
// read-back. What the store accepted is not yet a copy: Prove downloads the object, compares its SHA-256, decrypts it with
// the retained file key and decompresses it to the last byte. No identity is needed for that, so a node proves what it
// wrote while it holds public keys only.
//
// Between capture and targets stands a Queue on the disk. What is in the spool with its manifest is enqueued, and stays
// until each configured target has a proved copy. Each target has two lanes, one for snapshots and one for segments, and each
// lane a state of its own: a dead target neither delays nor hides another, and thousands of segments do not delay a snapshot.
// The queue's whole memory are files of which each appears at once or not at all: a process that is killed at any instruction
// has lost nothing but time. docs/replication.md goes through every one of those instants.
//
// A snapshot that cannot reach a target any more, because the spool is full, the target holds something else under its
// name or damaged it, is recorded as lost for that target; a segment, as a gap. Nothing else ever leaves the spool without a
// copy. The newest snapshots that every target has may stay, as copies kept for a restore without network: that is no part of
// the queue, and they are the first to go when something that waits needs their room.
package replicate
