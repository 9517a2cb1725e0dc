// Package merge makes large segments of the archive out of small ones, in each target by itself.
//
// A segment is written every few seconds, so that little is lost; a restore, a listing and a bill want few large ones. Once an
// hour is over, what a target holds of it becomes one segment, and once a day is over, its hours do. Nobody needs an identity for
// that: this node still has the keys of what it archived lately, and has its own segments merged. What it cannot open it leaves.
//
// Nothing is remembered. A pass lists a target, reads what is to be merged from there, and so proves it; writes the sealed result to
// that target, reads it back whole, and only then signs what makes a segment of it. A kill at any instant leaves at
// most a payload without a record. Two nodes that merge at the same time both write a segment that is right. Deleting is another's
// affair: what a merged segment replaces stays until retention is applied.
package merge
