package drill_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/restore"
)

// TestScratchDir: a directory in which others could put something else in the place of what lies there is refused.
func TestScratchDir(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(dir string) error
		want  string // "": it is used
	}{
		"missing":          {os.Remove, ""},
		"readable":         {func(dir string) error { return os.Chmod(dir, 0o755) }, ""},
		"of another user":  {func(dir string) error { return os.Chown(dir, 12345, -1) }, "does not belong to user"},
		"group may write":  {func(dir string) error { return os.Chmod(dir, 0o770) }, "other users can write"},
		"others may write": {func(dir string) error { return os.Chmod(dir, 0o1703) }, "other users can write"},
		"link": {func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"-real"), os.Symlink(dir+"-real", dir))
		}, "no directory of its own"},
		"file":      {func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) }, "not a directory"},
		"lock link": {func(dir string) error { return os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "lock")) }, "lock"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			dir := filepath.Join(t.TempDir(), "scratch")
			if err := errors.Join(os.Mkdir(dir, 0o700), tc.spoil(dir)); err != nil {
				t.Fatalf("this test needs root: %v", err)
			}
			p.config.ScratchDir = dir
			_, err := drill.New(p.config)
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want %q", err, tc.want)
			case strings.Contains(tc.want, " user") && len(hint.Of(err)) == 0:
				t.Errorf("no hint: %v", err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); !errors.Is(err, fs.ErrNotExist) && tc.want == "lock" {
				t.Errorf("a file was made through a link: %v", err)
			}
		})
	}
}

// TestSpoiledLater: the directory is looked at before each drill, and what is wrong with it then is no fault of the backup.
func TestSpoiledLater(t *testing.T) {
	src, p := ordinary(t, "3.7"), newPlace(t)
	_, id := p.publish(t, src, captureTime)
	d, err := drill.New(p.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p.config.ScratchDir, 0o777); err != nil {
		t.Fatal(err)
	}
	got := d.Drill(t.Context(), drill.Target{Name: "primary", Repo: p.repo}, id, proof.LevelData, nil, nil)
	wantUnsure(t, got, drill.CheckObject, "other users can write")
}

// TestMovedAway: no plaintext stays where a directory is moved during a drill, and a link put in its place is not followed.
func TestMovedAway(t *testing.T) {
	src := ordinary(t, "3.7")
	for _, whole := range []bool{true, false} {
		p := newPlace(t)
		_, id := p.publish(t, src, captureTime)
		away, victim := filepath.Join(t.TempDir(), "away"), t.TempDir()
		precious := filepath.Join(victim, "precious")
		if err := os.WriteFile(precious, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		move := func() {
			from := p.config.ScratchDir
			if !whole {
				found, err := filepath.Glob(filepath.Join(from, "drill-*"))
				if err != nil || len(found) != 1 {
					t.Fatal(found, err)
				}
				from = found[0]
			}
			if err := errors.Join(os.Rename(from, away), os.Symlink(victim, from)); err != nil {
				t.Error(err)
			}
			if len(files(t, away)) == 0 {
				t.Error("nothing was there to be moved")
			}
		}
		d, err := drill.New(p.config)
		if err != nil {
			t.Fatal(err)
		}
		got := d.Drill(t.Context(), drill.Target{Name: "primary", Repo: p.repo}, id, proof.LevelData, nil, atStep{restore.StepCheck, move})
		if left := files(t, away); len(left) > 0 {
			t.Errorf("whole %t: left where it was moved to: %q; %s, %s", whole, left, got.Outcome, got.Cause)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Errorf("whole %t: somebody else's file: %v", whole, err)
		}
	}
}

// files are the files below a directory, without the lock.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "lock" {
			found = append(found, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	return found
}
