package restore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
)

func planFor(t *testing.T, k *keys, req restore.Request, targets ...*target) *restore.Plan {
	t.Helper()
	var from []restore.Source
	for i, target := range targets {
		from = append(from, target.source([]string{"primary", "nas"}[i]))
	}
	plan, err := restore.MakePlan(t.Context(), from, k.trust, req, captureTime.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestCanOpen: a wrong identity is found by the object's header alone, and the header leads to the object's key elsewhere.
func TestCanOpen(t *testing.T) {
	c := capture(t, "3.7", "app/")
	k, first, second := newKeys(t), newTarget(t), newTarget(t)
	m := publish(t, k, c.File, c.Facts, captureTime, nil, first, second)
	plan := planFor(t, k, restore.Request{Output: filepath.Join(t.TempDir(), "f")}, first, second)
	if err := restore.CanOpen(t.Context(), plan, k.identities); err != nil {
		t.Error(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	err = restore.CanOpen(t.Context(), plan, []age.Identity{other})
	if !errors.Is(err, seal.ErrNoIdentity) || len(hint.Of(err)) == 0 {
		t.Errorf("with another identity: %v, hints %q", err, hint.Of(err))
	}
	if err := os.Remove(first.payloadFile(m)); err != nil {
		t.Fatal(err)
	}
	header, err := restore.Header(t.Context(), plan) // from the second target
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.Unlock(header, k.identities)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Run(t.Context(), plan, []age.Identity{key.Identity()}, inspector(t), nil); err != nil {
		t.Errorf("with the key of the object: %v", err)
	}
	if err := os.Remove(second.payloadFile(m)); err != nil {
		t.Fatal(err)
	}
	if err := restore.CanOpen(t.Context(), plan, k.identities); err == nil || !strings.Contains(err.Error(), "primary") || !strings.Contains(err.Error(), "nas") {
		t.Errorf("without any object: %v", err)
	}
}

// TestCheckOnly: the store is fetched, looked at and compared, and nothing is made.
func TestCheckOnly(t *testing.T) {
	c := capture(t, "3.7", "app/")
	k, target := newKeys(t), newTarget(t)
	m := publish(t, k, c.File, c.Facts, captureTime, nil, target)
	id, err := repo.ParseID(m.ID)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := target.repo.Look(t.Context(), id, k.trust)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	plan, err := restore.PlanEntry(target.source("primary"), entry, restore.Request{Output: filepath.Join(home, "f")}, captureTime)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	look := func(_ context.Context, path string, facts snapshot.Facts) error {
		if st, err := os.Stat(path); err != nil || st.Size() != c.Facts.DBSize || facts.HashKV != c.LiveHash {
			t.Errorf("store %v, %v; facts %+v", st, err, facts)
		}
		seen++
		return nil
	}
	opt := restore.Options{Thorough: true, CheckOnly: true, Store: look}
	if _, err := restore.RunWith(t.Context(), plan, k.identities, inspector(t), nil, opt); err != nil || seen != 1 {
		t.Errorf("%v, seen %d times", err, seen)
	}
	wantOnly(t, home)

	refusal := errors.New("not this one")
	opt.CheckOnly, opt.Store = false, func(context.Context, string, snapshot.Facts) error { return refusal }
	_, err = restore.RunWith(t.Context(), plan, k.identities, inspector(t), nil, opt)
	var step *restore.StepError
	if !errors.Is(err, refusal) || !errors.As(err, &step) || step.Step != restore.StepCheck {
		t.Errorf("refused: %v, step %+v", err, step)
	}
	wantOnly(t, home)

	entry.State = repo.StateUnknownSigner
	if _, err := restore.PlanEntry(target.source("primary"), entry, restore.Request{Output: filepath.Join(home, "f")}, captureTime); err == nil {
		t.Error("a snapshot that nobody vouches for was planned")
	}
}

// TestThorough: a damaged object is told from an envelope that was broken before the object was hashed, and from a
// plaintext that was, whatever is met first.
func TestThorough(t *testing.T) {
	c := capture(t, "3.7", "app/")
	for name, tc := range map[string]struct {
		spoil func(object []byte)
		lie   func(m *repo.Manifest)
		want  error
	}{
		"object":    {func(b []byte) { b[len(b)/2] ^= 1 }, nil, repo.ErrDamaged},
		"header":    {func(b []byte) { b[60] ^= 1 }, nil, repo.ErrDamaged},
		"plaintext": {nil, func(m *repo.Manifest) { m.Plain.SHA256 = strings.Repeat("0", 64) }, restore.ErrPlaintext},
		"both": {func(b []byte) { b[len(b)-1] ^= 1 }, func(m *repo.Manifest) {
			m.DBSize, m.Plain.Size = m.DBSize-4096, m.Plain.Size-4096
		}, repo.ErrDamaged},
	} {
		k, target := newKeys(t), newTarget(t)
		m := publish(t, k, c.File, c.Facts, captureTime, tc.lie, target)
		if tc.spoil != nil {
			target.spoil(t, m, func(b []byte) []byte { tc.spoil(b); return b })
		}
		plan := planFor(t, k, restore.Request{Output: filepath.Join(t.TempDir(), "f")}, target)
		_, err := restore.RunWith(t.Context(), plan, k.identities, inspector(t), nil, restore.Options{Thorough: true})
		for _, kind := range []error{repo.ErrDamaged, seal.ErrDamaged, restore.ErrPlaintext} {
			if errors.Is(err, kind) != (kind == tc.want) { //nolint:errorlint // which of them it is
				t.Errorf("%s: %v; it is %q: %v", name, err, kind, errors.Is(err, kind))
			}
		}
		var step *restore.StepError
		if !errors.As(err, &step) || step.Step != restore.StepFetch {
			t.Errorf("%s: step %+v", name, step)
		}
	}
}
