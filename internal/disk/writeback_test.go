package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/drd-project/drd/internal/disk"
)

// TestWriteback: whatever is advised, the content is what was written, also beyond the advice and on a closed file.
func TestWriteback(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	w := disk.Writeback{File: f}
	block := make([]byte, 3<<20)
	for i := range 7 {
		block[0] = byte(i)
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
		w.Advance(int64(i+1) * int64(len(block)))
	}
	w.Advance(1 << 40)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w.Advance(1 << 41)
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 7*len(block) || got[6*len(block)] != 6 {
		t.Errorf("%d bytes, the last block begins with %d", len(got), got[6*len(block)])
	}
}
