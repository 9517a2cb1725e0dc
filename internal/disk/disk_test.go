package disk_test

import (
	"math"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/hint"
)

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 30: "1.0 GiB",
		1503238553: "1.4 GiB", math.MaxInt64: "8.0 EiB",
	} {
		if got := disk.Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestTotal(t *testing.T) {
	dir := t.TempDir()
	free, err := disk.Free(dir)
	if err != nil {
		t.Fatal(err)
	}
	if total, err := disk.Total(dir); err != nil || total < free || total < 1<<20 {
		t.Errorf("%d bytes, of which %d are free: %v", total, free, err)
	}
	if _, err := disk.Total(dir + "/missing"); err == nil {
		t.Error("a missing directory has a size")
	}
}

func TestRequire(t *testing.T) {
	dir := t.TempDir()
	if err := disk.Require(dir, 1, "a test"); err != nil {
		t.Errorf("one byte: %v", err)
	}
	err := disk.Require(dir, math.MaxInt64, "a snapshot of 2.1 GiB")
	if err == nil || !strings.Contains(err.Error(), "a snapshot of 2.1 GiB: 8.0 EiB needed") || len(hint.Of(err)) != 1 {
		t.Errorf("more than there is: %v (hints %q)", err, hint.Of(err))
	}
	if err := disk.Require(dir+"/missing", 1, "a test"); err == nil {
		t.Error("a missing directory has room")
	}
}
