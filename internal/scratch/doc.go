// Package scratch runs an etcd on restored data to see what it says, beside the production member and unable to touch it.
//
// In comes a data directory that a restore has just written; out comes a connection to an etcd that serves it. Every
// parser of etcd meets the data for the first time here, so it runs in a process of its own: drd itself with the embedded
// server, or the etcd program of the cluster's own version. What it finds is the caller's to judge.
//
// The etcd must not be mistaken for the member whose name, cluster and addresses its data carries. It listens on unix
// sockets in a directory that only this user may enter, and on nothing else. It is the only member of its cluster, so that
// it has nobody to call; where the kernel allows it, it has a network of its own in which nobody could be reached. Its
// directory is locked by nobody else, or it is not started.
//
// It must not slow the node down either: it gets the CPU and the disk when nobody else wants them, it has a memory limit,
// and it is the first that the kernel ends when memory runs out. So its death alone says nothing about the backup:
// ErrKilled tells that apart. It never outlives the process that started it.
package scratch
