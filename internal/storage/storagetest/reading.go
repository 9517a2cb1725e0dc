package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/storage"
)

func testRanges(t *testing.T, b storage.Bucket) {
	for _, size := range []int{0, 1000, PartSize + 1000} {
		key := fmt.Sprintf("ranges/%d", size)
		data := content(size)
		create(t, b, key, data)
		n := int64(size)
		for _, offset := range []int64{0, 1, n / 2, n - 1, n, n + 1, n + PartSize} {
			for _, length := range []int64{-1, 0, 1, 7, n / 2, n, n + 1} {
				if offset < 0 {
					continue
				}
				from := min(offset, n)
				to := n
				if length >= 0 {
					to = min(from+length, n)
				}
				if got := read(t, b, key, offset, length); !bytes.Equal(got, data[from:to]) {
					t.Errorf("%d bytes from %d on of %d: got %d bytes, want %d", length, offset, n, len(got), to-from)
				}
			}
		}
	}
	if r, err := b.Open(t.Context(), "ranges/1000", -1, 5); err == nil {
		t.Errorf("Open takes a negative offset (close: %v)", r.Close())
	}
}

func testCancelledRead(t *testing.T, b storage.Bucket) {
	create(t, b, "key", content(3*PartSize))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := b.Open(ctx, "key", 0, -1)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatalf("read: %v", err)
	}
	cancel()
	_, err = io.Copy(io.Discard, r)
	wantIs(t, "reading on after cancel", err, context.Canceled)
}

func testUnusualKeys(t *testing.T, b storage.Bucket) {
	unusual := []string{
		" lead", "#hash", "%2F", "%41", "&and=or?not", "'quote'", "(brackets)[x]{y}", "+plus", ",;:", "...", "..x/.y./z",
		"<xml>&amp;", "=@!$", "\"double\"", "\\back\\slash", "^`|~", "a b  c", "tail ", "x*y",
		"long/" + strings.Repeat("s", storage.MaxSegment),
		strings.Repeat(strings.Repeat("d", 99)+"/", 8) + strings.Repeat("k", 100), // 900 bytes
	}
	for i, key := range unusual {
		create(t, b, key, content(i))
	}
	listed := keys(t, b, "")
	for i, key := range unusual {
		if got := read(t, b, key, 0, -1); !bytes.Equal(got, content(i)) {
			t.Errorf("%q has another object's content", key)
		}
		if !slices.Contains(listed, key) {
			t.Errorf("%q is not listed", key)
		}
	}
	if len(listed) != len(unusual) {
		t.Errorf("%d keys are listed, %d were created", len(listed), len(unusual))
	}
	for _, key := range unusual {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete %q: %v", key, err)
		}
	}
	wantKeys(t, b, "")
}

func testInvalidKeys(t *testing.T, b storage.Bucket) {
	for _, key := range []string{
		"", "/", "/abs", "dir/", "a//b", ".", "..", "../escape", "a/../../b", "a/./b", "a/..", "new\nline", "nul\x00", "tab\t", "\x7f", "é", "\xff",
		storage.TempPrefix + "x", "a/" + storage.TempPrefix + "x/b", strings.Repeat("s", storage.MaxSegment+1),
		strings.Repeat("d/", storage.MaxKey/2) + "k",
	} {
		_, err := b.Create(t.Context(), key, strings.NewReader("x"))
		wantIs(t, fmt.Sprintf("Create %q", key), err, storage.ErrInvalidKey)
		_, err = b.Open(t.Context(), key, 0, -1)
		wantIs(t, fmt.Sprintf("Open %q", key), err, storage.ErrInvalidKey)
		_, err = b.Stat(t.Context(), key)
		wantIs(t, fmt.Sprintf("Stat %q", key), err, storage.ErrInvalidKey)
		wantIs(t, fmt.Sprintf("Delete %q", key), b.Delete(t.Context(), key), storage.ErrInvalidKey)
	}
	for _, prefix := range []string{"/", "../", "a//", "a/../b", "\n/"} {
		for obj, err := range b.List(t.Context(), prefix) {
			wantIs(t, fmt.Sprintf("List %q, which yields %q,", prefix, obj.Key), err, storage.ErrInvalidKey)
		}
	}
	wantKeys(t, b, "")
}

func testList(t *testing.T, b storage.Bucket) {
	// In byte order: '!' < '-' < '.' < '/' < '0'. A file system's own order would put what is in "a" elsewhere.
	// No key is another's parent, which a directory cannot hold.
	ordered := []string{
		"a!", "a-/b", "a-b", "a.b", "a/b", "a/b-", "a/bc", "a/c/d/e", "a0", "ab", "b/A", "b/Z", "b/a", "b/a0", "c",
	}
	for i := range ordered {
		create(t, b, ordered[(i*7)%len(ordered)], []byte("x")) // 7 and 15 share no factor: each once, in no order
	}
	wantKeys(t, b, "", ordered...)
	for _, prefix := range []string{"a", "a/", "a/b", "a/bc", "a/bcd", "a/c", "a/c/", "a/c/d", "a/c/d/e", "a/c/d/e/", "a-", "b/", "b/a", "c", "c/", "d", "d/e/", "B"} {
		var want []string
		for _, key := range ordered {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		wantKeys(t, b, prefix, want...)
	}
}

// pageKeys is a little more than the 1000 keys of an S3 page.
const pageKeys = 1003

func testListPages(t *testing.T, b storage.Bucket) {
	var want []string
	for i := range pageKeys {
		want = append(want, fmt.Sprintf("pages/%04d", i))
	}
	next := make(chan string)
	done := make(chan error)
	const writers = 8
	for range writers {
		go func() {
			var failed error
			for key := range next {
				_, err := b.Create(t.Context(), key, strings.NewReader(key))
				failed = errors.Join(failed, err)
			}
			done <- failed
		}()
	}
	for _, key := range want {
		next <- key
	}
	close(next)
	for range writers {
		if err := <-done; err != nil {
			t.Fatalf("Create: %v", err)
		}
	}
	if diff := cmp.Diff(want, keys(t, b, "pages/")); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

// testListAfter: wherever a listing begins, it has what comes after that and nothing else, be the place a key or not.
func testListAfter(t *testing.T, b storage.Bucket) {
	ordered := []string{"a", "b/1", "b/2-x", "b/2/x", "b/3", "b/30", "c"}
	for _, key := range ordered {
		create(t, b, key, []byte("x"))
	}
	for _, prefix := range []string{"", "b/", "b/2", "d"} {
		for _, after := range []string{"", "0", "a", "b", "b/", "b/2", "b/2-x", "b/2.", "b/2/x", "b/3", "b/9", "c", "d"} {
			var want, got []string
			for _, key := range ordered {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			for o, err := range storage.ListAfter(t.Context(), b, prefix, after) {
				if err != nil {
					t.Fatalf("ListAfter %q, %q: %v", prefix, after, err)
				}
				got = append(got, o.Key)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("ListAfter %q, %q (-want +got):\n%s", prefix, after, diff)
			}
		}
	}
	if _, able := b.(storage.AfterLister); b.Properties().ListsAfter && !able {
		t.Error("it says that a listing can begin anywhere, and has no ListAfter")
	}
}

func testListBreak(t *testing.T, b storage.Bucket) {
	for _, key := range []string{"a/1", "a/2", "b/1", "c"} {
		create(t, b, key, nil)
	}
	for stop := 1; stop <= 4; stop++ {
		seen := 0
		for _, err := range b.List(t.Context(), "") {
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			if seen++; seen == stop {
				break
			}
		}
		if seen != stop {
			t.Errorf("left after %d of %d", seen, stop)
		}
	}
}

func testFetch(t *testing.T, b storage.Bucket) {
	data := content(2*PartSize + 11)
	create(t, b, "fetched", data)
	for _, chunk := range []int64{0, 1 << 20, int64(len(data)), int64(len(data)) + 1} {
		r := storage.Fetch(t.Context(), b, "fetched", int64(len(data)), 3, chunk)
		got, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
			t.Errorf("Fetch in chunks of %d: %d bytes, equal is %v, error %v", chunk, len(got), bytes.Equal(got, data), err)
		}
	}
}
