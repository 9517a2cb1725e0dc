package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/storage"
)

func testSizes(t *testing.T, b storage.Bucket) {
	for _, size := range []int{0, 1, PartSize - 1, PartSize, PartSize + 1, 2 * PartSize, 3*PartSize + 7} {
		key := fmt.Sprintf("size/%d", size)
		data := content(size)
		obj := create(t, b, key, data)
		if got := read(t, b, key, 0, -1); !bytes.Equal(got, data) {
			t.Errorf("%d bytes: the content read differs from the one written", size)
		}
		stat, err := b.Stat(t.Context(), key)
		if err != nil || stat.Size != int64(size) {
			t.Errorf("%d bytes: Stat returns %+v, %v", size, stat, err)
		}
		sum := sha256.Sum256(data)
		for _, hash := range []string{obj.SHA256, stat.SHA256} {
			if hash != "" && hash != hex.EncodeToString(sum[:]) {
				t.Errorf("%d bytes: SHA-256 %s, want %x", size, hash, sum)
			}
		}
	}
}

func testWriteOnce(t *testing.T, b storage.Bucket) {
	for name, first := range map[string][]byte{"empty": {}, "small": content(100), "parts": content(PartSize + 100)} {
		create(t, b, name, first)
		for _, size := range []int{0, 100, len(first), PartSize + 101} { // one of them has the very same content
			_, err := b.Create(t.Context(), name, bytes.NewReader(content(size)))
			wantIs(t, fmt.Sprintf("Create of %s again with %d bytes", name, size), err, storage.ErrExists)
		}
		if got := read(t, b, name, 0, -1); !bytes.Equal(got, first) {
			t.Errorf("%s was changed", name)
		}
	}
	wantKeys(t, b, "", "empty", "parts", "small")
}

func testRace(t *testing.T, b storage.Bucket) {
	for round, size := range []int{0, 10, 100_000, PartSize + 1000} {
		key := fmt.Sprintf("race/%d", round)
		winners := race(t, b, key, size)
		if len(winners) != 1 {
			t.Errorf("%d bytes: %d of 8 concurrent writers succeed, want one", size, len(winners))
			continue
		}
		if got := read(t, b, key, 0, -1); !bytes.Equal(got, winners[0]) {
			t.Errorf("%d bytes: the content is not the winner's", size)
		}
	}
	if got := len(keys(t, b, "race/")); got != 4 {
		t.Errorf("%d keys are listed after 4 races", got)
	}
}

// race has 8 writers create one key, each with its own content, and returns the contents of those that succeed.
func race(t *testing.T, b storage.Bucket, key string, size int) [][]byte {
	const writers = 8
	var mu sync.Mutex
	var winners [][]byte
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range writers {
		data := append(content(size), byte(i))
		all.Go(func() {
			<-start
			_, err := b.Create(t.Context(), key, bytes.NewReader(data))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, data)
			} else if !errors.Is(err, storage.ErrExists) {
				t.Errorf("a loser of the race gets %v, want %v", err, storage.ErrExists)
			}
		})
	}
	close(start)
	all.Wait()
	return winners
}

var errSource = errors.New("the source broke")

func testFailingReader(t *testing.T, b storage.Bucket) {
	for _, size := range []int{0, 1, PartSize - 1, PartSize, PartSize + 1, 3 * PartSize} {
		broken := io.MultiReader(bytes.NewReader(content(size)), brokenReader{})
		_, err := b.Create(t.Context(), "broken/object", broken)
		wantIs(t, fmt.Sprintf("Create with a source that breaks after %d bytes", size), err, errSource)
		for _, kind := range []error{storage.ErrExists, storage.ErrNotExist} {
			if errors.Is(err, kind) {
				t.Errorf("a broken source after %d bytes is taken for %q", size, kind)
			}
		}
		_, err = b.Stat(t.Context(), "broken/object")
		wantIs(t, "Stat after the source broke", err, storage.ErrNotExist)
		wantKeys(t, b, "")
	}
	for _, size := range []int{5, PartSize + 5} {
		_, err := b.Create(t.Context(), "broken/object", io.MultiReader(bytes.NewReader(content(size)), cutReader{}))
		wantIs(t, "Create with a source that breaks with a wrapped io.EOF", err, errCut)
	}
	wantKeys(t, b, "")
	create(t, b, "broken/object", content(PartSize+5)) // nothing stands in the way of the next try
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errSource }

// errCut is an error, though io.EOF is in it: only io.EOF itself is the end of a source.
var errCut = fmt.Errorf("connection lost: %w", io.EOF)

type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, errCut }

func testCancelledWrite(t *testing.T, b storage.Bucket) {
	for _, size := range []int{0, 10, PartSize, PartSize + 1, 3 * PartSize} {
		ctx, cancel := context.WithCancel(t.Context())
		source := io.MultiReader(bytes.NewReader(content(size)), &cancelling{cancel: cancel}, bytes.NewReader(content(PartSize)))
		_, err := b.Create(ctx, "cancelled", source)
		wantIs(t, fmt.Sprintf("Create cancelled after %d bytes", size), err, context.Canceled)
		_, err = b.Stat(t.Context(), "cancelled")
		wantIs(t, "Stat after cancelled Create", err, storage.ErrNotExist)
		wantKeys(t, b, "")
	}
}

// cancelling is an empty reader that cancels when it is reached.
type cancelling struct{ cancel context.CancelFunc }

func (c *cancelling) Read([]byte) (int, error) {
	c.cancel()
	return 0, io.EOF
}

const (
	largeSize = 200 << 20
	// maxGrowth of the heap while a large object passes: half its size, and above what the default four parallel
	// parts and one being read take.
	maxGrowth = 100 << 20
)

func testLarge(t *testing.T, b storage.Bucket) {
	seed := [32]byte{'l', 'a', 'r', 'g', 'e'}
	growth := heapGrowth(func() {
		sum := sha256.New()
		if _, err := b.Create(t.Context(), "large", io.TeeReader(io.LimitReader(rand.NewChaCha8(seed), largeSize), sum)); err != nil {
			t.Fatalf("Create: %v", err)
		}
		r, err := b.Open(t.Context(), "large", 0, -1)
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		back := sha256.New()
		n, err := io.Copy(back, r)
		if err = errors.Join(err, r.Close()); err != nil || n != largeSize {
			t.Fatalf("read %d bytes back: %v", n, err)
		}
		if !bytes.Equal(sum.Sum(nil), back.Sum(nil)) {
			t.Error("the content read differs from the one written")
		}
	})
	if growth > maxGrowth {
		t.Errorf("the heap grew by %d MiB while %d MiB passed", growth>>20, largeSize>>20)
	}
	t.Logf("heap growth: %d MiB", growth>>20)
}

// heapGrowth returns by how many bytes the heap is larger at its peak during run than before. Garbage that was not
// collected yet is in it, so the collector is told to keep up.
func heapGrowth(run func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	before := heap()
	peak := make(chan uint64)
	done := make(chan struct{})
	go func() {
		highest := before
		for {
			select {
			case <-time.After(10 * time.Millisecond):
				highest = max(highest, heap())
			case <-done:
				peak <- highest
				return
			}
		}
	}()
	defer func() { // a t.Fatal in run ends this goroutine: the watcher must not outlive it
		select {
		case <-done:
		default:
			close(done)
			<-peak
		}
	}()
	run()
	close(done)
	return <-peak - before
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
