package proof

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

func newPending(t *testing.T) (*Pending, string) {
	t.Helper()
	state := t.TempDir()
	p, err := OpenPending(state)
	if err != nil {
		t.Fatal(err)
	}
	return p, filepath.Join(state, "drills")
}

func (p *Pending) has(t *testing.T, want int) {
	t.Helper()
	if keys, err := p.keys(t.Context()); err != nil || len(keys) != want {
		t.Errorf("%d records wait, want %d: %v", len(keys), want, err)
	}
}

func TestPending(t *testing.T) {
	to, nas := newTarget(t), newTarget(t)
	p, root := newPending(t)
	for i := range 3 {
		if dropped, err := p.Add(mustSign(to, to.record(time.Duration(i)*time.Hour, drilled(-time.Hour, LevelDrill, Passed)))); dropped != 0 || err != nil {
			t.Fatal(dropped, err)
		}
	}
	other := nas.record(0, drilled(-time.Hour, LevelDrill, Passed)) // the same ID
	other.Target.Name = "nas"
	for range 2 { // twice is once
		if _, err := p.Add(mustSign(nas, other)); err != nil {
			t.Fatal(err)
		}
	}
	p.has(t, 4)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		info, statErr := os.Stat(path)
		if err = errors.Join(err, statErr); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	to.faulty.SetDown(storage.ErrDenied)
	if n, refused, err := p.Flush(t.Context(), "primary", to.repo, to.signer); n != 0 || refused != 3 || !errors.Is(err, storage.ErrDenied) {
		t.Errorf("a target that is down took %d and refused %d: %v", n, refused, err)
	}
	p.has(t, 4)
	to.faulty.SetDown(nil)

	// Another process opens the same directory, after this one was killed.
	p, err = OpenPending(filepath.Dir(root))
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := p.Flush(t.Context(), "primary", to.repo, to.signer); n != 3 || err != nil {
		t.Errorf("%d written: %v", n, err)
	}
	p.has(t, 1)
	if h := to.read(ReadOptions{}); len(h.Records()) != 3 || h.Of(snapshotID(-time.Hour).String(), digestA).State != StateProved {
		t.Errorf("%+v", h.Records())
	}
	if n, _, err := p.Flush(t.Context(), "nas", nas.repo, nas.signer); n != 1 || err != nil {
		t.Errorf("%d written: %v", n, err)
	}
	p.has(t, 0)
}

// TestPendingTaken: what waited gets another ID when its own is taken meanwhile.
func TestPendingTaken(t *testing.T) {
	to := newTarget(t)
	p, _ := newPending(t)
	if _, err := p.Add(mustSign(to, to.record(0, drilled(-time.Hour, LevelDrill, Failed)))); err != nil {
		t.Fatal(err)
	}
	to.put(0, drilled(-time.Hour, LevelDrill, Passed))
	if n, _, err := p.Flush(t.Context(), "primary", to.repo, to.signer); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	p.has(t, 0)
	h := to.read(ReadOptions{})
	if len(h.Records()) != 2 || h.Of(snapshotID(-time.Hour).String(), digestA).State != StateFailed {
		t.Errorf("%+v", h.Records())
	}
}

// TestPendingRefused: one that the target will never take keeps no other from getting there, and waits.
func TestPendingRefused(t *testing.T) {
	to := newTarget(t)
	p, _ := newPending(t)
	for i := range 3 {
		if _, err := p.Add(mustSign(to, to.record(time.Duration(i)*time.Hour, drilled(-time.Hour, LevelDrill, Passed)))); err != nil {
			t.Fatal(err)
		}
	}
	to.faulty.FailCall(storagetest.OpCreate, 1, storage.ErrDenied)
	if n, refused, err := p.Flush(t.Context(), "primary", to.repo, to.signer); n != 2 || refused != 1 || !errors.Is(err, storage.ErrDenied) {
		t.Errorf("%d written, %d refused: %v", n, refused, err)
	}
	p.has(t, 1)
	if n, refused, err := p.Flush(t.Context(), "primary", to.repo, to.signer); n != 1 || refused != 0 || err != nil {
		t.Errorf("%d written, %d refused: %v", n, refused, err)
	}
}

// TestPendingDamaged: a file that a broken disk changed is dropped, and the others are not.
func TestPendingDamaged(t *testing.T) {
	to := newTarget(t)
	p, root := newPending(t)
	signed := mustSign(to, to.record(0, drilled(-time.Hour, LevelDrill, Passed)))
	if _, err := p.Add(signed); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"20261121T033000Z-node1-0000000000000000": "{", "20261121T033001Z-node1-0000000000000000": `{"target":"primary","record":"e30="}`, "notes.txt": "mine"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n, _, err := p.Flush(t.Context(), "primary", to.repo, to.signer)
	if n != 1 || !errors.Is(err, repo.ErrDamaged) {
		t.Errorf("%d written: %v", n, err)
	}
	p.has(t, 0)
	if _, err := os.Stat(filepath.Join(root, "notes.txt")); err != nil {
		t.Error(err)
	}
	if n, _, err := p.Flush(t.Context(), "primary", to.repo, to.signer); n != 0 || err != nil {
		t.Errorf("%d written: %v", n, err)
	}
}

func TestPendingBound(t *testing.T) {
	to := newTarget(t)
	p, root := newPending(t)
	for i := range maxPending + 1 {
		name := fmt.Sprintf("%s-%016d", NewID(testTime.Add(time.Duration(i)*time.Second), "node1"), i)
		if err := os.WriteFile(filepath.Join(root, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dropped, err := p.Add(mustSign(to, to.record(10000*time.Hour, drilled(-time.Hour, LevelDrill, Passed))))
	if dropped != 2 || err != nil {
		t.Errorf("%d dropped: %v", dropped, err)
	}
	p.has(t, maxPending)
	if _, err := os.Stat(filepath.Join(root, fmt.Sprintf("%s-%016d", NewID(testTime.Add(time.Second), "node1"), 1))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest are not the ones that went: %v", err)
	}
}
