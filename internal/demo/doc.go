// Package demo tells the whole story of drd on one machine: a cluster, its backups, the proof that they can be restored,
// its loss and its return. In a second act the archive follows every change, and it comes back as it was at two moments between
// snapshots.
//
// Nothing in it is acted. A real etcd runs in this process, in a directory of its own, and listens on this
// machine's loopback address only. Snapshots, refusals and the restore are those of the packages that
// the commands use, the daemon is drd itself in a process of its own, and the files are where the printed commands would look
// for them. Each act ends with a comparison of what was recorded before the loss with what the restored, running etcd
// answers; a difference is an error.
//
// What flows out is text for a person, and an error. Everything else goes with the directory, unless it is to be kept.
package demo
