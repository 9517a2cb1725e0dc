package repo

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/storage/cache"
	"github.com/drd-project/drd/internal/storage/dir"
)

// TestNewestReadAnew: what has rotted under an old date is found at once among what a restore would take now, though the rest of it is
// remembered.
func TestNewestReadAnew(t *testing.T) {
	root, kept := t.TempDir(), t.TempDir()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	by, trust := signer(t)
	r := open(t, b)
	const n = AlwaysRead + 4
	var manifests, records []string
	for i := range int64(n) {
		id := at(time.Duration(i-100_000)*time.Hour, i+1, memberA) // in the past of any clock
		put(t, r, by, sample(id, []byte("payload")), []byte("payload"))
		manifests = append(manifests, r.ManifestKey(id))
		seg := signSegment(t, sampleSegment(50_000+i, 50_000+i, []byte("payload")), by)
		if err := r.PutSegment(t.Context(), seg, source([]byte("payload"))); err != nil {
			t.Fatal(err)
		}
		records = append(records, r.SegmentRecordKey(seg.Segment.Name()))
	}
	look := func() (good []int) {
		c := cache.Open(b, kept)
		r := open(t, c)
		found, err := r.Catalogue(t.Context(), trust)
		if err != nil {
			t.Fatal(err)
		}
		segments, err := r.ListSegments(t.Context(), SegmentQuery{}, trust)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Save(); err != nil {
			t.Fatal(err)
		}
		good = make([]int, 2)
		for _, e := range found.Entries {
			if e.State == StateOK {
				good[0]++
			}
		}
		for _, e := range segments.Entries {
			if e.State == StateOK {
				good[1]++
			}
		}
		return good
	}
	if got := look(); got[0] != n || got[1] != n {
		t.Fatalf("%d at first", got)
	}
	for _, keys := range [][]string{manifests, records} {
		for _, i := range []int{0, n - AlwaysRead, n - 1} {
			rot(t, filepath.Join(root, keys[i]))
		}
	}
	if got := look(); got[0] != n-2 || got[1] != n-2 {
		t.Errorf("%d snapshots and %d segments of %d are well, want %d: the oldest is remembered", got[0], got[1], n, n-2)
	}
}

// rot changes a byte of a file, and neither its size nor its date.
func rot(t *testing.T, name string) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/3] ^= 1
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}
