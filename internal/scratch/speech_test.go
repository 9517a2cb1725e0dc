package scratch

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

// statuses as wait(2) encodes them.
const (
	exit0, exit1, exit2  = 0, 1 << 8, 2 << 8
	bySIGKILL, bySIGTERM = 9, 15
	bySIGSEGV, bySIGHUP  = 11, 1
	info                 = `{"level":"info","msg":"opened backend db"}` + "\n"
	fatal                = `{"level":"fatal","msg":"discovery failed","error":"wal: crc mismatch"}` + "\n"
	full                 = `{"level":"panic","msg":"failed to write","error":"write member/snap/db: no space left on device"}` + "\n"
	memory               = "fatal error: runtime: out of memory\n\nruntime stack:\n"
	panicked             = "panic: freepages: failed to get all reachable pages\n\ngoroutine 1 [running]:\nmain.main()\n"
	complaint            = `{"level":"error","msg":"failed to attach a lease","error":"lease not found"}` + "\n"
	flagsAreWrong        = "error verifying flags, unknown flag\nsee etcd --help\n"
	kill, term           = syscall.SIGKILL, syscall.SIGTERM
)

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		name   string
		said   string
		status syscall.WaitStatus
		oom    int64
		asked  []syscall.Signal
		kind   error // nil: it ended because it was asked to
		words  string
	}{
		{"stopped", info, bySIGTERM, 0, []syscall.Signal{term}, nil, ""},
		{"stopped, and says so by its exit status", info, 130 << 8, 0, []syscall.Signal{term}, nil, ""},
		{"stopped, after complaints", complaint, exit1, 0, []syscall.Signal{term}, nil, ""},
		{"had to be killed", info, bySIGKILL, 0, []syscall.Signal{term, kill}, nil, ""},
		{"crashed while it stopped", panicked, exit2, 0, []syscall.Signal{term}, ErrRefused, "exit status 2): panic: freepages"},
		{"killed", fatal, bySIGKILL, 0, nil, ErrKilled, "signal: killed"},
		{"killed while it stopped", info, bySIGKILL, 0, []syscall.Signal{term}, ErrKilled, "signal: killed"},
		{"killed at its limit", info, bySIGKILL, 1, nil, ErrKilled, "memory limit of 64 MiB"},
		{"stopped by others", info, bySIGTERM, 0, nil, ErrKilled, "signal: terminated"},
		{"hung up", info, bySIGHUP, 0, nil, ErrKilled, "signal: hangup"},
		{"crashed", info, bySIGSEGV, 0, nil, ErrRefused, "signal: segmentation fault): opened backend db"},
		{"disk full", info + full, exit2, 0, nil, ErrKilled, "no space left on device"},
		{"out of memory", info + memory, exit2, 0, nil, ErrKilled, "runtime: out of memory"},
		{"damaged log", info + fatal, exit1, 0, nil, ErrRefused, "exit status 1): discovery failed: wal: crc mismatch"},
		{"panic after a fatal message", fatal + panicked, exit2, 0, nil, ErrRefused, "discovery failed"},
		{"panic", complaint + panicked, exit2, 0, nil, ErrRefused, "panic: freepages: failed to get all reachable pages"},
		{"plain words", complaint + flagsAreWrong, exit1, 0, nil, ErrRefused, "error verifying flags, unknown flag"},
		{"a complaint", complaint + info, exit1, 0, nil, ErrRefused, "failed to attach a lease: lease not found"},
		{"no line end", "cannot start", exit1, 0, nil, ErrRefused, "cannot start"},
		{"silent", "", exit1, 0, nil, ErrRefused, "exit status 1): it said nothing"},
		{"obeyed others", info, exit0, 0, nil, ErrKilled, "as if it had been asked to (exit status 0): opened backend db"},
		{"fatal, and a good exit status", info + fatal, exit0, 0, nil, ErrRefused, "exit status 0): discovery failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &child{log: new(speech), status: tc.status, oomKills: tc.oom, memory: 64 << 20, asked: make(map[syscall.Signal]bool)}
			for _, s := range tc.asked {
				c.asked[s] = true
			}
			for part := range strings.SplitAfterSeq(tc.said, "e") { // it is heard in pieces
				hear(t, c.log, part)
			}
			err := c.verdict()
			if !errors.Is(err, tc.kind) || errors.Is(err, ErrKilled) && errors.Is(err, ErrRefused) {
				t.Fatalf("%v, want %v", err, tc.kind)
			}
			if err != nil && !strings.Contains(err.Error(), tc.words) {
				t.Errorf("%q, want %q", err, tc.words)
			}
		})
	}
}

func hear(tb testing.TB, s *speech, said string) {
	tb.Helper()
	if n, err := s.Write([]byte(said)); n != len(said) || err != nil {
		tb.Fatal(n, err)
	}
}

// TestSpeechIsBounded: whatever a store makes etcd say, a line of it is quoted.
func TestSpeechIsBounded(t *testing.T) {
	var s speech
	for range 100 {
		hear(t, &s, strings.Repeat("\x1b[2Jä\xff", 10000))
	}
	if len(s.line) > maxLine || s.size() != 100*7*10000 {
		t.Errorf("%d bytes kept of %d", len(s.line), s.size())
	}
	if words := s.words(); len(words) > maxWords+3 || strings.ContainsAny(words, "\x1b\n") || !strings.HasSuffix(words, "...") {
		t.Errorf("%q", words)
	}
	var long speech
	hear(t, &long, `{"level":"info","msg":"`+strings.Repeat("x", 2*maxLine)+"\"}\n"+info)
	if words := long.words(); words != "opened backend db" {
		t.Errorf("%q", words)
	}
}
