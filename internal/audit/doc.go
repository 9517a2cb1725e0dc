// Package audit keeps a record of who did what with secrets and with backups: keys that were loaded, objects that were opened,
// snapshots that were deleted, restores, drills, and changes of the configuration.
//
// Each record is one line of JSON. It goes to a file that only its owner may read, and to the system's journal under an identifier of
// its own. The lines of the file are a chain: each holds the SHA-256 of the line before, so that a line that was changed, taken out or
// moved shows (Verify). The chain has no key: who can write the file can make another chain, and who cuts off its end leaves a sound
// one. Both show against copies of hashes that are elsewhere (Anchor): in the journal, and in the signed manifests of the snapshots that
// the host has made since (NewestOf).
//
// A record never holds a secret: it names files, objects and classes of errors, and not what is in them. What the outside chose, such
// as a name in a bucket, is bounded.
//
// Writing a record must not stop a restore. So what calls Note goes on when it fails, which Config.Trouble is told. What destroys
// backups calls Require, and does not begin before its record is on the disk.
//
// The log travels in the context (Into), because it is part of no interface between packages: code that has none, such as a test,
// records nothing.
package audit
