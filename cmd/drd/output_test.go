package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), exitFailed},
		{fmt.Errorf("wrapped: %w", usageError{errors.New("x")}), exitUsage},
		{errors.Join(errors.New("x"), &config.Error{}), exitUsage},
		{hint.New(fmt.Errorf("list: %w", repo.ErrNothing), "next"), exitNothing},
		{usageError{repo.ErrNothing}, exitUsage},
		{fmt.Errorf("restore: %w", context.Canceled), exitInterrupted},
		{interrupted{errors.New("clean up: disk full")}, exitInterrupted},
		{interrupted{usageError{errors.New("x")}}, exitInterrupted},
		{exitError{errors.New("x"), 7}, 7},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v gives %d, want %d", c.err, got, c.want)
		}
	}
}

func TestReportError(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: &out}
	a.reportError(errors.Join(hint.New(errors.New("one"), "first"), hint.New(errors.New("two"), "first"), errors.New("three")))
	const want = "drd: error: one\ndrd: hint: first\ndrd: error: two\ndrd: error: three\n"
	if out.String() != want {
		t.Errorf("it says\n%swant\n%s", &out, want)
	}
}

// TestReportErrorOfTwo: an error made of two with words between them is one.
func TestReportErrorOfTwo(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: &out}
	a.reportError(hint.New(fmt.Errorf("this is recorded nowhere: %w: %w", errors.New("one"), errors.New("two")), "next"))
	const want = "drd: error: this is recorded nowhere: one: two\ndrd: hint: next\n"
	if out.String() != want {
		t.Errorf("it says\n%swant\n%s", &out, want)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 日本":        "plain ü 日本",
		"\x1b[2J\x1b]0;x\a": "?[2J?]0;x?",
		"a\nb\tc\rd":        "a?b?c?d",
		"c1 \u009b2J":       "c1 ?2J",
		"bidi \u202eb":      "bidi ?b",
		"\x7f":              "?",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestReportErrorTogether: what was said about several problems together follows all of them.
func TestReportErrorTogether(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: &out}
	a.reportError(usageError{hint.New(errors.Join(errors.New("one"), hint.New(errors.New("two"), "second")), "both")})
	const want = "drd: error: one\ndrd: error: two\ndrd: hint: second\ndrd: hint: both\n"
	if out.String() != want {
		t.Errorf("it says\n%swant\n%s", &out, want)
	}
}

// TestReportErrorIsPrintable: no text of a store or a planted object moves the cursor.
func TestReportErrorIsPrintable(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: printing{&out}}
	a.reportError(hint.New(errors.New("server says \x1b[2K\x1b[1Asigned by you\u202e\x07"), "run \x1b]0;x\x07"))
	if strings.ContainsAny(out.String(), "\x1b\x07\u202e") || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("it says %q", &out)
	}
}

func TestAgo(t *testing.T) {
	for in, want := range map[time.Duration]string{
		-time.Second: "in the future", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59 * time.Minute: "59m",
		time.Hour: "1h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 365 * 24 * time.Hour: "365d",
	} {
		if got := ago(in); got != want {
			t.Errorf("%v is %q, want %q", in, got, want)
		}
	}
}

// TestLostOutput: a full disk behind standard output is a failure, also where the text is written piece by piece.
func TestLostOutput(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"version", "--json"}, {"--help"}, {"keygen", "--dir", t.TempDir()}} {
		var stderr bytes.Buffer
		code := run(args, strings.NewReader(""), fullDisk{}, &stderr)
		if code != exitFailed || !strings.Contains(stderr.String(), "disk full") {
			t.Errorf("drd %s: exit code %d, it says %q", args, code, &stderr)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }
