package restore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
)

// revisionsIn are the revisions of which a store holds a change.
func revisionsIn(t *testing.T, path string) map[int64]bool {
	t.Helper()
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found := make(map[int64]bool)
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("key")).ForEach(func(k, _ []byte) error {
			p, err := mvcc.ParsePosition(k)
			found[p.Main] = true
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// inScratch makes a store in scratch, and says which revisions it holds.
func (l *ledger) inScratch(req restore.Request) (*restore.Result, map[int64]bool, error) {
	l.t.Helper()
	home := l.t.TempDir()
	req.InScratch, req.Scratch = true, home
	plan, err := restore.MakePlan(l.t.Context(), sources(l.targets...), l.k.trust, req, captureTime.Add(time.Hour))
	if err != nil {
		return nil, nil, err
	}
	var held map[int64]bool
	var told restore.Result
	result, err := restore.RunWith(l.t.Context(), plan, l.k.identities, inspector(l.t), nil, restore.Options{
		Made: func(_ context.Context, path string, r *restore.Result) error {
			told, held = *r, revisionsIn(l.t, path)
			if !strings.HasPrefix(path, home) {
				l.t.Errorf("made at %s, not in %s", path, home)
			}
			return nil
		},
	})
	wantOnly(l.t, home)
	if err == nil && (told.Revision != result.Revision || told.HashKV != result.HashKV || told.Since != result.Since || result.Path != "" || result.Bumped != 0) {
		l.t.Errorf("told %+v, returned %+v", told, result)
	}
	return result, held, err
}

// compactedSnapshot publishes a snapshot of which nothing but the manifest is true to its name: it holds no revision before compact.
func (l *ledger) compactedSnapshot(revision, compact int64) {
	l.t.Helper()
	f := l.snapshot.facts
	f.Revision, f.CompactRevision = revision, compact
	publish(l.t, l.k, l.snapshot.file, f, captureTime, instant, l.targets...)
}

// TestInScratch: what is made to be looked into holds every revision from the one that was asked for to the point, also where the
// snapshot nearest to the point holds only the last of them.
func TestInScratch(t *testing.T) {
	l := newLedger(t, nil, 2)
	l.compactedSnapshot(33, 32)
	l.compactedSnapshot(38, 36)
	l.damage(0, 1)
	for _, test := range []struct {
		req          restore.Request
		since, point int64
	}{
		{restore.Request{Since: 12}, 12, 40},
		{restore.Request{Since: 5, Revision: 35}, 5, 35},
		{restore.Request{Since: 5, Revision: 9}, 5, 9},
		{restore.Request{SinceAt: secondOf(23), At: secondOf(36)}, 22, 35},
		{restore.Request{SinceAt: secondOf(23), Revision: 23}, 22, 23},
		{restore.Request{SinceAt: secondOf(23)}, 22, 40},
		{restore.Request{Since: 4, ID: l.snapshot.manifest.ID}, 4, 10},
		{restore.Request{Since: 10, Revision: 25, ID: l.snapshot.manifest.ID}, 10, 25},
	} {
		result, held, err := l.inScratch(test.req)
		if err != nil {
			t.Errorf("%+v: %v", test.req, err)
			continue
		}
		if result.Since != test.since || result.Revision != test.point || result.ID != l.snapshot.manifest.ID {
			t.Errorf("%+v: %s from revision %d to %d, want %d to %d", test.req, result.ID, result.Since, result.Revision, test.since, test.point)
		}
		for r := max(2, result.Since); r <= test.point; r++ { // nothing ever happened at revision 1
			if !held[r] {
				t.Errorf("%+v: revision %d is missing", test.req, r)
			}
		}
		if held[test.point+1] {
			t.Errorf("%+v: revision %d is in the store", test.req, test.point+1)
		}
	}
	if result, _, err := l.inScratch(restore.Request{Revision: 25}); err != nil || result.Since != 0 || result.Segments != 2 {
		t.Errorf("without a past: %+v, %v", result, err)
	}
}

// TestTooFarBack: where no store holds all that was asked for, the error says what is missing and how far back one reaches.
func TestTooFarBack(t *testing.T) {
	l := newLedger(t, nil, 1)
	l.compactedSnapshot(33, 29)
	l.remove(0, 1)
	for name, req := range map[string]restore.Request{"revision": {Since: 15}, "time": {SinceAt: secondOf(16)}} {
		_, _, err := l.inScratch(req)
		var gap *archive.Unreachable
		if !errors.As(err, &gap) || !errors.Is(err, repo.ErrNothing) ||
			!strings.Contains(err.Error(), "revisions 21 to 30 are missing; it can reach back to revision 29") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, req := range map[string]restore.Request{
		"both":              {Since: 3, SinceAt: secondOf(3)},
		"below 1":           {Since: -3},
		"after":             {Since: 15, Revision: 12},
		"after the time":    {SinceAt: secondOf(15), At: secondOf(12)},
		"after the newest":  {Since: 99},
		"with an output":    {Output: "f"},
		"with a data dir":   {DataDir: "f"},
		"both destinations": {Output: "f", DataDir: "f"},
	} {
		_, _, err := l.inScratch(req)
		var contradiction *restore.RequestError
		if !errors.As(err, &contradiction) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := l.inScratch(restore.Request{SinceAt: captureTime.Add(-time.Hour)}); !errors.Is(err, repo.ErrNothing) {
		t.Errorf("a time before all: %v", err)
	}
}

// TestPastWithoutArchive: where nobody recorded which revision was there, the store reaches back to one that surely was there before.
func TestPastWithoutArchive(t *testing.T) {
	l := newLedger(t, nil, 1)
	for i := range l.segments {
		l.remove(0, i)
	}
	snapshot := l.snapshot.manifest
	result, held, err := l.inScratch(restore.Request{SinceAt: snapshot.CaptureEnd.Add(time.Minute)})
	if err != nil || result.Since != 10 || !held[10] || len(result.Notices) != 1 || !strings.Contains(result.Notices[0], "looking back to revision 10") {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestMade: the store is handed over also where something is installed afterwards, and an error of who gets it leaves nothing behind.
func TestMade(t *testing.T) {
	l := newLedger(t, nil, 1)
	home := t.TempDir()
	req := restore.Request{Revision: 35, Output: filepath.Join(home, "f")}
	bump, err := restore.BumpBy(1000)
	if err != nil {
		t.Fatal(err)
	}
	req.Bump = bump
	calls := 0
	refusal := errors.New("not this one")
	opt := restore.Options{Made: func(_ context.Context, path string, r *restore.Result) error {
		if calls++; r.Revision != 35 || revisionsIn(t, path)[36] || r.Facts.Revision != 35 || r.Facts.HashKV != r.HashKV.Hash {
			t.Errorf("made %+v", r)
		}
		return refusal
	}}
	run := func() error {
		plan := planFor(t, l.k, req, l.targets...)
		_, err := restore.RunWith(t.Context(), plan, l.k.identities, inspector(t), nil, opt)
		return err
	}
	if err := run(); !errors.Is(err, refusal) {
		t.Errorf("refused: %v", err)
	}
	wantOnly(t, home)
	refusal, opt.CheckOnly = nil, true
	if err := run(); err != nil {
		t.Errorf("only checked: %v", err)
	}
	wantOnly(t, home)
	opt.CheckOnly = false
	if err := run(); err != nil || calls != 3 {
		t.Errorf("%v, called %d times", err, calls)
	}
	if _, err := os.Stat(req.Output); err != nil {
		t.Error(err)
	}
}

// TestDirect: a way that is damaged ends the run where no other may be taken, and is gone around otherwise.
func TestDirect(t *testing.T) {
	l := newLedger(t, nil, 1)
	l.follower.archive(19, 24, nil, l.targets...)
	l.follower.archive(23, 33, nil, l.targets...)
	l.damage(0, 1)
	plan := planFor(t, l.k, restore.Request{Revision: 35, InScratch: true, Scratch: t.TempDir()}, l.targets...)
	if _, err := restore.RunWith(t.Context(), plan, l.k.identities, inspector(t), nil, restore.Options{Direct: true}); !errors.Is(err, repo.ErrDamaged) {
		t.Errorf("direct: %v", err)
	}
	if _, err := restore.RunWith(t.Context(), plan, l.k.identities, inspector(t), nil, restore.Options{}); err != nil {
		t.Errorf("around: %v", err)
	}
}
