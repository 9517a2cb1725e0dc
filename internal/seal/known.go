package seal

import (
	"crypto/sha256"
	"encoding/binary"
)

// Known remembers signatures that were found to be good. That a signature belongs to a message is arithmetic, and so is what the
// digest stands for: it is as true tomorrow, for whomever one trusts then. Who is trusted, and at what time, is asked anew each time.
// Whoever can write to what is remembered can forge signatures, so it must be kept as the key of the node is.
type Known interface {
	// Good reports whether Learn was called with the digest.
	Good(digest [sha256.Size]byte) bool
	// Learn remembers it.
	Learn(digest [sha256.Size]byte)
}

// digestOf names a message and a signature, armor included.
func digestOf(message, signature []byte) (digest [sha256.Size]byte) {
	h := sha256.New()
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(message)))
	for _, part := range [][]byte{[]byte("drd signature 1\n"), length[:], message, signature} {
		_, _ = h.Write(part) // it cannot fail
	}
	h.Sum(digest[:0])
	return digest
}
