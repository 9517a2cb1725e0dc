package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"time"

	"github.com/drd-project/drd/internal/mvcc"
)

// magic begins the plain content of every segment. The digit is the version.
const magic = "DRDSEG1\n"

// The records of a stream: a byte that says what follows. docs/archive.md specifies them.
const (
	tagPut        = 0x10 // a put of the revision that the entry before has; then the value
	tagDelete     = 0x11
	tagNextPut    = 0x12 // a put that is the first change of the next revision
	tagNextDelete = 0x13
	tagStamp      = 0x20 // then by how many seconds it is after the stamp before
	tagLateStamp  = 0x21
	tagLease      = 0x30 // then the ID and the seconds it was granted for
	tagEnd        = 0x7f // then the number of entries
	deleteBit     = 0x01 // of the tags of entries
	nextBit       = 0x02
	entryTags     = 0x10
	entryTagsMask = 0xfc
)

// maxSecond is the last stamp: the end of the year 9999, beyond which RFC 3339 has no times.
const maxSecond = 253402300799

const (
	// MaxValue is the largest value of an entry, in bytes. etcd refuses requests above 1.5 MiB by default, and no setting
	// of its limit beyond 10 MiB is known to work well.
	MaxValue = 16 << 20
	// MaxLeases is how many leases one segment may know: their IDs are kept in memory while it is written and read.
	MaxLeases = 1 << 20
)

// ErrMalformed is wrapped for a stream that no Writer wrote.
var ErrMalformed = errors.New("malformed segment")

// Kind says what a Record is.
type Kind int

// The kinds of records that a Reader returns.
const (
	KindEntry Kind = iota + 1
	KindStamp
	KindLease
)

// Record is one record of a stream.
type Record struct {
	Kind  Kind
	Entry mvcc.Entry // KindEntry. The value is valid until the next call of Next.
	Stamp Stamp      // KindStamp
	Lease Lease      // KindLease
}

// Stamp tells when the entries that follow were seen, up to the next stamp: at or after that second, in UTC.
type Stamp struct {
	Time time.Time
	// Late: they were not seen when they happened but read later, out of a snapshot or after a pause. They happened at some
	// time between the stamp before (or the segment's From) and this one.
	Late bool
}

// Lease is a lease as it was granted. TTL is in seconds; 0 means that nobody could tell any more.
type Lease struct{ ID, TTL int64 }

// revisionHash hashes the changes of one revision: for each the key under which etcd stores it, the length of the value in
// four bytes, big-endian, and the value. A stream is asked for that of its last revision only: what may still be followed by
// another revision is held back, up to heldBytes, and hashed when that is known.
type revisionHash struct {
	sum  hash.Hash
	held []byte
}

// heldBytes is more than what most revisions have, and less than the buffers beside it.
const heldBytes = 64 << 10

func (h *revisionHash) add(e mvcc.Entry) {
	if h.sum == nil {
		h.sum = sha256.New()
	}
	if e.Sub == 0 {
		h.sum.Reset()
		h.held = h.held[:0]
	}
	h.held = binary.BigEndian.AppendUint32(e.AppendKey(h.held), uint32(len(e.Value)))
	if len(h.held)+len(e.Value) <= heldBytes {
		h.held = append(h.held, e.Value...)
		return
	}
	h.hash()
	h.sum.Write(e.Value)
}

// hash takes in what is held.
func (h *revisionHash) hash() {
	h.sum.Write(h.held)
	h.held = h.held[:0]
}

func (h *revisionHash) hex() string {
	h.hash()
	return hex.EncodeToString(h.sum.Sum(nil))
}
