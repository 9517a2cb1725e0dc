package storage_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/storage"
)

func TestCheckKey(t *testing.T) {
	long := strings.Repeat("s", storage.MaxSegment)
	for key, good := range map[string]bool{
		"a": true, "a/b/c.json": true, "...": true, "a b": true, "~": true, ".hidden/.x": true, long + "/" + long: true,
		strings.Repeat("d/", storage.MaxKey/2-1) + "kk":  true,
		strings.Repeat("d/", storage.MaxKey/2-1) + "kkk": false,
		long + "s": false, "": false, "/": false, "/a": false, "a/": false, "a//b": false, ".": false, "..": false, "a/../b": false,
		"a/.": false, "a\x00": false, "a\n": false, "\x7f": false, "ü": false, "a/.drd-tmp-b": false, ".drd-tmp-": false, ".drd-tmp": true,
	} {
		err := storage.CheckKey(key)
		if good && err != nil {
			t.Errorf("%q is refused: %v", key, err)
		}
		if !good && !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("%q: %v, want %v", key, err, storage.ErrInvalidKey)
		}
	}
}

// FuzzCheckKey: a good key is a path that stays below any root, and each of its prefixes can be listed.
func FuzzCheckKey(f *testing.F) {
	for _, seed := range []string{"a/b", "../x", "a//b", "a/./b", "é", "", "/", "a/.drd-tmp-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if err := storage.CheckKey(key); err != nil {
			if !errors.Is(err, storage.ErrInvalidKey) || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("%q: error %q", key, err)
			}
			return
		}
		if path.Clean("/root/"+key) != "/root/"+key {
			t.Errorf("%q is accepted and is no clean path", key)
		}
		for i := range len(key) + 1 {
			if err := storage.CheckPrefix(key[:i]); err != nil {
				t.Errorf("prefix %q of %q is refused: %v", key[:i], key, err)
			}
		}
	})
}
