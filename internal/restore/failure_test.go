package restore_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
)

// notices collects what a person would have seen.
type notices struct{ texts []string }

func (*notices) Step(string, int64)   {}
func (*notices) Add(int64)            {}
func (n *notices) Notice(text string) { n.texts = append(n.texts, text) }

// damage is one way to spoil the sealed object in a directory target.
var damage = map[string]func(content []byte) []byte{
	"one bit": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	"header":  func(b []byte) []byte { b[3] ^= 1; return b },
	"wrapped key": func(b []byte) []byte { // in the middle of the first recipient's stanza: another key, in good form
		stanza := bytes.Index(b, []byte("\n-> "))
		i := stanza + 1 + bytes.IndexByte(b[stanza+1:], '\n') + 10
		b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
		return b
	},
	"zeroes": func(b []byte) []byte { clear(b[len(b)-100:]); return b },
}

func (t *target) spoil(tb testing.TB, m *repo.Manifest, change func([]byte) []byte) {
	tb.Helper()
	path := t.payloadFile(m)
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, change(content), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// TestDamagedPayload: a damaged object is never restored; the next target is used, and that is said.
func TestDamagedPayload(t *testing.T) {
	c := capture(t, "3.7", "app/")
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			k, first, second := newKeys(t), newTarget(t), newTarget(t)
			m := publish(t, k, c.File, c.Facts, captureTime, nil, first, second)
			first.spoil(t, m, change)
			home := t.TempDir()

			_, err := tryRestore(t, k, restore.Request{Output: filepath.Join(home, "alone")}, nil, first)
			if err == nil || !strings.Contains(err.Error(), "primary") || len(hint.Of(err)) == 0 {
				t.Errorf("from the damaged target alone: %v, hints %q", err, hint.Of(err))
			}
			wantOnly(t, home)

			var seen notices
			result, err := tryRestore(t, k, restore.Request{Output: filepath.Join(home, "f")}, &seen, first, second)
			if err != nil {
				t.Fatal(err)
			}
			if result.Source.Name != "nas" || result.Facts.HashKV != c.LiveHash {
				t.Errorf("restored from %s with hash %d", result.Source.Name, result.Facts.HashKV)
			}
			if len(seen.texts) != 1 || !strings.Contains(seen.texts[0], "going on with nas") || len(result.Notices) != 1 {
				t.Errorf("notices %q, in the result %q", seen.texts, result.Notices)
			}
			wantOnly(t, home, "f")
		})
	}
}

// TestGoneBetween: what disappears or shrinks between plan and run is an error with a hint.
func TestGoneBetween(t *testing.T) {
	c := capture(t, "3.7", "app/")
	for name, change := range map[string]func(path string) error{
		"missing":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 1000) },
	} {
		k, target := newKeys(t), newTarget(t)
		m := publish(t, k, c.File, c.Facts, captureTime, nil, target)
		out := filepath.Join(t.TempDir(), "f")
		plan, err := restore.MakePlan(t.Context(), []restore.Source{target.source("primary")}, k.trust, restore.Request{Output: out}, captureTime)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(target.payloadFile(m)); err != nil {
			t.Fatal(err)
		}
		if _, err := restore.Run(t.Context(), plan, k.identities, inspector(t), nil); err == nil || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v, hints %q", name, err, hint.Of(err))
		}
		wantOnly(t, filepath.Dir(out))
	}
}

// TestWrongIdentity: where the manifest names another recipient, no other target is tried.
func TestWrongIdentity(t *testing.T) {
	c := capture(t, "3.7", "app/")
	k, first, second := newKeys(t), newTarget(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, first, second)
	k.identities = newKeys(t).identities
	home := t.TempDir()
	var seen notices
	_, err := tryRestore(t, k, restore.Request{Output: filepath.Join(home, "f")}, &seen, first, second)
	if !errors.Is(err, seal.ErrNoIdentity) || len(hint.Of(err)) == 0 || len(seen.texts) != 0 {
		t.Errorf("%v, hints %q, notices %q", err, hint.Of(err), seen.texts)
	}
	wantOnly(t, home)
}

// TestManifestLies: a signed manifest that describes another store is a failure that names what was expected and found.
func TestManifestLies(t *testing.T) {
	c := capture(t, "3.7", "app/")
	for want, lie := range map[string]func(*repo.Manifest){
		"keys: expected": func(m *repo.Manifest) { m.Keys-- },
		"hashkv: expected": func(m *repo.Manifest) {
			m.HashKV.Hash ^= 1
		},
		"compact revision: expected": func(m *repo.Manifest) {
			m.CompactRevision--
			m.HashKV.CompactRevision--
		},
		"its trailer says": func(m *repo.Manifest) { m.Plain.SHA256 = strings.Repeat("0", 64) },
		"the manifest says": func(m *repo.Manifest) {
			m.DBSize += 4096
			m.Plain.Size += 4096
		},
		"longer than": func(m *repo.Manifest) {
			m.DBSize -= 4096
			m.Plain.Size -= 4096
		},
	} {
		k, target := newKeys(t), newTarget(t)
		publish(t, k, c.File, c.Facts, captureTime, lie, target)
		home := t.TempDir()
		_, err := tryRestore(t, k, restore.Request{DataDir: filepath.Join(home, "etcd")}, nil, target)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		wantOnly(t, home)
	}
}

// TestUnsignedIsHashed: where nobody trusted vouches for the manifest, the plaintext itself must fit its trailer.
func TestUnsignedIsHashed(t *testing.T) {
	c := capture(t, "3.7", "app/")
	content, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-33] ^= 1 // the last byte of the store: of a free page, which no other check looks at
	file := filepath.Join(t.TempDir(), "changed.db")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	k, target := newKeys(t), newTarget(t)
	trailer := func(m *repo.Manifest) { m.Plain.SHA256 = hex.EncodeToString(content[len(content)-32:]) }
	publish(t, k, file, c.Facts, captureTime, trailer, target)
	home := t.TempDir()
	req := restore.Request{Output: filepath.Join(home, "f"), InsecureSkipSignature: true}
	k.trust = nil
	_, err = tryRestore(t, k, req, nil, target)
	if err == nil || !strings.Contains(err.Error(), "sha-256 of the store") {
		t.Errorf("got %v", err)
	}
	wantOnly(t, home)
}

// TestDamagedStore: a store whose structure is broken behind an intact trailer is found by the inspection.
func TestDamagedStore(t *testing.T) {
	c := capture(t, "3.7", "app/")
	content, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	for i := 2 * 4096; i < len(content)-32; i += 4096 {
		copy(content[i:], strings.Repeat("\xff", 16)) // every page header but those of the meta pages
	}
	path := filepath.Join(t.TempDir(), "broken.db")
	if err := os.WriteFile(path, content[:len(content)-32], 0o600); err != nil {
		t.Fatal(err)
	}
	appendTrailer(t, path)
	k, target := newKeys(t), newTarget(t)
	publish(t, k, path, c.Facts, captureTime, nil, target)
	home := t.TempDir()
	_, err = tryRestore(t, k, restore.Request{DataDir: filepath.Join(home, "etcd")}, nil, target)
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
	wantOnly(t, home)
}

// TestEndedContext: a run that is not to be begins nothing.
func TestEndedContext(t *testing.T) {
	c := capture(t, "3.7", "app/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	home := t.TempDir()
	plan, err := restore.MakePlan(t.Context(), []restore.Source{target.source("primary")}, k.trust, restore.Request{Output: filepath.Join(home, "f")}, captureTime)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := restore.Run(ctx, plan, k.identities, inspector(t), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wantOnly(t, home)
}

// TestNoOverwrite: a file that appears under the final name while the restore runs is not replaced.
func TestNoOverwrite(t *testing.T) {
	c := capture(t, "3.7", "app/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	for name, req := range map[string]restore.Request{
		"file":            {Output: filepath.Join(t.TempDir(), "f")},
		"data dir":        {DataDir: filepath.Join(t.TempDir(), "f")},
		"data dir filled": {DataDir: t.TempDir(), WALDir: t.TempDir()},
	} {
		inTheWay := finalName(req)
		if name == "data dir filled" {
			inTheWay = filepath.Join(req.DataDir, "member")
		}
		_, err := tryRestore(t, k, req, atStep{restore.StepInstall, func() { touch(t, inTheWay) }}, target)
		if !errors.Is(err, os.ErrExist) || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v, hints %q", name, err, hint.Of(err))
		}
		if content, err := os.ReadFile(inTheWay); err != nil || string(content) != "mine" {
			t.Errorf("%s: the other's file holds %q, %v", name, content, err)
		}
		wantOnly(t, filepath.Dir(inTheWay), filepath.Base(inTheWay))
		if req.WALDir != "" {
			wantOnly(t, req.WALDir)
		}
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// atStep does something when a step begins.
type atStep struct {
	name string
	do   func()
}

func (a atStep) Step(name string, _ int64) {
	if name == a.name {
		a.do()
	}
}
func (atStep) Add(int64)     {}
func (atStep) Notice(string) {}

// TestNoInspector: a check that cannot be made is a failure.
func TestNoInspector(t *testing.T) {
	c := capture(t, "3.7", "app/")
	k, target := newKeys(t), newTarget(t)
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	home := t.TempDir()
	plan, err := restore.MakePlan(t.Context(), []restore.Source{target.source("primary")}, k.trust, restore.Request{Output: filepath.Join(home, "f")}, captureTime)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Run(t.Context(), plan, k.identities, snapshot.Inspector{Command: []string{"/bin/false"}}, nil); err == nil {
		t.Error("restored without a check")
	}
	wantOnly(t, home)
}
