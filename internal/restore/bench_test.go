package restore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

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
