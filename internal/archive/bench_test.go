package archive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// BenchmarkReplay opens, decodes and applies 100,000 changes of 1 KB each, from one sealed segment in memory. Bare is the same without
// any segment: the entries straight into the store.
func BenchmarkReplay(b *testing.B) {
	const changes, size = 100_000, 1000
	random := rand.NewChaCha8([32]byte{1})
	value := make([]byte, size)
	entries := make([]mvcc.Entry, changes)
	for i := range entries {
		_, _ = random.Read(value[:size/2]) // half of it compresses, as JSON and protobuf do; it never fails
		entries[i] = put(int64(21+i), 0, fmt.Sprintf("/registry/pods/%d", i%5000), string(value), 0)
	}
	s, _ := made(b, 20)
	keys := sealtest.New(b)
	var sealed bytes.Buffer
	envelope, err := seal.Default().Seal(&sealed, keys.Recipients)
	if err != nil {
		b.Fatal(err)
	}
	w := NewWriter(envelope, 21)
	w.Stamp(instant(0))
	appendAll(b, w, entries...)
	if _, err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err := envelope.Close(); err != nil {
		b.Fatal(err)
	}
	segment := seg(21, 20+changes, 0, 1).Segment
	open := func(context.Context, *repo.Segment) (io.ReadCloser, error) {
		return seal.Default().Open(bytes.NewReader(sealed.Bytes()), keys.Identities)
	}
	b.Run("segment", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			db := s.scratch(b)
			b.StartTimer()
			if _, err := Replay(b.Context(), db, 20, []*repo.Segment{segment}, open, 20+changes); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(changes)*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			db := s.scratch(b)
			b.StartTimer()
			a := mvcc.NewAppender(db, 20)
			for _, e := range entries {
				if err := a.Append(e); err != nil {
					b.Fatal(err)
				}
			}
			if err := a.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(changes)*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	})
}
