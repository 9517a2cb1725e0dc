package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/test/servers"
)

// unread is a store that holds more than a pipe does, and what looks into it.
type unread struct {
	dir, scratch, log string
}

func newUnread(t *testing.T) *unread {
	t.Helper()
	// A suite that was started with nohup ignores SIGHUP, and so would its children: what is caught here is theirs to decide on.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangups) })
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	dir := t.TempDir()
	g := &given{etcd: e.Endpoint(), dir: dir}
	u := &unread{dir: dir, scratch: filepath.Join(dir, "scratch"), log: filepath.Join(dir, "state", audit.FileName)}
	g.drd(t, "keygen", "--dir", filepath.Join(dir, "keys"), "--name", "node-1")
	if _, err := e.Client(t).Put(t.Context(), "/big", strings.Repeat("etcd", 300_000)); err != nil { // 1.2 MB; a pipe holds 64 KiB
		t.Fatal(err)
	}
	err := errors.Join(os.Mkdir(filepath.Join(dir, "repo"), 0o700), os.Mkdir(u.scratch, 0o700),
		os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(g.config(dir, "repo")), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	g.drd(t, "snapshot", "--config", filepath.Join(dir, "config.yaml"))
	return u
}

// command looks into the store; its standard error goes the same way where both is set.
func (u *unread) command(t *testing.T, words []string, out *os.File, both bool) (*exec.Cmd, *bytes.Buffer) {
	args := append(slices.Clone(words), "--config", filepath.Join(u.dir, "config.yaml"), "--identity", filepath.Join(u.dir, "keys", "identity.txt"), "--scratch", u.scratch)
	cmd := exec.CommandContext(t.Context(), "drd", args...)
	said := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, said
	if both {
		cmd.Stderr = out
	}
	return cmd, said
}

// TestNobodyReads: a command whose reader goes away, or is asked to end while nobody reads, leaves nothing of what it has decrypted, and
// its end in the audit log.
func TestNobodyReads(t *testing.T) {
	u := newUnread(t)
	history := []string{"log", "--show-values", "--key", "/big"}
	for name, c := range map[string]struct {
		words []string
		both  bool
		then  syscall.Signal // 0: the reader goes away
		code  int
		last  string
	}{
		"reader gone":               {words: history, code: exitUnread, last: "past.end failed"},
		"reader of JSON gone":       {words: append(slices.Clone(history), "--json"), code: exitUnread, last: "past.end failed"},
		"reader of an extract gone": {words: []string{"extract", "--key", "/big", "--format", "raw", "--output", "-"}, code: exitUnread, last: "extract.write failed"},
		"SIGTERM":                   {words: history, then: syscall.SIGTERM, code: exitInterrupted, last: "past.end failed"},
		"SIGHUP":                    {words: history, then: syscall.SIGHUP, code: exitInterrupted, last: "past.end failed"},
		"SIGTERM, both in a pipe":   {words: history, both: true, then: syscall.SIGTERM, code: exitInterrupted, last: "past.end failed"},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd, said := u.command(t, c.words, w, c.both)
			if err := errors.Join(cmd.Start(), w.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			if c.then == 0 {
				err = r.Close()
			} else {
				err = cmd.Process.Signal(c.then)
			}
			if err != nil {
				t.Fatal(err)
			}
			wantEnd(t, cmd, c.code)
			if c.then == 0 && strings.Contains(said.String(), "drd: error") {
				t.Errorf("said: %s", said)
			}
			u.wantClean(t, c.last)
		})
	}
}

// wantEnd waits for the end of a command, which does not take a second one to ask.
func wantEnd(t *testing.T, cmd *exec.Cmd, code int) {
	t.Helper()
	late := time.AfterFunc(30*time.Second, func() {
		if err := cmd.Process.Kill(); err == nil {
			t.Error("it did not end")
		}
	})
	defer late.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); code != 0 && !errors.As(err, &exit) || code == 0 && err != nil {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
}

func (u *unread) wantClean(t *testing.T, last string) {
	t.Helper()
	left, err := os.ReadDir(u.scratch)
	if err != nil || len(left) > 0 {
		t.Errorf("left in scratch: %v, %v", left, err)
	}
	events := eventsIn(t, u.log)
	if got := events[len(events)-1]; got != last {
		t.Errorf("the audit log ends with %s, want %s", got, last)
	}
}

// TestHangup: under nohup a command goes on when the terminal goes away; without, two hangups in a row, of the shell and of the kernel, do
// not keep it from cleaning up.
func TestHangup(t *testing.T) {
	u := newUnread(t)
	for _, nohup := range []bool{true, false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd, said := u.command(t, []string{"log", "--show-values", "--key", "/big"}, w, false)
		code, last := exitInterrupted, "past.end failed"
		if nohup {
			cmd.Args = append([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, cmd.Args...)
			cmd.Path, cmd.Err = "/bin/sh", nil
			code, last = exitDone, "past.end done"
		}
		if err := errors.Join(cmd.Start(), w.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		for range 2 {
			if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond) // two signals that come at once are one
		}
		if nohup {
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Fatal(err)
			}
		}
		wantEnd(t, cmd, code)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		u.wantClean(t, last)
	}
}
