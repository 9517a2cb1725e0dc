package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

func digest(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, i)) }

func emptyStore(t *testing.T) storage.Bucket {
	t.Helper()
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGood: digests are remembered for less than a day, and not all of them are forgotten at once.
func TestGood(t *testing.T) {
	const digests = 64
	b, files, begin := emptyStore(t), t.TempDir(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	known := func(after time.Duration) (n int) {
		c := open(b, files, func() time.Time { return begin.Add(after) })
		for i := range digests {
			if c.Good(digest(i)) {
				n++
			}
		}
		return n
	}
	c := open(b, files, func() time.Time { return begin })
	for i := range digests {
		if c.Good(digest(i)) {
			t.Fatal("known from nowhere")
		}
		c.Learn(digest(i))
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	some := known(18 * time.Hour)
	if now, soon, day, back := known(0), known(12*time.Hour), known(24*time.Hour+1), known(-time.Second); now != digests || soon != digests || some < digests/8 || some > digests*7/8 || day != 0 || back != 0 {
		t.Errorf("of %d are known %d, after 12 hours %d, after 18 %d, after a day %d, with a clock that was set back %d", digests, now, soon, some, day, back)
	}
	later := open(b, files, func() time.Time { return begin.Add(25 * time.Hour) })
	if err := later.Save(); err != nil {
		t.Fatal(err)
	}
	if n := known(0); n != 0 {
		t.Errorf("%d are still in the file", n)
	}
}

// TestGoodIsBounded: no bucket, whatever is in it, makes the file grow without end.
func TestGoodIsBounded(t *testing.T) {
	c := open(emptyStore(t), t.TempDir(), time.Now)
	for i := range mostGood + 10 {
		c.Learn(digest(i))
	}
	if len(c.good) != mostGood {
		t.Errorf("%d are remembered", len(c.good))
	}
}

// TestOwnFile: what somebody else may have written is not believed, and never waited for.
func TestOwnFile(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"":                     func(string) error { return nil },
		"others may write it":  func(file string) error { return os.Chmod(file, 0o602) },
		"a group may write it": func(file string) error { return os.Chmod(file, 0o620) },
		"others may read it":   func(file string) error { return os.Chmod(file, 0o604) },
		"of another bucket": func(file string) error {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			plain, err := unpack(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				return err
			}
			known, good, err := decode(plain, "here")
			if err != nil {
				return err
			}
			return save(file, "elsewhere", known, good)
		},
		"a symbolic link": func(file string) error {
			if err := os.Rename(file, file+".moved"); err != nil {
				return err
			}
			return os.Symlink(file+".moved", file)
		},
		"a pipe that nobody writes to": func(file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return syscall.Mkfifo(file, 0o600)
		},
		"a directory": func(file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Mkdir(file, 0o700)
		},
	} {
		file := filepath.Join(t.TempDir(), "records")
		now := time.Now().UTC().Truncate(0)
		known := map[string]record{"a/b.json": {Read: now, Modified: now.Add(-time.Hour), SHA256: "x", Content: []byte("content")}, "c.json": {Modified: time.Time{}}}
		good := map[[sha256.Size]byte]time.Time{digest(1): now}
		if err := save(file, "here", known, good); err != nil {
			t.Fatal(err)
		}
		if err := change(file); err != nil {
			t.Fatal(err)
		}
		gotKnown, gotGood := load(file, "here")
		if name != "" {
			known, good = map[string]record{}, map[[sha256.Size]byte]time.Time{}
		}
		same := cmp.Comparer(func(a, b record) bool {
			return a.Read.Equal(b.Read) && a.Modified.Equal(b.Modified) && a.SHA256 == b.SHA256 && bytes.Equal(a.Content, b.Content)
		})
		if diff := cmp.Diff(known, gotKnown, same) + cmp.Diff(good, gotGood); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
}

// TestOtherUser: a file of another user is not believed, by root neither, and not replaced. Only root can make one.
func TestOtherUser(t *testing.T) {
	if c, end := open(emptyStore(t), t.TempDir(), time.Now), fmt.Sprintf("-%d.records", os.Geteuid()); !strings.HasSuffix(c.file, end) {
		t.Errorf("%s does not end with %s", c.file, end)
	}
	info := func(uid uint32, mode os.FileMode) os.FileInfo {
		return fileInfo{mode: mode, sys: &syscall.Stat_t{Uid: uid}}
	}
	me := uint32(os.Geteuid())
	for name, c := range map[string]struct {
		info os.FileInfo
		want bool
	}{
		"mine":            {info(me, 0o600), true},
		"of another user": {info(me+1, 0o600), false},
		"no regular file": {info(me, 0o600|os.ModeNamedPipe), false},
		"for the group":   {info(me, 0o660), false},
	} {
		if got := own(c.info); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

type fileInfo struct {
	os.FileInfo
	mode os.FileMode
	sys  any
}

func (f fileInfo) Mode() os.FileMode { return f.mode }
func (f fileInfo) Sys() any          { return f.sys }

// TestPartsOfAListing: of what was listed in parts is forgotten what lies in one of them and is gone, and nothing between them.
func TestPartsOfAListing(t *testing.T) {
	b, files := emptyStore(t), t.TempDir()
	keys := []string{"c/1.json", "c/2.json", "c/3.json", "c/4.json", "c/5.json", "d/1.json"}
	for _, key := range keys {
		if _, err := b.Create(t.Context(), key, strings.NewReader("{}")); err != nil {
			t.Fatal(err)
		}
	}
	c := open(b, files, time.Now)
	for o, err := range c.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		src, err := c.Open(t.Context(), o.Key, 0, -1)
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
	for _, key := range keys {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"c/20.json", "c/35.json", "c/45.json"} {
		if _, err := b.Create(t.Context(), key, strings.NewReader("{}")); err != nil {
			t.Fatal(err)
		}
	}
	c = open(b, files, time.Now)
	for o, err := range c.ListAfter(t.Context(), "c/", "c/2.json") {
		if err != nil {
			t.Fatal(err)
		}
		if o.Key == "c/35.json" {
			break // 3 is gone; nobody knows of 4
		}
	}
	for _, err := range c.ListAfter(t.Context(), "c/", "c/5") {
		if err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.List(ended, "d/") {
		if err == nil {
			t.Error("it is listed")
		}
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, key := range keys {
		if _, known := open(b, files, time.Now).known[key]; known {
			left = append(left, key)
		}
	}
	if diff := cmp.Diff([]string{"c/1.json", "c/2.json", "c/4.json", "d/1.json"}, left); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
}

// FuzzDecode: what is decoded is what was encoded, and anything else is an error.
func FuzzDecode(f *testing.F) {
	var whole bytes.Buffer
	now := time.Now()
	err := encode(&whole, "here", map[string]record{"k": {Read: now, Modified: now, SHA256: "s", Content: []byte("c")}}, map[[sha256.Size]byte]time.Time{digest(1): now})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		known, good, err := decode(b, "here")
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := encode(&again, "here", known, good); err != nil {
			t.Fatal(err)
		}
		known2, good2, err := decode(again.Bytes(), "here")
		if err != nil || len(known2) != len(known) || len(good2) != len(good) {
			t.Errorf("%d and %d, then %d and %d, %v", len(known), len(good), len(known2), len(good2), err)
		}
	})
}
