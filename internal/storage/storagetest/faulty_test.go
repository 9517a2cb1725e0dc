package storagetest_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

func open(t *testing.T) storage.Bucket {
	t.Helper()
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFaultyWithoutFaults(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) storage.Bucket { return storagetest.NewFaulty(open(t)) })
}

func TestFaultyCalls(t *testing.T) {
	f := storagetest.NewFaulty(open(t))
	put := func(key string) error {
		_, err := f.Create(t.Context(), key, strings.NewReader("abc"))
		return err
	}
	stat := func(key string) error {
		_, err := f.Stat(t.Context(), key)
		return err
	}
	f.FailCall(storagetest.OpCreate, 2, nil)
	f.LoseResponse(3)
	for i, want := range []error{nil, storagetest.ErrInjected, storagetest.ErrInjected, nil} {
		if err := put(string(rune('a' + i))); !errors.Is(err, want) {
			t.Errorf("Create %d: %v, want %v", i+1, err, want)
		}
	}
	for key, want := range map[string]error{"a": nil, "b": storage.ErrNotExist, "c": nil, "d": nil} {
		if err := stat(key); !errors.Is(err, want) {
			t.Errorf("Stat %s: %v, want %v", key, err, want)
		}
	}
	own := errors.New("own error")
	f.SetDown(own)
	_, openErr := f.Open(t.Context(), "a", 0, -1)
	var listErr error
	for _, listErr = range f.List(t.Context(), "") {
	}
	for name, err := range map[string]error{"create": put("e"), "stat": stat("a"), "open": openErr, "list": listErr, "delete": f.Delete(t.Context(), "a")} {
		if !errors.Is(err, own) {
			t.Errorf("%s while down: %v", name, err)
		}
	}
	f.SetDown(nil)
	if err := stat("a"); err != nil {
		t.Errorf("Stat after being down: %v", err)
	}
	if n := f.Calls(storagetest.OpCreate); n != 5 {
		t.Errorf("%d Create calls are counted, want 5", n)
	}
}

func TestFaultyReads(t *testing.T) {
	f := storagetest.NewFaulty(open(t))
	data := bytes.Repeat([]byte{0x10}, 100)
	if _, err := f.Create(t.Context(), "dir/object", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	read := func(offset int64) ([]byte, error) {
		r, err := f.Open(t.Context(), "dir/object", offset, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	f.CutReads("dir/", 60, true)
	f.FlipBit("object", 70, false)
	f.CutReads("other", 0, false)

	if got, err := read(50); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 10 {
		t.Errorf("cut read: %d bytes, %v", len(got), err)
	}
	for range 2 {
		if got, err := read(50); err != nil || len(got) != 50 || got[19] != 0x10 || got[20] != 0x11 || got[21] != 0x10 {
			t.Errorf("flipped read: % x, %v", got, err)
		}
	}
	if got, err := read(71); err != nil || !bytes.Equal(got, data[71:]) {
		t.Errorf("a read behind the flipped bit is changed: % x, %v", got, err)
	}
}
