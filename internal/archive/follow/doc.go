// Package follow watches a live cluster and makes segments of what happens there.
//
// A Follower goes on from a Position, the end of what is archived. It first has the member repeat the last archived revision and
// compares: only a member that still has it is the continuation of that history. Then it writes every change into a segment
// (package archive), finishes one every few seconds, and hands it to its owner, who signs it, enqueues it and remembers
// the new Position. The owner decides what to do when it ends:
//
//   - ErrOtherHistory: a new timeline begins, with a snapshot.
//   - ErrBehind: what is missing must not, or cannot, be had by a watch. Run again at once from a Position without a
//     revision, which begins with what happens next; take a snapshot; FromSnapshot then makes the segments in between. The
//     order matters: what follows the snapshot must not be late again. Where FromSnapshot says that it is gone too, it is a gap.
//   - etcd.ErrGap: the same, for the watch has proved unreliable.
//   - anything else: the member is in trouble. Run again, after a while, from the Position that was reached.
//
// Killed at any instant it repeats at worst a range that was not remembered: segments may overlap. Nothing is ever written to
// the cluster, memory does not depend on how much happens there, and plaintext never reaches the disk.
package follow
