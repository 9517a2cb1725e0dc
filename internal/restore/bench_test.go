package restore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/restore"
)

// BenchmarkRestore restores a snapshot of DRD_BENCH_MIB (default 256) from a directory target.
func BenchmarkRestore(b *testing.B) {
	mib := 256
	if s := os.Getenv("DRD_BENCH_MIB"); s != "" {
		var err error
		if mib, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	k, target := newKeys(b), newTarget(b)
	file := bigFile(b, mib)
	facts, err := inspector(b).Inspect(b.Context(), file, nil)
	if err != nil {
		b.Fatal(err)
	}
	m := publish(b, k, file, facts, captureTime, nil, target)
	bumped, err := restore.BumpBy(1_000_000_000)
	if err != nil {
		b.Fatal(err)
	}
	for _, mode := range []string{"data dir", "file", "file bumped"} {
		b.Run(mode, func(b *testing.B) {
			b.SetBytes(m.DBSize)
			for i := range b.N {
				to := filepath.Join(b.TempDir(), fmt.Sprint(i))
				req := restore.Request{Output: to}
				switch mode {
				case "data dir":
					req = restore.Request{DataDir: to}
				case "file bumped":
					req.Bump = bumped
				}
				result := restored(b, k, req, target)
				for _, s := range result.Steps {
					b.ReportMetric(s.Seconds, s.Name+"-s")
				}
				if err := os.RemoveAll(to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkArchive restores a point that 200 segments lead to, 200,000 changes of 1 KB, from a directory target: download, signature, decryption,
// decoding, replay, inspection and hash.
func BenchmarkArchive(b *testing.B) {
	const segments, changes = 200, 1000
	k, target := newKeys(b), newTarget(b)
	base := capture(b, "3.7", "app/")
	publish(b, k, base.File, base.Facts, captureTime, nil, target)
	last := archiveAfter(b, k, base.Revision, segments, changes, target)
	for b.Loop() {
		to := filepath.Join(b.TempDir(), "f")
		result := restored(b, k, restore.Request{Revision: last, Output: to}, target)
		for _, s := range result.Steps {
			b.ReportMetric(s.Seconds, s.Name+"-s")
			if s.Name == restore.StepReplay {
				b.ReportMetric(segments*changes/s.Seconds, "replayed/s")
			}
		}
		b.ReportMetric(segments*changes/result.Seconds, "changes/s")
		if err := os.Remove(to); err != nil {
			b.Fatal(err)
		}
	}
}

// archiveAfter archives so many segments of so many changes of 1 KB, of which half is random, and returns the last revision.
func archiveAfter(tb testing.TB, k *keys, revision int64, segments, changes int, targets ...*target) int64 {
	tb.Helper()
	random := rand.NewChaCha8([32]byte{1})
	value := make([]byte, 1000)
	for range segments {
		var entries []mvcc.Entry
		for i := range int64(changes) {
			_, _ = random.Read(value[:500]) // it never fails
			kv := &mvccpb.KeyValue{Key: fmt.Appendf(nil, "app/big-%d", i%977), CreateRevision: revision + 1 + i, ModRevision: revision + 1 + i, Version: 1, Value: value}
			entries = append(entries, mvcc.FromEvent(&mvccpb.Event{Kv: kv}, 0))
		}
		writeSegment(tb, k, revision+1, revision+int64(changes), entries, nil, nil, targets...)
		revision += int64(changes)
	}
	return revision
}
