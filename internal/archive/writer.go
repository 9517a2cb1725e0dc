package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/drd-project/drd/internal/mvcc"
)

// writeBuffer is how many bytes a Writer collects before it hands them on: one block of the envelope.
const writeBuffer = 64 << 10

// Summary is what a finished stream holds.
type Summary struct {
	First, Last int64 // Last is First-1 when there are no entries
	Entries     int64
	// LastRevisionSHA256 is the hex hash of the changes of revision Last, "" without entries.
	LastRevisionSHA256 string
	SHA256             string // hex, of the stream
	Size               int64  // bytes of the stream
}

// Writer writes the plain content of a segment. What a Reader would refuse it does not write: entries follow each other
// without a gap, a stamp precedes the first of them, and each lease is known before an entry names it. Errors are final. It is
// not safe for concurrent use, and keeps no value that it was given.
type Writer struct {
	grammar
	out     *bufio.Writer
	sum     hash.Hash
	size    int64
	pending *Stamp // is written when a revision follows
	last    revisionHash
	buf     []byte
	err     error
}

// NewWriter begins a stream whose first entry will be the first of revision first, which is at least 1.
func NewWriter(w io.Writer, first int64) *Writer {
	out := &Writer{grammar: newGrammar(first), sum: sha256.New()}
	out.out = bufio.NewWriterSize(io.MultiWriter(w, out.sum), writeBuffer)
	if first < 1 {
		out.err = fmt.Errorf("write segment: revision %d is below 1", first)
		return out
	}
	out.write([]byte(magic))
	out.write(binary.AppendUvarint(nil, uint64(first)))
	return out
}

// Stamp says that what follows was seen at or after t. One that is not in a later second than the one before says nothing
// new: that is how the stream stays in order when the clock goes back. Between the changes of a revision it counts from the
// next revision on.
func (w *Writer) Stamp(t time.Time) { w.stamp(Stamp{Time: t}) }

// LateStamp is Stamp for changes that were not seen as they happened, see Stamp.Late.
func (w *Writer) LateStamp(t time.Time) { w.stamp(Stamp{Time: t, Late: true}) }

// stamp remembers what to write when a revision follows.
func (w *Writer) stamp(s Stamp) {
	second := s.Time.Unix()
	if second < 1 || second > maxSecond {
		w.fail(fmt.Errorf("stamp %s is out of range", s.Time.UTC().Format(time.RFC3339)))
		return
	}
	if w.pending != nil {
		second = max(second, w.pending.Time.Unix())
	}
	if second <= w.second {
		if !s.Late || w.late {
			return
		}
		second = w.second + 1 // what follows must not pass for seen in time
	}
	w.pending = &Stamp{Time: time.Unix(second, 0), Late: s.Late}
}

// Lease tells for how many seconds a lease was granted; 0 when nobody can tell. It must come before the first entry that
// names the lease. The same again is written once.
func (w *Writer) Lease(id, ttl int64) {
	if old, known := w.leases[id]; known && old == ttl {
		return
	}
	if err := w.grammar.lease(Lease{id, ttl}); err != nil {
		w.fail(err)
		return
	}
	w.buf = binary.AppendUvarint(append(w.buf[:0], tagLease), uint64(id))
	w.write(binary.AppendUvarint(w.buf, uint64(ttl)))
}

// Append writes one entry. One that does not follow the one before, or the start of the segment, is an error wrapping
// mvcc.ErrGap.
func (w *Writer) Append(e mvcc.Entry) error {
	if w.err == nil && e.Sub == 0 && w.pending != nil {
		w.writeStamp()
	}
	if w.err == nil {
		if err := w.grammar.entry(e); err != nil {
			w.fail(err)
		}
	}
	if w.err != nil {
		return w.err
	}
	w.last.add(e)
	tag := byte(entryTags)
	if e.Tombstone {
		tag |= deleteBit
	}
	if e.Sub == 0 {
		tag |= nextBit
	}
	w.buf = binary.AppendUvarint(append(w.buf[:0], tag), uint64(len(e.Value)))
	w.write(w.buf)
	w.write(e.Value)
	return w.err
}

func (w *Writer) writeStamp() {
	s := *w.pending
	w.pending = nil
	delta := s.Time.Unix() - w.second
	if err := w.grammar.stamp(s); err != nil {
		w.fail(err)
		return
	}
	tag := byte(tagStamp)
	if s.Late {
		tag = tagLateStamp
	}
	w.write(binary.AppendUvarint(append(w.buf[:0], tag), uint64(delta)))
}

// Close writes the end. Without it nobody reads the stream. It does not close the writer below.
func (w *Writer) Close() (Summary, error) {
	w.write(binary.AppendUvarint(append(w.buf[:0], tagEnd), uint64(w.entries)))
	if w.err == nil {
		if err := w.out.Flush(); err != nil {
			w.fail(err)
		}
	}
	if w.err != nil {
		return Summary{}, w.err
	}
	s := Summary{First: w.first, Last: w.at.Main, Entries: w.entries, SHA256: hex.EncodeToString(w.sum.Sum(nil)), Size: w.size}
	if w.entries > 0 {
		s.LastRevisionSHA256 = w.last.hex()
	}
	w.fail(errors.New("it is closed"))
	return s, nil
}

// Size is how many bytes the stream has so far, and Last the revision of its last entry, or the one before the first.
func (w *Writer) Size() int64 { return w.size }

// Last is the revision of the last entry; before the first one it is the revision before.
func (w *Writer) Last() int64 { return w.at.Main }

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.out.Write(b); err != nil {
		w.fail(err)
		return
	}
	w.size += int64(len(b))
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = fmt.Errorf("write segment from revision %d: %w", w.first, err)
	}
}
