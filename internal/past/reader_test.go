package past_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/past"
)

// put is the entry of a put.
func put(main int64, key, value string) (mvcc.Position, []byte) {
	v := []byte{0x0a, byte(len(key))}
	v = append(append(v, key...), 0x10, 2, 0x18, 2, 0x20, 1, 0x2a, byte(len(value)))
	return mvcc.Position{Main: main}, append(v, value...)
}

// storeFile is a store with n puts, from revision 2 on, of one key.
func storeFile(t testing.TB, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(mvcc.Bucket)
		if err != nil {
			return err
		}
		b.FillPercent = 1
		for i := range n {
			p, v := put(int64(i+2), "key", "value")
			if err := b.Put(p.AppendKey(nil), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLongLog: of a key with a million changes none is kept: they stream.
func TestLongLog(t *testing.T) {
	path := storeFile(t, 1_000_000)
	n := int64(0)
	facts, err := reader(t, "read").Log(t.Context(), path, past.Selection{Key: []byte("key")}, 0, 1_000_001, false, func(c *past.Change) error {
		if n++; c.Revision != n+1 {
			return errors.New("out of order")
		}
		return nil
	})
	if err != nil || n != 1_000_000 || facts.Found != n || facts.Revision != 1_000_001 || facts.CompactRevision != -1 {
		t.Errorf("%d changes, %+v, %v", n, facts, err)
	}
}

// TestEnough: who has heard enough ends the reading at once, and gets the own error back.
func TestEnough(t *testing.T) {
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := reader(t, "endless").Log(ctx, os.Args[0], past.Selection{}, 0, 1, false, func(*past.Change) error { return enough })
	if err != enough { //nolint:errorlint // it is that very error
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	_, err = reader(t, "endless").Log(ctx, os.Args[0], past.Selection{}, 0, 1, false, func(*past.Change) error { stop(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestDamaged: whatever is done to a file, the answer is an error, and never names a value.
func TestDamaged(t *testing.T) {
	whole := storeFile(t, 3000)
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"no store": func([]byte) []byte { return []byte(strings.Repeat("value", 10_000)) },
		"cut":      func(b []byte) []byte { return b[:len(b)/2] },
		"zeros": func(b []byte) []byte {
			clear(b[3*4096:])
			return b
		},
		"noise": func(b []byte) []byte {
			for i := 2 * 4096; i < len(b); i += 61 {
				b[i] ^= 0xa5
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			if err := os.WriteFile(path, damage(append([]byte{}, content...)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := reader(t, "read").Extract(t.Context(), path, past.Selection{}, 100, func(*past.Change) error { return nil })
			if err == nil || strings.Contains(err.Error(), "value") {
				t.Error(err)
			}
		})
	}
	if _, err := reader(t, "panic").Extract(t.Context(), whole, past.Selection{}, 100, nil); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
	if _, err := reader(t, "silent").Extract(t.Context(), whole, past.Selection{}, 100, nil); err == nil || strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
	if _, err := reader(t, "read").Extract(t.Context(), whole, past.Selection{}, 5000, nil); err == nil || !strings.Contains(err.Error(), "ends at revision 3001") {
		t.Error(err)
	}
	if _, err := reader(t, "read").Extract(t.Context(), filepath.Join(t.TempDir(), "none"), past.Selection{}, 1, nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestSelection(t *testing.T) {
	for key, want := range map[string]string{
		"plain":                  "plain",
		"/registry/größe/x y":    "/registry/größe/x y",
		"\x00\xff":               `"\x00\xff"`,
		"a\xff":                  `"a\xff"`,
		`with "quotes"`:          `"with \"quotes\""`,
		`"quoted"`:               `"\"quoted\""`,
		`back\slash`:             `"back\\slash"`,
		"\x1b[2Jclear":           `"\x1b[2Jclear"`,
		"right\u202eleft":        `"right\u202eleft"`,
		"":                       `""`,
		"line\nbreak":            `"line\nbreak"`,
		"/registry/pods/s/p\xff": `"/registry/pods/s/p\xff"`,
	} {
		if got := past.KeyText([]byte(key)); got != want {
			t.Errorf("KeyText(%q) = %s, want %s", key, got, want)
		}
		if got := past.ParseKeyText(past.KeyText([]byte(key))); string(got) != key {
			t.Errorf("%q comes back as %q", key, got)
		}
	}
	if got := past.ParseKeyText(`"half`); string(got) != `"half` {
		t.Errorf("%q", got)
	}
	if (past.Selection{Key: []byte("a"), Namespace: "b"}).Validate() == nil {
		t.Error("a key and a namespace are both taken")
	}
	if (past.Selection{}).Has(nil) {
		t.Error("the empty key is selected")
	}
}
