package seal

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openRing(t *testing.T, dir string) *KeyRing {
	t.Helper()
	ring, err := OpenKeyRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func randomKey() FileKey {
	raw := make([]byte, fileKeySize)
	_, _ = rand.Read(raw) // never fails
	return newFileKey(raw)
}

// logged has a ring with n keys in its logs.
func logged(t *testing.T, n int) (ring *KeyRing, dir string, keys []FileKey) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "keys")
	ring = openRing(t, dir)
	for i := range n {
		keys = append(keys, randomKey())
		if err := ring.Append(fmt.Sprint("segment-", i), keys[i]); err != nil {
			t.Fatal(err)
		}
	}
	return ring, dir, keys
}

func wantKeys(t *testing.T, ring *KeyRing, keys []FileKey, missing ...int) {
	t.Helper()
	gone := make(map[int]bool)
	for _, i := range missing {
		gone[i] = true
	}
	for i, want := range keys {
		if got, ok := ring.Get(fmt.Sprint("segment-", i)); ok == gone[i] || ok && !got.Equal(want) {
			t.Errorf("key %d: found %v", i, ok)
		}
	}
}

// TestLogSurvivesRestart, and another process finds what is appended while it runs.
func TestLogSurvivesRestart(t *testing.T) {
	ring, dir, keys := logged(t, 3)
	again := openRing(t, dir)
	wantKeys(t, again, keys)
	keys = append(keys, randomKey())
	if err := ring.Append("segment-3", keys[3]); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, again, keys)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	content, err := os.ReadFile(filepath.Join(dir, files[0].Name()))
	if err != nil || len(content) != 4*logLine || strings.Contains(string(content), "segment") {
		t.Errorf("%d bytes, %v: %s", len(content), err, content)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		raw := keys[0].reveal()
		if text := fmt.Sprintf(verb, again); strings.Contains(text, fmt.Sprint(raw[:])[1:40]) {
			t.Errorf("%s shows a key", verb)
		}
	}
}

// TestLogForgets removes keys from memory, from the disk, and from what another process knows.
func TestLogForgets(t *testing.T) {
	ring, dir, keys := logged(t, 5)
	other := openRing(t, dir)
	wantKeys(t, other, keys)
	if err := ring.Forget("segment-1", "segment-3", "unknown"); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, ring, keys, 1, 3)
	wantKeys(t, openRing(t, dir), keys, 1, 3)
	keys = append(keys, randomKey())
	if err := ring.Append("segment-5", keys[5]); err != nil {
		t.Fatal(err)
	}
	if _, ok := other.Get("segment-5"); !ok {
		t.Error("what follows the forgotten ones is not found")
	}
	wantKeys(t, other, keys, 1, 3)
}

// TestLogDamage: what is no whole line is no key, and what follows it is found.
func TestLogDamage(t *testing.T) {
	ring, dir, keys := logged(t, 2)
	path := ring.logs.path(1)
	for i, rest := range []string{"abc", strings.Repeat("x", logLine), "\n", strings.Repeat("0", 64) + " short=="} {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(rest); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
		keys = append(keys, randomKey())
		if err := ring.Append(fmt.Sprint("segment-", 2+i), keys[2+i]); err != nil {
			t.Fatal(err)
		}
		wantKeys(t, ring, keys)
		wantKeys(t, openRing(t, dir), keys)
	}
	if err := os.WriteFile(filepath.Join(dir, "9.log"), []byte("of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, openRing(t, dir), keys)
}

// TestLogsAreBounded: the oldest log goes as a whole, everywhere.
func TestLogsAreBounded(t *testing.T) {
	ring, dir, keys := logged(t, 1)
	var lines strings.Builder
	for i := 1; i < logKeys; i++ {
		keys = append(keys, randomKey())
		fmt.Fprintf(&lines, "%064x %s", i, keys[i].logLine([32]byte{})[65:])
	}
	fill := func(number int) {
		t.Helper()
		f, err := os.OpenFile(ring.logs.path(number), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(lines.String()); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	other := openRing(t, dir)
	wantKeys(t, other, keys[:1])
	for i := 1; i <= logFiles; i++ {
		fill(i)
		if err := ring.Append(fmt.Sprint("later-", i), randomKey()); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != logFiles || files[0].Name() != "00000002.log" {
		t.Errorf("%d files from %v, %v", len(files), files[0], err)
	}
	for name, r := range map[string]*KeyRing{"same": ring, "restarted": openRing(t, dir)} {
		if _, ok := r.Get("segment-0"); ok {
			t.Errorf("%s: a key of the oldest log is there", name)
		}
		if _, ok := r.Get("later-1"); !ok {
			t.Errorf("%s: a key of the next log is gone", name)
		}
		if n := len(r.logs.keys); n > logFiles*logKeys {
			t.Errorf("%s: %d keys in memory", name, n)
		}
	}
	if _, ok := other.Get("later-10"); !ok {
		t.Error("another process does not find the newest")
	}
	if _, ok := other.Get("segment-0"); ok {
		t.Error("another process has what was forgotten, though it has looked since")
	}
}

// TestLogLosesItsDirectory: memory still serves, and the caller learns that a restart will not.
func TestLogLosesItsDirectory(t *testing.T) {
	ring, dir, keys := logged(t, 1)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	keys = append(keys, randomKey())
	err := ring.Append("segment-1", keys[1])
	if err == nil || !strings.Contains(err.Error(), "beyond a restart") {
		t.Errorf("error %v", err)
	}
	if got, ok := ring.Get("segment-1"); !ok || !got.Equal(keys[1]) {
		t.Error("the key is not kept in memory")
	}
	if ring.Append("none", FileKey{}) == nil {
		t.Error("kept no key")
	}
}
