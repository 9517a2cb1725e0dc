package program

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/test/planted"
)

// watcher is a test that a program runs for; what it says is kept.
type watcher struct {
	testing.TB
	cleanup []func()
	errors  []string
}

func (w *watcher) Helper()          {}
func (w *watcher) Cleanup(f func()) { w.cleanup = append(w.cleanup, f) }
func (w *watcher) Errorf(format string, args ...any) {
	w.errors = append(w.errors, format)
	w.Logf(format, args...)
}

func (w *watcher) end() {
	for _, f := range w.cleanup {
		f()
	}
}

func TestStart(t *testing.T) {
	t.Setenv("DRD_TEST_STRAY", "here")
	dir := t.TempDir()
	p := Start(t, time.Minute, dir, "/bin/sh", "-c", `echo "$HOME"; echo "stray: $DRD_TEST_STRAY" >&2; pwd; exit 3`)
	if code := p.Wait(); code != 3 {
		t.Errorf("exit code %d", code)
	}
	if got, want := p.Stdout.String(), dir+"\n"+dir+"\n"; got != want {
		t.Errorf("standard output %q, want %q", got, want)
	}
	if got := p.Stderr.String(); got != "stray: \n" {
		t.Errorf("standard error %q", got)
	}
	if p.Signal(t, os.Interrupt) {
		t.Error("a program that has ended gets signals")
	}
}

func TestEnds(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, p *Program){
		"by its limit": func(*testing.T, *Program) {},
		"by a signal":  func(t *testing.T, p *Program) { p.Signal(t, syscall.SIGKILL) },
		"by a stop":    func(t *testing.T, p *Program) { p.Stop(t) },
	} {
		t.Run(name, func(t *testing.T) {
			limit := 200 * time.Millisecond
			if name != "by its limit" {
				limit = 0
			}
			p := Start(t, limit, t.TempDir(), "/bin/sleep", "600")
			end(t, p)
			if code := p.Wait(); code != -1 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestSecretFailsTheTest: whatever stream it is on, and be it printed piece by piece.
func TestSecretFailsTheTest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(planted.Secret()), 0o600); err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]int{
		"echo harmless; cat " + file:                              1,
		"cat " + file + " >&2":                                    1,
		"head -c 10 " + file + "; sleep 0.1; tail -c +11 " + file: 1,
		"echo harmless":                                           0,
	} {
		w := &watcher{TB: t}
		Start(w, time.Minute, t.TempDir(), "/bin/sh", "-c", script).Wait()
		w.end()
		if len(w.errors) != want || want > 0 && !strings.Contains(w.errors[0], "of the standard") {
			t.Errorf("%s: %q", script, w.errors)
		}
	}
}

func TestEventually(t *testing.T) {
	tries := 0
	Eventually(t, time.Minute, func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if tries != 3 {
		t.Errorf("%d tries", tries)
	}
}
