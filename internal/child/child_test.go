package child_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/child"
	"github.com/drd-project/drd/internal/hint"
)

type message struct {
	Text string `json:"text"`
	Last bool   `json:"last"`
	child.Failure
}

// read has a line of shell read a file: $0 is its path, $1 the argument.
func read(t *testing.T, ctx context.Context, line string) (heard []string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil { // the child needs no name
		t.Fatal(err)
	}
	answered := false
	err = child.Read(ctx, child.Reader{Command: []string{"/bin/sh", "-c", line}}, f, []string{"argument"}, func(m message) (bool, error) {
		if err := m.Err(); err != nil {
			return false, err
		}
		heard = append(heard, m.Text)
		answered = answered || m.Last
		return answered, nil
	})
	return heard, err
}

func TestRead(t *testing.T) {
	heard, err := read(t, t.Context(), `echo "{\"text\":\"$(cat "$0")\"}"; echo "{\"text\":\"$1\",\"last\":true}"; echo careful >&2`)
	if diff := cmp.Diff([]string{"content", "argument"}, heard); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestReported: what the child says of an error comes through whole, whatever its end.
func TestReported(t *testing.T) {
	for _, end := range []string{"", "; exit 1", "; kill -KILL $$"} {
		_, err := read(t, t.Context(), `echo '{"error":"page 7","hints":["outer","inner"]}'; echo '{"text":"more","last":true}'`+end)
		var none *child.NoAnswer
		if err == nil || err.Error() != "page 7" || errors.As(err, &none) {
			t.Errorf("%s: %v", end, err)
		}
		if diff := cmp.Diff(child.Failure{Error: "page 7", Hints: []string{"outer", "inner"}}, child.FailureOf(err)); diff != "" {
			t.Errorf("%s: %s", end, diff)
		}
	}
	if err := (child.Failure{Hints: []string{"x"}}).Err(); err != nil || len(hint.Of(err)) != 0 {
		t.Error(err)
	}
}

// TestNoAnswer: a child that the file may have brought down is told from one that something else did.
func TestNoAnswer(t *testing.T) {
	const answer = `echo '{"last":true}'; `
	for line, want := range map[string]struct {
		why  child.Why
		says string
	}{
		`kill -KILL $$`:          {child.Killed, "(signal: killed): it left no message"},
		answer + `kill -KILL $$`: {child.Killed, "signal: killed"},
		`kill -TERM $$`:          {child.Killed, "signal: terminated"},
		`kill -USR1 $$`:          {child.Killed, "signal: user defined signal 1"},
		`kill -ABRT $$`:          {child.Crashed, "signal: aborted"},
		`kill -BUS $$`:           {child.Crashed, "signal: bus error"},
		answer + `kill -SEGV $$`: {child.Crashed, "signal: segmentation fault"},
		`echo panic: page 7 >&2; echo >&2; echo 'goroutine 1' >&2; exit 2`: {child.Crashed, "the process reading it died (exit status 2): panic: page 7"},
		`echo a log line >&2; echo panic: page 7 >&2; exit 2`:              {child.Crashed, "): panic: page 7"},
		`echo unexpected fault address 0x7f >&2; exit 2`:                   {child.Crashed, "fault address"},
		`echo SIGSEGV: segmentation violation >&2; exit 2`:                 {child.Crashed, "SIGSEGV"},
		`echo SIGQUIT: quit >&2; exit 2`:                                   {child.Killed, "SIGQUIT"},
		`echo fatal error: runtime: out of memory >&2; exit 2`:             {child.Killed, "out of memory"},
		`echo runtime: cannot allocate memory >&2; exit 2`:                 {child.Killed, "cannot allocate"},
		`echo runtime: failed to create new OS thread >&2; exit 2`:         {child.Killed, "OS thread"},
		`echo unknown command >&2; exit 2`:                                 {child.Killed, "): unknown command"},
		`echo panic: not as Go panics >&2; exit 1`:                         {child.Killed, "exit status 1"},
		`echo '{"text":"half'; kill -KILL $$`:                              {child.Killed, "signal: killed"},
		`echo hello`:                                                       {child.Garbled, `the child process said "hello\n": invalid character`},
		answer + `echo '{"text":'`:                                         {child.Garbled, "unexpected EOF"},
		`exit 0`:                                                           {child.Silent, "the child process said nothing"},
		`echo '{"text":"and then"}'; echo last words >&2`:                  {child.Silent, "said nothing"},
	} {
		_, err := read(t, t.Context(), line)
		var none *child.NoAnswer
		if !errors.As(err, &none) || none.Why != want.why || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestWords(t *testing.T) {
	_, err := read(t, t.Context(), `echo >&2; echo last words >&2; head -c 100000 /dev/zero >&2`)
	var none *child.NoAnswer
	if !errors.As(err, &none) || none.Words != "last words" {
		t.Errorf("%v: %+v", err, none)
	}
}

func TestNotStarted(t *testing.T) {
	err := child.Read(t.Context(), child.Reader{Command: []string{"/nonexistent/program"}}, os.Stdin, nil, func(message) (bool, error) { return true, nil })
	var none *child.NoAnswer
	if !errors.As(err, &none) || none.Why != child.NotStarted || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestProgram: the program that is started need not be the one that Command names.
func TestProgram(t *testing.T) {
	r := child.Reader{Program: "/bin/sh", Command: []string{"drd", "-c", `echo "{\"text\":\"$(tr '\0' ' ' < /proc/$$/cmdline | cut -d' ' -f1)\"}"`}}
	var name string
	err := child.Read(t.Context(), r, os.Stdin, nil, func(m message) (bool, error) {
		name = m.Text
		return true, nil
	})
	if err != nil || name != "drd" {
		t.Errorf("%q, %v", name, err)
	}
}

// TestBackground: a child is behind everything else where that is wanted, and only there. It waits for it, at most so many fifths of a
// second: it may run before.
func TestBackground(t *testing.T) {
	const line = `i=%d; while [ "$(nice) $(ionice -p $$)" != "19 idle" ] && [ $i -gt 0 ]; do i=$((i-1)); sleep 0.2; done; echo "{\"text\":\"$(nice) $(ionice -p $$)\"}"`
	for background, fifths := range map[bool]int{true: 300, false: 5} {
		var got string
		r := child.Reader{Command: []string{"/bin/sh", "-c", fmt.Sprintf(line, fifths)}, Background: background}
		err := child.Read(t.Context(), r, os.Stdin, nil, func(m message) (bool, error) {
			got = m.Text
			return true, nil
		})
		if err != nil || got == "" || (got == "19 idle") != background {
			t.Errorf("background %t: %q, %v", background, got, err)
		}
	}
}

// TestCancelled: the cause is what the caller gave, whether the child runs by then or not.
func TestCancelled(t *testing.T) {
	enough := errors.New("enough")
	for _, after := range []time.Duration{0, 100 * time.Millisecond} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if after == 0 {
			cancel(enough)
		} else {
			time.AfterFunc(after, func() { cancel(enough) })
		}
		began := time.Now()
		_, err := read(t, ctx, `exec sleep 300`)
		var none *child.NoAnswer
		if !errors.Is(err, enough) || errors.As(err, &none) {
			t.Errorf("after %s: %v", after, err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("after %s: took %s", after, took)
		}
	}
}
