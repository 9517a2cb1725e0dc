package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/etcd"
)

// scripted plays a snapshot stream: what a real member will not do on demand.
type scripted struct {
	ctx    context.Context
	chunks []etcd.Chunk
	end    error // after the last chunk; nil: io.EOF
	hang   bool  // after the last chunk: send nothing until ctx ends
	empty  bool  // after the last chunk: send empty messages until ctx ends
}

func (s *scripted) Recv() (etcd.Chunk, error) {
	if len(s.chunks) > 0 {
		c := s.chunks[0]
		s.chunks = s.chunks[1:]
		return c, nil
	}
	switch {
	case s.empty:
		select {
		case <-s.ctx.Done():
			return etcd.Chunk{}, errors.New("rpc error: canceled")
		case <-time.After(time.Millisecond):
			return etcd.Chunk{Remaining: 1}, nil
		}
	case s.hang:
		<-s.ctx.Done()
		return etcd.Chunk{}, errors.New("rpc error: canceled")
	case s.end != nil:
		return etcd.Chunk{}, s.end
	}
	return etcd.Chunk{}, io.EOF
}

// file makes a database of n bytes with its trailer.
func file(n int) []byte {
	body := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(body)
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

// chunked cuts content as etcd does: messages of size bytes, each saying what of the database remains.
func chunked(content []byte, size int) []etcd.Chunk {
	db := len(content) - sha256.Size
	var out []etcd.Chunk
	for sent := 0; sent < len(content); {
		n := min(size, len(content)-sent)
		if sent < db {
			n = min(n, db-sent)
		}
		out = append(out, etcd.Chunk{Blob: content[sent : sent+n], Remaining: uint64(max(0, db-sent-n))})
		sent += n
	}
	return out
}

// play receives a scripted stream into two writers.
func play(t *testing.T, s *scripted, writers ...io.Writer) (Received, error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	s.ctx = ctx
	r := receiver{stall: time.Minute}
	return r.receive(ctx, cancel, s, writers...)
}

func TestReceiveWhole(t *testing.T) {
	for _, n := range []int{512, blockSize - 32, blockSize, blockSize + 1, 5*blockSize + 4096} {
		content := file(n)
		var a, b bytes.Buffer
		got, err := play(t, &scripted{chunks: chunked(content, 32<<10)}, &a, &b)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got.Size != int64(len(content)) || !bytes.Equal(got.SHA256[:], content[n:]) {
			t.Errorf("%d bytes: received %d, hash %x", n, got.Size, got.SHA256)
		}
		if !bytes.Equal(a.Bytes(), content) || !bytes.Equal(b.Bytes(), content) {
			t.Errorf("%d bytes: a writer got other bytes", n)
		}
	}
}

// TestReceiveCutAtEveryByte: whatever ends a stream early, and wherever, it is no snapshot.
func TestReceiveCutAtEveryByte(t *testing.T) {
	content := file(1024)
	for n := range content {
		for _, end := range []error{nil, errors.New("connection reset")} {
			chunks := chunked(content, 100)
			cut := 0
			for i := range chunks {
				if left := n - cut; left < len(chunks[i].Blob) {
					chunks[i].Blob = chunks[i].Blob[:max(0, left)]
					chunks = chunks[:i+1]
					break
				}
				cut += len(chunks[i].Blob)
			}
			if got, err := play(t, &scripted{chunks: chunks, end: end}, io.Discard); err == nil {
				t.Fatalf("a stream cut after %d of %d bytes (end: %v) passed: %+v", n, len(content), end, got)
			}
		}
	}
}

func TestReceiveEveryBitFlipIsFound(t *testing.T) {
	content := file(512)
	for n := range content {
		damaged := bytes.Clone(content)
		damaged[n] ^= 1 << (n % 8)
		_, err := play(t, &scripted{chunks: chunked(damaged, 100)}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "trailer says SHA-256") {
			t.Fatalf("a flipped bit at byte %d: %v", n, err)
		}
	}
}

func TestReceiveStalls(t *testing.T) {
	for name, s := range map[string]*scripted{
		"no message at all": {hang: true},
		"in the middle":     {chunks: chunked(file(4096), 100)[:7], hang: true},
		"empty messages":    {chunks: chunked(file(4096), 100)[:7], empty: true},
		"before the end":    {chunks: chunked(file(4096), 100), hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				_, err := play(t, s, io.Discard)
				if !errors.Is(err, ErrStalled) {
					t.Fatalf("got %v, want ErrStalled", err)
				}
				if took := time.Since(begin); took < time.Minute || took > time.Minute+time.Second {
					t.Errorf("the stream was given up after %s, want a minute", took)
				}
			})
		})
	}
}

// TestReceiveSlowIsNotStalled: a stream may take hours as long as bytes arrive.
func TestReceiveSlowIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content := file(4096)
		if _, err := play(t, &scripted{chunks: chunked(content, 512)}, slowWriter{50 * time.Second}); err != nil {
			t.Fatal(err)
		}
	})
}

type slowWriter struct{ d time.Duration }

func (w slowWriter) Write(p []byte) (int, error) {
	time.Sleep(w.d)
	return len(p), nil
}

// TestReceiveWriterFails: a full disk ends the stream at once, also while the member sends nothing.
func TestReceiveWriterFails(t *testing.T) {
	full := errors.New("no space left on device")
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := play(t, &scripted{chunks: chunked(file(3*blockSize), 32<<10), hang: true}, io.Discard, failingWriter{full})
		if !errors.Is(err, full) {
			t.Fatalf("got %v, want the writer's error", err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the failure was noticed after %s", took)
		}
	})
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// TestReceiveMemoryIsBounded: a writer that is slower than the stream does not make drd hold the stream.
func TestReceiveMemoryIsBounded(t *testing.T) {
	const size = 256 << 20
	content := chunked(file(blockSize), 32<<10)[:32]
	s := &scripted{}
	for sent := 0; sent < size; sent += blockSize {
		s.chunks = append(s.chunks, content...)
	}
	s.chunks[0].Remaining = size - 32<<10
	var before, now, peak runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	_, err := play(t, s, writerFunc(func(p []byte) {
		if n++; n%32 == 0 {
			if runtime.ReadMemStats(&now); now.HeapAlloc > peak.HeapAlloc {
				peak = now
			}
		}
	}))
	if err == nil || n < size/blockSize {
		t.Fatalf("%d blocks arrived, error %v; want all, and a missing trailer", n, err)
	}
	if grown := int64(peak.HeapAlloc) - int64(before.HeapAlloc); grown > 2*blockCount*blockSize {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
