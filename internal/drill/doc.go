// Package drill restores one snapshot of a target for practice, and says what came of it.
//
// A drill is a real restore: the object is fetched from the target, believed only after its manifest's signature, opened,
// and made into a data directory by package restore, in scratch. Then an etcd is started on it, in a process of its own
// that nobody else can reach, read through the client API, written to once, stopped and wiped. Whatever was recorded when
// the snapshot was taken is compared with what is found on the way, layer by layer, so that the first check that fails
// names the layer that is at fault.
//
// A drill has three outcomes, and the difference is the point. Failed means: this backup, in this target, is not what it
// says it is. A target that does not answer, a full scratch disk, a key that is not on this host, a child that the kernel
// killed are inconclusive: nothing was learned, and nobody should be woken for corruption.
//
// The package never writes to a target and never talks to a live cluster. Plaintext lies in the scratch directory while
// a drill runs, and nowhere afterwards.
package drill
