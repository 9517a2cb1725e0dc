// Package follow watches a live cluster and makes segments of what happens there.
//
// A Follower goes on from a Position, the end of what is archived. It first has the member repeat the last archived revision and
// compares: only a member that still has it is the continuation of that history. Then it writes every change into a segment
// (package archive), finishes one every few seconds, and hands it to its owner, who signs it, enqueues it and remembers
// the new Position. The owner decides what to do when it ends:
//
//   - ErrOtherHistory: a new timeline begins, with a snapshot.
//   - ErrBehind: what is missing must not, or cannot, be had by a watch. Run again at once from a Position without a
//     revision, which begins with what happens next, and take a snapshot then: it holds every revision since the last
//     compaction, and what it does not hold is a gap. The order matters: what follows the snapshot must not be late again.
//   - ErrUnfit, etcd.ErrTooLarge, etcd.ErrGap: the same, for a watch would bring the same again.
//   - ErrClock: the times of this timeline lie so far ahead that what follows could not be dated. A new one begins.
//   - ErrRefused: Ready has failed. Run again, after a while, from the Position that was reached.
//   - anything else: the member is in trouble. Run again, after a while, from the Position that was reached.
//
// Killed at any instant it repeats at worst a range that was not remembered: segments may overlap. Nothing is ever written to
// the cluster, memory does not depend on how much happens there but for what a single call changes (128 MiB at most), and plaintext never
// reaches the disk.
package follow
