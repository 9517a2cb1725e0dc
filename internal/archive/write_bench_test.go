package archive

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// BenchmarkWrite makes segments of 8 MiB, sealed and synced: 8,000 changes of 1 KB each, half of which compresses. On a busy machine only the
// CPU time means something; it is that of the whole process.
func BenchmarkWrite(b *testing.B) {
	const changes, size = 8000, 1000
	random := rand.NewChaCha8([32]byte{1})
	value := make([]byte, size)
	entries := make([]mvcc.Entry, changes)
	for i := range entries {
		_, _ = random.Read(value[:size/2]) // it never fails
		entries[i] = put(int64(1+i), 0, fmt.Sprintf("/registry/pods/%d", i%5000), string(value), 0)
	}
	keys, dir := sealtest.New(b), b.TempDir()
	b.ReportAllocs()
	begun := cpuTime(b)
	for b.Loop() {
		d, err := Begin(dir, keys.Recipients, 1)
		if err != nil {
			b.Fatal(err)
		}
		d.Stamp(instant(0))
		appendAll(b, d.Writer, entries...)
		if _, err := d.seal(); err != nil {
			b.Fatal(err)
		}
		if err := d.Discard(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-begun).Microseconds())/float64(b.N)/changes, "cpu-µs/change")
}

func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
