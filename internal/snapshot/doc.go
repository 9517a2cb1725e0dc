// Package snapshot takes one snapshot of one etcd member and says exactly what is in it.
//
// Bytes flow once, from the member's stream to two places at the same time: a working file that
// has no name (it is unlinked as soon as it is open, so a crash leaves no plaintext behind), and
// the sealed object in the spool. The 32-byte SHA-256 trailer is checked in the stream. Then the
// working file is inspected: bbolt's own consistency check, the exact revision and compact
// revision, the number of live keys, and HashKV computed offline.
//
// Everything said of a snapshot is read out of its own bytes. What the member answers to another
// request a moment earlier or later describes another moment.
//
// The inspection runs in a child process, because bbolt panics on damaged files, and because a
// read past the end of a truncated memory map is a signal that kills a process. The daemon must
// survive both.
//
// This package never writes to the cluster, and plaintext never leaves the host.
package snapshot
