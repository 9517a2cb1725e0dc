package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"testing"

	"github.com/drd-project/drd/internal/mvcc"
)

// TestLastRevisionHash: however much a revision has, and whatever came before it, its hash is the one that docs/archive.md specifies,
// over all of its changes at once.
func TestLastRevisionHash(t *testing.T) {
	small, large := bytes.Repeat([]byte("s"), 100), bytes.Repeat([]byte("l"), heldBytes+1)
	tests := map[string][][]byte{
		"one":                  {small},
		"many":                 {small, small, small},
		"none in it":           {{}},
		"as much as is held":   {make([]byte, heldBytes-22)}, // beside its key and length
		"one byte more":        {make([]byte, heldBytes-21)},
		"one that is large":    {large},
		"a large one first":    {large, small},
		"a large one between":  {small, large, small},
		"much in small pieces": slices.Repeat([][]byte{small}, 2*heldBytes/len(small)),
	}
	for name, values := range tests {
		t.Run(name, func(t *testing.T) {
			var h revisionHash
			for i, value := range [][]byte{small, large, large} { // another revision follows it
				h.add(mvcc.Entry{Position: mvcc.Position{Main: 6, Sub: int64(i)}, Value: value})
			}
			want := sha256.New()
			for i, value := range values {
				e := mvcc.Entry{Position: mvcc.Position{Main: 7, Sub: int64(i), Tombstone: i%2 == 1}, Value: value}
				h.add(e)
				want.Write(binary.BigEndian.AppendUint32(e.AppendKey(nil), uint32(len(value))))
				want.Write(value)
			}
			if got := h.hex(); got != hex.EncodeToString(want.Sum(nil)) {
				t.Errorf("got %s, want %x", got, want.Sum(nil))
			}
			if most := 2 * heldBytes; cap(h.held) > most {
				t.Errorf("it keeps %d bytes, at most %d", cap(h.held), most)
			}
		})
	}
}

// TestAppendAllocatesNothing: a change that is written costs no memory of its own; thousands come in a second.
func TestAppendAllocatesNothing(t *testing.T) {
	w := NewWriter(io.Discard, 1)
	w.Stamp(instant(0))
	revision := int64(0)
	append1 := func() {
		revision++
		if err := w.Append(put(revision, 0, "key", "value", 0)); err != nil {
			t.Fatal(err)
		}
	}
	append1()
	made := testing.AllocsPerRun(1000, func() { put(revision+1, 0, "key", "value", 0) })
	if all := testing.AllocsPerRun(1000, append1); all > made {
		t.Errorf("a change takes %v allocations, making it %v", all, made)
	}
}
