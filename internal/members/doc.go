// Package members watches whether the members of a live cluster hold the same data, and remembers what they said of it.
//
// etcd's members apply the same log and should come to the same store. When one does not, through a bug or a bad
// disk, nothing in etcd says so, and a backup of that member is a backup of wrong data. HashKV tells: it is a
// function of (revision, compact revision) and the history alone, so two members that answer differently
// for the same pair hold different data. Hashes do not say who is right.
//
// Asking must cost the cluster nothing, and HashKV normally scans the whole store while others wait. Two questions
// are cheap, and only those are put. Since 3.5.5 etcd keeps the hashes of its last ten compactions in memory. A
// compaction that another one has superseded is answered from there or refused; it is never scanned for. The newest
// compaction is asked only of a member that still remembers the one before, so that it is certain to have this one too.
// And a small database is scanned, all members at one revision.
//
// Members lag, and restart, and are away. So answers are kept in a Log and compared with each other by
// what they are about and not by when they were given. The log also serves drills: the answer of a live member, compared with
// the hash of our own copy, finds a member that went astray even in a cluster of one.
//
// In comes a connection to one member; out go Reports. Nothing is ever written to the cluster, and no
// backup waits for this or fails by it.
package members
