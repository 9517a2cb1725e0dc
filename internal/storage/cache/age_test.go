package cache

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

type counted struct {
	storage.Bucket
	read int
}

func (c *counted) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	c.read++
	return c.Bucket.Open(ctx, key, offset, length)
}

// TestReadAgain: within a day everything is read from the store again, and not all of it at once.
func TestReadAgain(t *testing.T) {
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const objects = 64
	for i := range objects {
		if _, err := b.Create(t.Context(), fmt.Sprintf("c/drills/%d.json", i), strings.NewReader("{}")); err != nil {
			t.Fatal(err)
		}
	}
	files, begin := t.TempDir(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	look := func(after time.Duration) int {
		store := &counted{Bucket: b}
		c := open(store, files, func() time.Time { return begin.Add(after) })
		for o, err := range c.List(t.Context(), "c/") {
			if err != nil {
				t.Fatal(err)
			}
			src, err := c.Open(t.Context(), o.Key, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(src); err != nil || src.Close() != nil {
				t.Fatal(err)
			}
		}
		if err := c.Save(); err != nil {
			t.Fatal(err)
		}
		return store.read
	}
	if first, soon := look(0), look(11*time.Hour); first != objects || soon != 0 {
		t.Errorf("%d reads at first, %d after 11 hours", first, soon)
	}
	some := look(18 * time.Hour)
	rest := look(25 * time.Hour)
	if some < objects/8 || rest < objects/8 || some+rest != objects {
		t.Errorf("%d reads after 18 hours, %d after 25", some, rest)
	}
	if back := look(-time.Hour); back != objects {
		t.Errorf("%d reads with a clock that was set back", back)
	}
}
