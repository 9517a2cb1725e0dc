package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/drd-project/drd/internal/mvcc"
)

// growBy is how far the buffer of a value may run ahead of the bytes that have arrived: a length is only a claim.
const growBy = 64 << 10

// Reader reads what a Writer wrote, and refuses everything else with an error wrapping ErrMalformed; errors of the reader below
// are passed on. Memory is bounded by MaxValue and MaxLeases. It is not safe for concurrent use.
type Reader struct {
	grammar
	in    *bufio.Reader
	value []byte
	err   error // sticky
}

// NewReader reads the first revision of a stream. Errors show with Next.
func NewReader(r io.Reader) *Reader {
	out := &Reader{grammar: newGrammar(1), in: bufio.NewReaderSize(r, writeBuffer)}
	out.err = out.begin()
	return out
}

func (r *Reader) begin() error {
	var mark [len(magic)]byte
	if _, err := io.ReadFull(r.in, mark[:]); err != nil {
		return cutShort(err)
	}
	if string(mark[:]) != magic {
		return fmt.Errorf("%w: it begins with %q, not %q", ErrMalformed, mark[:], magic)
	}
	first, err := r.number(math.MaxInt64)
	if err != nil {
		return err
	}
	if first < 1 {
		return fmt.Errorf("%w: revision 0", ErrMalformed)
	}
	r.grammar = newGrammar(first)
	return nil
}

// First is the revision that the stream begins with; 1 when that could not be read.
func (r *Reader) First() int64 { return r.first }

// Last is the revision of the last entry that was read; before the first one it is the revision before.
func (r *Reader) Last() int64 { return r.at.Main }

// Entries is how many were read.
func (r *Reader) Entries() int64 { return r.entries }

// Next returns the next record. io.EOF comes only after the end record, when the count is right and nothing follows. The value
// of an entry is valid until the next call.
func (r *Reader) Next() (Record, error) {
	if r.err != nil {
		return Record{}, r.err
	}
	record, err := r.next()
	if err != nil && err != io.EOF { //nolint:errorlint // the end is io.EOF itself
		err = fmt.Errorf("read segment after revision %s: %w", r.at, err)
	}
	if r.err = err; err != nil {
		return Record{}, err
	}
	return record, nil
}

func (r *Reader) next() (Record, error) {
	tag, err := r.in.ReadByte()
	switch {
	case err != nil:
		return Record{}, cutShort(err)
	case tag&entryTagsMask == entryTags:
		return r.readEntry(tag)
	case tag == tagStamp || tag == tagLateStamp:
		return r.readStamp(tag == tagLateStamp)
	case tag == tagLease:
		return r.readLease()
	case tag == tagEnd:
		return Record{}, r.readEnd()
	}
	return Record{}, fmt.Errorf("%w: no record begins with 0x%02x", ErrMalformed, tag)
}

func (r *Reader) readEntry(tag byte) (Record, error) {
	e := mvcc.Entry{Position: mvcc.Position{Main: r.at.Main, Sub: r.at.Sub + 1, Tombstone: tag&deleteBit != 0}}
	if tag&nextBit != 0 {
		if r.at.Main == math.MaxInt64 {
			return Record{}, fmt.Errorf("%w: there is no higher revision", ErrMalformed)
		}
		e.Main, e.Sub = r.at.Main+1, 0
	}
	size, err := r.number(MaxValue)
	if err != nil {
		return Record{}, err
	}
	if e.Value, err = r.readValue(int(size)); err != nil {
		return Record{}, err
	}
	return Record{Kind: KindEntry, Entry: e}, malformed(r.grammar.entry(e))
}

// readValue reads into the one buffer, which grows with what arrives.
func (r *Reader) readValue(size int) ([]byte, error) {
	r.value = r.value[:0]
	for len(r.value) < size {
		from := len(r.value)
		to := min(size, max(cap(r.value), from+growBy))
		if to > cap(r.value) {
			r.value = append(make([]byte, 0, min(size, max(to, 2*cap(r.value)))), r.value...)
		}
		r.value = r.value[:to]
		if _, err := io.ReadFull(r.in, r.value[from:]); err != nil {
			return nil, cutShort(err)
		}
	}
	return r.value, nil
}

func (r *Reader) readStamp(late bool) (Record, error) {
	delta, err := r.number(maxSecond)
	if err != nil {
		return Record{}, err
	}
	s := Stamp{Time: time.Unix(r.second+delta, 0).UTC(), Late: late}
	return Record{Kind: KindStamp, Stamp: s}, malformed(r.grammar.stamp(s))
}

func (r *Reader) readLease() (Record, error) {
	id, err := r.number(math.MaxInt64)
	if err != nil {
		return Record{}, err
	}
	ttl, err := r.number(math.MaxInt64)
	if err != nil {
		return Record{}, err
	}
	l := Lease{ID: id, TTL: ttl}
	return Record{Kind: KindLease, Lease: l}, malformed(r.grammar.lease(l))
}

// readEnd returns io.EOF for an end that is one.
func (r *Reader) readEnd() error {
	count, err := r.number(math.MaxInt64)
	switch {
	case err != nil:
		return err
	case count != r.entries:
		return fmt.Errorf("%w: %d entries, its end says %d", ErrMalformed, r.entries, count)
	case r.stamped:
		return fmt.Errorf("%w: a stamp of nothing", ErrMalformed)
	}
	if _, err := r.in.ReadByte(); err == nil {
		return fmt.Errorf("%w: something follows its end", ErrMalformed)
	} else if err != io.EOF { //nolint:errorlint // the end is io.EOF itself; an error that wraps it is a failure
		return err
	}
	return io.EOF
}

// number reads a varint in its shortest form.
func (r *Reader) number(most int64) (int64, error) {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, cutShort(err)
		}
		if shift > 56 || b == 0 && shift > 0 { // 9 bytes hold 63 bits, and a last byte of 0 adds nothing
			return 0, fmt.Errorf("%w: a number that is not in its shortest form, or too large", ErrMalformed)
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	if v > uint64(most) {
		return 0, fmt.Errorf("%w: number %d, at most %d", ErrMalformed, v, most)
	}
	return int64(v), nil
}

// cutShort tells a stream that ends before its end from a reader that failed.
func cutShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // bare by contract; what wraps them is a failure
		return fmt.Errorf("%w: it is cut short", ErrMalformed)
	}
	return err
}

func malformed(err error) error {
	if err == nil || errors.Is(err, ErrMalformed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
