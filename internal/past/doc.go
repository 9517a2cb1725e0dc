// Package past answers what people ask of a cluster's history before they restore anything: what happened to a key (Reader.Log),
// what became of everything between two revisions (Reader.Diff), and what was there (Reader.Extract).
//
// What flows in is the store that a restore made in scratch (restore.Options.Made), at the last revision that is asked about. etcd
// keeps every change since its last compaction, so one pass over that file tells all: nothing is started and nothing is
// written. What flows out are changes, one after the other, in the order of revisions or of keys. When they happened is not in the
// store: Times finds out of the archive what is known of it, and no more.
//
// The file is read by a process of its own (package child), as it may be damaged. Memory is bounded: a history of any length
// streams through, and keys that have to be sorted are taken some at a time, with a pass over the file for each lot. Values never
// go into an error.
package past
