package seal

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestBound: the oldest keys go, from the disk and from memory.
func TestBound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	ring, err := OpenKeyRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 5 {
		name := fmt.Sprintf("object-%d", i)
		if err := ring.Put(name, newFileKey(make([]byte, fileKeySize))); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(ring.path(name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{5, 3} {
		if err := ring.Bound(limit); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if _, ok := ring.Get(fmt.Sprintf("object-%d", i)); ok != (i >= 5-limit) {
				t.Errorf("bound to %d: key %d is there: %v", limit, i, ok)
			}
		}
	}
	if again, err := OpenKeyRing(dir); err != nil || again.Bound(0) != nil || len(again.keys) != 0 {
		t.Errorf("bound to nothing: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
