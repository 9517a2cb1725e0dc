// Package storagetest holds what tests of and over buckets share: the suite that every backend passes, and a
// decorator that injects faults which real stores do not produce on demand.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/storage"
)

// PartSize is the size around which the suite chooses its objects. A backend that stores large objects in parts must be
// opened with parts of this size, which is the smallest that S3 allows.
const PartSize = 5 << 20

// Conformance checks that the buckets open returns keep the contract of storage.Bucket. open is
// called for each test and returns an empty bucket each time; its cleanup belongs to t.
func Conformance(t *testing.T, open func(t *testing.T) storage.Bucket) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, b storage.Bucket)
	}{
		{"life of an object", testLife},
		{"sizes around parts", testSizes},
		{"ranges", testRanges},
		{"written once", testWriteOnce},
		{"written once by racing writers", testRace},
		{"a failing reader leaves nothing", testFailingReader},
		{"a cancelled write leaves nothing", testCancelledWrite},
		{"an ended context changes nothing", testEndedContext},
		{"a cancelled read is an error", testCancelledRead},
		{"what does not exist", testNotExist},
		{"unusual keys", testUnusualKeys},
		{"invalid keys", testInvalidKeys},
		{"list order and prefixes", testList},
		{"list beyond a page", testListPages},
		{"list can begin anywhere", testListAfter},
		{"list can be left", testListBreak},
		{"large object in bounded memory", testLarge},
		{"fetch", testFetch},
		{"properties", testProperties},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// content returns n bytes that look random and are the same for the same n.
func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}).Read(b) // never fails
	return b
}

func create(t *testing.T, b storage.Bucket, key string, data []byte) storage.Object {
	t.Helper()
	obj, err := b.Create(t.Context(), key, onlyReader{bytes.NewReader(data)})
	if err != nil {
		t.Fatalf("Create %s: %v", key, err)
	}
	if obj.Key != key || obj.Size != int64(len(data)) {
		t.Errorf("Create %s with %d bytes returns key %s and size %d", key, len(data), obj.Key, obj.Size)
	}
	return obj
}

// onlyReader hides that a reader can do more, as a pipeline does.
type onlyReader struct{ io.Reader }

func read(t *testing.T, b storage.Bucket, key string, offset, length int64) []byte {
	t.Helper()
	r, err := b.Open(t.Context(), key, offset, length)
	if err != nil {
		t.Fatalf("Open %s from %d, %d bytes: %v", key, offset, length, err)
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read %s from %d, %d bytes: %v", key, offset, length, err)
	}
	return data
}

func keys(t *testing.T, b storage.Bucket, prefix string) []string {
	t.Helper()
	var all []string
	for obj, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List %q: %v", prefix, err)
		}
		all = append(all, obj.Key)
	}
	return all
}

func wantKeys(t *testing.T, b storage.Bucket, prefix string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, keys(t, b, prefix)); diff != "" {
		t.Errorf("List %q (-want +got):\n%s", prefix, diff)
	}
}

func wantIs(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s returns %v, want %v", what, err, want)
	}
}

func testLife(t *testing.T, b storage.Bucket) {
	wantKeys(t, b, "")
	data := content(1000)
	create(t, b, "cluster/snapshots/one", data)
	if got := read(t, b, "cluster/snapshots/one", 0, -1); !bytes.Equal(got, data) {
		t.Error("the content read differs from the one written")
	}
	obj, err := b.Stat(t.Context(), "cluster/snapshots/one")
	if err != nil {
		t.Fatalf("Stat: %v", err)
	}
	if age := time.Since(obj.Modified); obj.Key != "cluster/snapshots/one" || obj.Size != 1000 || age < -time.Minute || age > time.Hour || obj.Modified.Location() != time.UTC {
		t.Errorf("Stat returns %+v", obj)
	}
	for listed, err := range b.List(t.Context(), "") {
		if err != nil || listed.Size != 1000 || listed.Modified.Sub(obj.Modified).Abs() > time.Second {
			t.Errorf("List yields %+v, %v", listed, err)
		}
	}
	wantKeys(t, b, "", "cluster/snapshots/one")

	if err := b.Delete(t.Context(), "cluster/snapshots/one"); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	_, err = b.Stat(t.Context(), "cluster/snapshots/one")
	wantIs(t, "Stat after Delete", err, storage.ErrNotExist)
	wantKeys(t, b, "")
	create(t, b, "cluster/snapshots/one", content(5)) // the key is free again
}

func testNotExist(t *testing.T, b storage.Bucket) {
	create(t, b, "file", []byte("x"))
	for _, key := range []string{"missing", "missing/too", "file/below", "fil"} {
		_, err := b.Stat(t.Context(), key)
		wantIs(t, "Stat "+key, err, storage.ErrNotExist)
		for _, length := range []int64{-1, 0, 1} {
			_, err = b.Open(t.Context(), key, 0, length)
			wantIs(t, "Open "+key, err, storage.ErrNotExist)
		}
		if err := b.Delete(t.Context(), key); err != nil { // a store may not be able to tell
			wantIs(t, "Delete "+key, err, storage.ErrNotExist)
		}
	}
	wantKeys(t, b, "", "file")
}

func testProperties(t *testing.T, b storage.Bucket) {
	if b.Location() == "" {
		t.Error("Location is empty")
	}
	p := b.Properties()
	if p.Parallel < 1 {
		t.Errorf("Properties: %d parallel requests", p.Parallel)
	}
	obj := create(t, b, "a", content(100))
	if p.VerifiesContent && obj.SHA256 == "" {
		t.Error("the backend says it verifies content, and Create returns no SHA-256 of a small object")
	}
	if p != b.Properties() {
		t.Error("Properties changed")
	}
}

func testEndedContext(t *testing.T, b storage.Bucket) {
	create(t, b, "there", content(10))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Create(ctx, "new", bytes.NewReader(content(10)))
	wantIs(t, "Create", err, context.Canceled)
	_, err = b.Open(ctx, "there", 0, -1)
	wantIs(t, "Open", err, context.Canceled)
	_, err = b.Stat(ctx, "there")
	wantIs(t, "Stat", err, context.Canceled)
	wantIs(t, "Delete", b.Delete(ctx, "there"), context.Canceled)
	yields := 0
	for _, err := range b.List(ctx, "") {
		wantIs(t, "List", err, context.Canceled)
		yields++
	}
	if yields != 1 {
		t.Errorf("List with an ended context yields %d times", yields)
	}
	wantKeys(t, b, "", "there")
}
