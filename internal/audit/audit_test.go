package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// start is when the clock of the tests begins.
var start = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// place is a log in a directory of its own, whose clock goes on by a second for each record.
type place struct {
	t       *testing.T
	path    string
	trouble []error
	*Log
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, path: filepath.Join(t.TempDir(), "state", FileName)}
	p.again()
	return p
}

// again is a restart: another log with the same file.
func (p *place) again() { p.againAt(start) }

// againAt is again with a clock that is set to now.
func (p *place) againAt(now time.Time) {
	p.Log = New(Config{
		Place: func() (string, string) { return p.path, "prod" }, Command: "drd test", Journal: filepath.Join(p.t.TempDir(), "none"),
		Classes: []Class{{errDamaged, "damaged"}}, Trouble: func(err error) { p.trouble = append(p.trouble, err) },
		Now: func() time.Time { now = now.Add(time.Second); return now },
	})
}

var errDamaged = errors.New("damaged")

// note records n events.
func (p *place) note(n int) {
	for i := range n {
		Note(Into(p.t.Context(), p.Log), Event{Name: ObjectDecrypt, Object: fmt.Sprintf("snapshots/%d", i)})
	}
}

func (p *place) lines() [][]byte {
	p.t.Helper()
	text, err := os.ReadFile(p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
}

func (p *place) write(lines [][]byte) {
	p.t.Helper()
	if err := os.WriteFile(p.path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) sound(records int64) Chain {
	p.t.Helper()
	c, err := Verify(p.path)
	if err != nil || c.Records != records || c.Last-c.First+1 != records {
		p.t.Fatalf("%+v, %v: want %d records", c, err, records)
	}
	return c
}

func TestRecord(t *testing.T) {
	t.Setenv("SUDO_USER", "alice")
	t.Setenv("SUDO_UID", "1000")
	p := newPlace(t)
	ctx := Into(t.Context(), p.Log)
	Note(ctx, Event{Name: IdentityLoad, Object: "/safe/identity.txt"})
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	Note(ctx, Event{Name: PruneDelete, Object: "x\x00" + strings.Repeat("ä", 2000), Target: "nas", Count: 3, Err: fmt.Errorf("wrapped: %w", errDamaged)})
	Note(ctx, Event{Name: ConfigReload, Outcome: Refused, Err: errors.New("secret text")})
	lines := p.lines()
	var got []Record
	for _, line := range lines {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	actor := currentActor("drd test")
	if actor.SudoUser != "alice" || actor.SudoUID != "1000" || actor.PID != os.Getpid() {
		t.Errorf("actor: %+v", actor)
	}
	long := strings.ToValidUTF8(("x\x00" + strings.Repeat("ä", 2000))[:maxText], "\uFFFD")
	want := []Record{
		{Sequence: 1, Time: start.Add(time.Second), Event: IdentityLoad, Outcome: Done, Object: "/safe/identity.txt", Actor: actor, Host: host, Cluster: "prod", Previous: Genesis},
		{Sequence: 2, Time: start.Add(2 * time.Second), Event: PruneDelete, Outcome: Failed, ErrorClass: "damaged", Object: long, Target: "nas", Count: 3, Actor: actor, Host: host, Cluster: "prod", Previous: hashOf(lines[0])},
		{Sequence: 3, Time: start.Add(3 * time.Second), Event: ConfigReload, Outcome: Refused, ErrorClass: "other", Actor: actor, Host: host, Cluster: "prod", Previous: hashOf(lines[1])},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if bytes.Contains(lines[2], []byte("secret")) {
		t.Error("the text of an error is in the log")
	}
	info, err := os.Stat(p.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	p.sound(3)
	if len(p.trouble) > 0 {
		t.Errorf("trouble: %v", p.trouble)
	}
}

func TestNoLog(t *testing.T) {
	Note(t.Context(), Event{Name: PruneBegin})
	if err := Require(t.Context(), Event{Name: PruneBegin}); err != nil {
		t.Error(err)
	}
}

// TestTampering: what is done to the lines shows, and where.
func TestTampering(t *testing.T) {
	swap := func(l [][]byte) [][]byte { l[2], l[3] = l[3], l[2]; return l }
	for _, tc := range []struct {
		name   string
		change func(lines [][]byte) [][]byte
		want   string // in the error; "": none
		line   int    // that the error names
	}{
		{"nothing", func(l [][]byte) [][]byte { return l }, "", 0},
		{"changed", func(l [][]byte) [][]byte {
			l[2] = bytes.Replace(l[2], []byte("snapshots/2"), []byte("snapshots/9"), 1)
			return l
		}, "does not follow", 4},
		{"removed", func(l [][]byte) [][]byte { return slices.Delete(l, 2, 3) }, "does not follow", 3},
		{"first removed", func(l [][]byte) [][]byte {
			l = slices.Delete(l, 0, 1)
			l[0] = bytes.Replace(l[0], []byte(`"sequence":2`), []byte(`"sequence":1`), 1)
			return l
		}, "another one was before it", 1},
		{"beginning cut off", func(l [][]byte) [][]byte { return l[3:] }, "is record 4, and no file begins with it", 1},
		{"beginning cut off in a line", func(l [][]byte) [][]byte { l[2] = l[2][9:]; return l[2:] }, "is record 4, and no file begins with it", 2},
		{"reordered", swap, "does not follow", 3},
		{"repeated", func(l [][]byte) [][]byte { return slices.Insert(l, 2, l[1]) }, "does not follow", 3},
		{"replaced by rubbish", func(l [][]byte) [][]byte { l[2] = []byte("rubbish"); return l }, "does not follow", 4},
		{"put in", func(l [][]byte) [][]byte { return slices.Insert(l, 3, []byte(`{"sequence":4}`)) }, "does not follow", 4},
		{"renumbered", func(l [][]byte) [][]byte {
			l[4] = bytes.Replace(l[4], []byte(`"sequence":5`), []byte(`"sequence":6`), 1)
			return l
		}, "is record 6, and follows record 4", 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlace(t)
			p.note(5)
			p.write(tc.change(p.lines()))
			_, err := Verify(p.path)
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), fmt.Sprintf("%s:%d ", FileName, tc.line)) {
				t.Errorf("%v: want %q at line %d", err, tc.want, tc.line)
			}
		})
	}
}

// TestTruncated: an end that was cut off leaves a sound chain, and shows against a hash that is kept elsewhere.
func TestTruncated(t *testing.T) {
	p := newPlace(t)
	p.note(5)
	whole := p.sound(5)
	anchors := []Anchor{{Sequence: 5, Hash: whole.Hash, Witness: Journal, Where: "the journal"}}
	if _, err := Verify(p.path, anchors...); err != nil {
		t.Error(err)
	}
	p.write(p.lines()[:3])
	p.sound(3)
	if _, err := Verify(p.path, anchors...); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "ends with record 3, of 2026-11-22T10:00:03Z, and the journal has record 5") {
		t.Errorf("cut off: %v", err)
	}
	p.again()
	p.note(2) // goes on, as if nothing were
	p.sound(5)
	if _, err := Verify(p.path, anchors...); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "another one than the journal has") {
		t.Errorf("cut off and continued: %v", err)
	}
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(p.path, anchors...); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "there is none, and the journal has record 5") {
		t.Errorf("removed: %v", err)
	}
	if c, err := Verify(p.path); err != nil || c.Records != 0 || c.Hash != Genesis {
		t.Errorf("never written: %+v, %v", c, err)
	}
}

// TestTorn: a crash in the middle of a line is told, costs no record but that one, and breaks no chain.
func TestTorn(t *testing.T) {
	for name, rest := range map[string]string{"in the middle": `{"sequence":4,"time":"20`, "at the beginning": "", "before the newline": "whole"} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.note(4)
			lines := p.lines()
			if rest == "whole" {
				rest = string(lines[3])
			}
			text := string(bytes.Join(lines[:3], []byte("\n"))) + "\n" + rest
			if err := os.WriteFile(p.path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			before, err := Verify(p.path)
			if err != nil {
				t.Errorf("before it goes on: %v", err)
			}
			p.again()
			p.note(2)
			c := p.sound(before.Records + 2)
			torn := strings.HasSuffix(rest, "20")
			if torn != (len(c.Torn) == 1) || torn && !strings.HasSuffix(c.Torn[0], FileName+":4") || strings.Contains(c.String(), "torn") != torn {
				t.Errorf("%s", c)
			}
			if !torn {
				return
			}
			lines = p.lines()
			lines[3] = []byte(`{"sequence":4,"other`)
			p.write(lines)
			if _, err := Verify(p.path); !errors.Is(err, ErrTampered) {
				t.Errorf("a torn line was changed: %v", err)
			}
		})
	}
}

// TestRotate: the new file begins where the old one ends, and the old one can be taken away.
func TestRotate(t *testing.T) {
	p := newPlace(t)
	p.note(3)
	full := func(name Name) {
		t.Helper()
		big := Event{Name: name, Object: strings.Repeat("x", maxText)}
		for {
			if err := Require(Into(t.Context(), p.Log), big); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(p.path); err != nil || info.Size() < 2048 {
				return // it was begun anew
			} else if info.Size() < rotateAt-1<<20 { // time is short: records that are written at once
				p.fill(rotateAt - 1<<19)
			}
		}
	}
	full(PruneDelete)
	first := p.sound(p.records())
	p.again()
	p.note(2)
	second := p.sound(first.Records + 2)
	if second.Files != 2 {
		t.Errorf("%d files", second.Files)
	}
	names, err := rotated(p.path)
	if err != nil || len(names) != 1 {
		t.Fatalf("rotated: %v, %v", names, err)
	}
	info, err := os.Stat(names[0])
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() < rotateAt {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Remove(p.path); err != nil { // as a crash between renaming and the first record leaves it
		t.Fatal(err)
	}
	p.again()
	p.note(1)
	p.sound(first.Last) // the same number as the record that was in the file of its own
	if err := os.Rename(names[0], names[0]+".away"); err != nil {
		t.Fatal(err)
	}
	if c := p.sound(1); c.First != first.Last {
		t.Errorf("without the old file: %s", c)
	}
	p.note(2)
	p.write(p.lines()[1:])
	if _, err := Verify(p.path); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "was cut off") {
		t.Errorf("the beginning of the new file was cut off: %v", err)
	}
}

// TestRotatedAnywhere: files that were moved away are found in a state directory whose name looks like a pattern.
func TestRotatedAnywhere(t *testing.T) {
	p := newPlace(t)
	p.path = filepath.Join(t.TempDir(), "state [1]*", FileName)
	p.again()
	p.note(2)
	if err := rotate(p.path, end{sequence: 2}); err != nil {
		t.Fatal(err)
	}
	p.note(1)
	if c := p.sound(3); c.Files != 2 {
		t.Errorf("%d files", c.Files)
	}
}

// TestDuring: what is done is in the log before and after it, and its error is the caller's.
func TestDuring(t *testing.T) {
	p := newPlace(t)
	before := 0
	err := During(Into(t.Context(), p.Log), Event{Name: ExtractWrite, Object: "-", Count: 2}, func() error {
		before = len(p.lines())
		return errDamaged
	})
	lines := p.lines()
	if !errors.Is(err, errDamaged) || before != 1 || len(lines) != 2 {
		t.Fatalf("%v, %d records before, %d in all", err, before, len(lines))
	}
	for i, want := range []Outcome{Begun, Failed} {
		var r Record
		if err := json.Unmarshal(lines[i], &r); err != nil || r.Outcome != want || r.Event != ExtractWrite || r.Count != 2 || r.Object != "-" {
			t.Errorf("%+v, %v: want %s", r, err, want)
		}
	}
}

func (p *place) records() int64 {
	c, err := Verify(p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	return c.Records
}

// fill writes sound records until the file has a size.
func (p *place) fill(size int) {
	p.t.Helper()
	f, err := openFile(p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	last, at, err := endOf(f)
	var text bytes.Buffer
	for err == nil && int(at)+text.Len() < size {
		r := &Record{Sequence: last.sequence + 1, Previous: last.hash, Event: PruneDelete, Object: strings.Repeat("y", maxText)}
		var line []byte
		line, err = r.line()
		last = end{sequence: r.Sequence, hash: hashOf(line)}
		text.Write(append(line, '\n'))
	}
	if err == nil {
		_, err = f.Write(text.Bytes())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		p.t.Fatal(err)
	}
}

// TestTwoWriters: several logs, and several goroutines in each, write one chain.
func TestTwoWriters(t *testing.T) {
	p := newPlace(t)
	var wg sync.WaitGroup
	const logs, each = 4, 25
	for range logs {
		p.again()
		one := *p // its own log
		for range 2 {
			wg.Go(func() {
				for range each {
					Note(Into(t.Context(), one.Log), Event{Name: PruneDelete})
				}
			})
		}
	}
	wg.Wait()
	p.sound(2 * logs * each)
}

// TestCannotWrite: Note goes on and says so once, Require does not, and what was lost is counted by the next record.
func TestCannotWrite(t *testing.T) {
	p := newPlace(t)
	p.note(1)
	dir := filepath.Dir(p.path)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be: root cannot write there either
		t.Fatal(err)
	}
	p.note(2)
	if len(p.trouble) != 1 || !strings.Contains(p.trouble[0].Error(), "recorded nowhere") {
		t.Errorf("trouble: %v", p.trouble)
	}
	if err := Require(Into(t.Context(), p.Log), Event{Name: PruneBegin}); err == nil {
		t.Error("a prune may begin without its record")
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	p.note(1)
	if c := p.sound(2); c.Lost != 3 || !strings.Contains(c.String(), "3 could not be written") {
		t.Errorf("%s, lost %d", c, c.Lost)
	}
	nowhere := New(Config{Journal: filepath.Join(t.TempDir(), "none")})
	if err := Require(Into(t.Context(), nowhere), Event{Name: PruneBegin}); !errors.Is(err, ErrNoFile) {
		t.Errorf("without a file: %v", err)
	}
}

// TestLocked: a writer that does not let go is waited for for a while and no longer, and what could not be written is counted.
func TestLocked(t *testing.T) {
	p := newPlace(t)
	p.note(1)
	release, err := locked(p.path)
	if err != nil {
		t.Fatal(err)
	}
	p.note(1)
	if len(p.trouble) != 1 || !strings.Contains(p.trouble[0].Error(), "locked for "+lockWait.String()) {
		t.Errorf("trouble: %v", p.trouble)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	p.note(1)
	if c := p.sound(2); c.Lost != 1 {
		t.Errorf("%s, lost %d", c, c.Lost)
	}
}

// TestFullDisk: a line for which there is no room leaves nothing of itself.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("run as root: it mounts a small file system")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=16k", "drd-test", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	p := newPlace(t)
	p.path = filepath.Join(dir, FileName)
	p.again()
	var err error
	for range 100 {
		if err = Require(Into(t.Context(), p.Log), Event{Name: PruneDelete, Object: strings.Repeat("z", 500)}); err != nil {
			break
		}
	}
	if got := classOf(err, nil); got != "no-space" {
		t.Fatalf("%q: %v", got, err)
	}
	c, err := Verify(p.path)
	if err != nil || c.Records < 5 || len(c.Torn) > 0 {
		t.Errorf("%s, %v", c, err)
	}
}

// TestNoSymlink: a link is not followed.
func TestNoSymlink(t *testing.T) {
	p := newPlace(t)
	if err := os.Mkdir(filepath.Dir(p.path), 0o700); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Symlink(other, p.path); err != nil {
		t.Fatal(err)
	}
	p.note(1)
	if _, err := os.Lstat(other); !errors.Is(err, fs.ErrNotExist) || len(p.trouble) != 1 {
		t.Errorf("%v, trouble %v", err, p.trouble)
	}
}

// TestOpenToOthers: a mode that others can read by is told.
func TestOpenToOthers(t *testing.T) {
	p := newPlace(t)
	p.note(1)
	if err := os.Chmod(p.path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(p.path); err == nil || !strings.Contains(err.Error(), "open to others") {
		t.Error(err)
	}
}

// TestJournal: the journal gets the very line that the file has, and knows whose it is.
func TestJournal(t *testing.T) {
	p := newPlace(t)
	socket := filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p.cfg.Journal = socket
	receive := func() map[string]string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, tailRoom)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		fields := make(map[string]string)
		for line := range strings.Lines(string(buf[:n])) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			fields[name] = value
		}
		return fields
	}
	p.note(1)
	want := map[string]string{
		"MESSAGE": string(p.lines()[0]), "PRIORITY": "5", "SYSLOG_IDENTIFIER": "drd-audit", "DRD_EVENT": "object.decrypt",
		"DRD_OUTCOME": "done", "DRD_AUDIT_FILE": p.path,
	}
	if d := cmp.Diff(want, receive()); d != "" {
		t.Error(d)
	}
	Note(Into(t.Context(), p.Log), Event{Name: PruneDelete, Object: "a\nMESSAGE=forged", Err: errDamaged})
	got := receive()
	if got["PRIORITY"] != "4" || got["MESSAGE"] != string(p.lines()[1]) {
		t.Errorf("%v", got)
	}
	alone := New(Config{Journal: socket, Command: "drd restore", Trouble: func(err error) { t.Error(err) }})
	Note(Into(t.Context(), alone), Event{Name: RestoreBegin})
	if got := receive(); strings.Contains(got["MESSAGE"], "sequence") || !strings.Contains(got["MESSAGE"], "restore.begin") {
		t.Errorf("without a file: %v", got)
	}
}

// TestParseJournal reads both forms that journalctl writes a message in.
func TestParseJournal(t *testing.T) {
	line := []byte(`{"sequence":7,"time":"2026-11-22T10:00:00Z","event":"daemon.start"}`)
	text, err := json.Marshal(string(line))
	if err != nil {
		t.Fatal(err)
	}
	var numbers []string
	for _, b := range line {
		numbers = append(numbers, fmt.Sprint(b))
	}
	out := fmt.Sprintf("{\"MESSAGE\":%s,\"__CURSOR\":\"x\"}\n{\"MESSAGE\":[%s]}\n{\"MESSAGE\":\"other\"}\n", text, strings.Join(numbers, ","))
	got, err := parseJournal([]byte(out))
	one := Anchor{Sequence: 7, Hash: hashOf(line), Witness: Journal, Where: "the journal", Time: start}
	if d := cmp.Diff([]Anchor{one, one}, got); d != "" || err != nil {
		t.Errorf("%v: %s", err, d)
	}
	if _, err := parseJournal([]byte("{\"MESSAGE\":17}\n")); err == nil {
		t.Error("a number is no message")
	}
}
