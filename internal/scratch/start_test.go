package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// TestChecked: what is wrong before anything starts.
func TestChecked(t *testing.T) {
	member := live(t, "3.7")
	good := restored(t, member, member.Client(t))
	for _, tc := range []struct {
		name   string
		change func(*Data, *string)
		want   string
	}{
		{"in use", func(d *Data, _ *string) { d.Dir = member.DataDir() }, "is in use: its database is locked"},
		{"not there", func(d *Data, _ *string) { d.Dir = filepath.Join(d.Dir, "none") }, "no such file or directory"},
		{"no log", func(d *Data, _ *string) { d.Dir = withoutLog(t, d.Dir) }, "holds no member"},
		{"other members", func(d *Data, _ *string) { d.InitialCluster += ",n2=http://127.0.0.1:1" }, "as the only member"},
		{"another name", func(d *Data, _ *string) { d.Name = "other" }, `want "other" as the only member`},
		{"no cluster", func(d *Data, _ *string) { d.InitialCluster = "" }, "as the only member"},
		{"peer URL", func(d *Data, _ *string) { d.PeerURL = "node-1" }, "peer URL: "},
		{"sockets for everybody", func(_ *Data, dir *string) { *dir = open(t) }, "only its owner may enter"},
		{"no directory", func(_ *Data, dir *string) { *dir = filepath.Join(*dir, "none") }, "no such file or directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, dir := good, socketDir(t)
			tc.change(&d, &dir)
			_, err := embedded(t).Start(t.Context(), dir, d)
			if err == nil || !strings.Contains(err.Error(), tc.want) || blamed(err) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// blamed reports whether an error says that an etcd has met the data.
func blamed(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrKilled) || errors.Is(err, ErrStalled)
}

func withoutLog(tb testing.TB, dataDir string) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.CopyFS(dir, os.DirFS(dataDir)); err != nil {
		tb.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		tb.Fatal(logs, err)
	}
	for _, l := range logs {
		if err := os.Remove(l); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func open(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func TestNoProgram(t *testing.T) {
	d := restoredFrom(t, "3.7")
	for _, l := range []Launcher{{}, {Binary: "/no/such/etcd"}, {Command: []string{"/no/such/drd", etcdChild}}} {
		if _, err := l.Start(t.Context(), socketDir(t), d); err == nil || blamed(err) {
			t.Errorf("start of %+v: %v", l, err)
		}
	}
}

// TestRefused: an etcd that cannot make sense of the data says so itself.
func TestRefused(t *testing.T) {
	good := restoredFrom(t, "3.7")
	for name, l := range map[string]Launcher{"embedded": embedded(t), "program": binary(t, "3.7")} {
		for _, damaged := range []string{"member/wal/*.wal", "member/snap/db"} {
			t.Run(name+"/"+filepath.Base(damaged), func(t *testing.T) {
				d := good
				d.Dir = t.TempDir()
				if err := os.CopyFS(d.Dir, os.DirFS(good.Dir)); err != nil {
					t.Fatal(err)
				}
				spoil(t, filepath.Join(d.Dir, damaged))
				_, err := l.Start(t.Context(), socketDir(t), d)
				if !errors.Is(err, ErrRefused) || errors.Is(err, ErrKilled) {
					t.Fatalf("start: %v", err)
				}
				// Its own words, which differ between versions: a panic, or a message.
				said := err.Error()
				if !strings.Contains(said, "exit status ") || strings.Contains(said, "it said nothing") || strings.ContainsAny(said, "\n\t\x1b") {
					t.Errorf("start: %q", said)
				}
			})
		}
	}
}

// spoil overwrites the beginning of the files that a pattern names.
func spoil(tb testing.TB, pattern string) {
	tb.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		tb.Fatal(files, err)
	}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			tb.Fatal(err)
		}
		_, err = f.WriteAt([]byte(strings.Repeat("damage", 4096)), 16)
		if closing := f.Close(); err != nil || closing != nil {
			tb.Fatal(err, closing)
		}
	}
}

// TestStalled: neither silence nor endless complaints are waited for.
func TestStalled(t *testing.T) {
	d := restoredFrom(t, "3.7")
	for _, tc := range []struct {
		name, script string
		limit        Launcher
		want         string
	}{
		{"silent", "echo loading; exec sleep 60", Launcher{StartStall: 200 * time.Millisecond, wholeTime: patient}, "no progress for 200ms"},
		{"chatty", "exec yes complaint", Launcher{StartStall: patient, wholeTime: 3 * time.Second}, "it does not serve after 3s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := tc.limit
			l.Command = []string{"/bin/sh", "-c", tc.script}
			_, err := l.Start(t.Context(), socketDir(t), d)
			if !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("start: %v", err)
			}
		})
	}
}

// TestPatience: a start that makes progress all the time is waited for 30 times as long as one that makes none.
func TestPatience(t *testing.T) {
	for stall, want := range map[time.Duration]patience{0: {time.Minute, 30 * time.Minute}, 200 * time.Millisecond: {200 * time.Millisecond, 6 * time.Second}} {
		if got := (Launcher{StartStall: stall}).patience(); got != want {
			t.Errorf("with %s: %+v, want %+v", stall, got, want)
		}
	}
}

// TestProgress: words are progress, and so is work; a process that waits makes none.
func TestProgress(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	c := &child{process: self, log: new(speech)}
	long := time.Now().Add(-time.Hour)
	much := work{loads: 1 << 40, ticks: 1 << 40} // more than this process will ever do

	p := progress{since: long, done: much}
	if p.look(c); !p.since.Equal(long) {
		t.Error("a process that does nothing makes progress")
	}
	hear(t, c.log, info)
	if p.look(c); p.since.Equal(long) || p.logged != int64(len(info)) {
		t.Error("words are no progress")
	}

	before := workOf(self.Pid)
	for begin := time.Now(); time.Since(begin) < time.Minute && workOf(self.Pid).ticks-before.ticks < minWork; {
	}
	p = progress{since: long, logged: c.log.size(), done: work{loads: much.loads, ticks: before.ticks}}
	if p.look(c); p.since.Equal(long) {
		t.Error("work is no progress")
	}
	if gone := workOf(1 << 30); gone != (work{}) {
		t.Errorf("nobody has done %+v", gone)
	}
}

func TestMainRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, args := range [][]string{nil, {"{}", "{}"}, {"no JSON"}, {`{"peer_url": "node-1"}`}} {
		if code := Main(t.Context(), args); code != 1 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func TestDisableAuth(t *testing.T) {
	dir := t.TempDir()
	if err := DisableAuth(dir); err == nil {
		t.Error("there is no database")
	}
	if err := os.MkdirAll(filepath.Join(dir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(database(dir), []byte(strings.Repeat("no database", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := DisableAuth(dir); err == nil {
		t.Error("it is no database")
	}

	dir = restoredFrom(t, "3.7").Dir
	for range 2 {
		if err := DisableAuth(dir); err != nil {
			t.Fatal(err)
		}
	}
	db, err := bolt.Open(database(dir), 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := DisableAuth(dir); err == nil {
		t.Error("the database is open")
	}
	err = db.View(func(tx *bolt.Tx) error {
		if value := tx.Bucket([]byte("auth")).Get([]byte("authEnabled")); len(value) != 1 || value[0] != 0 {
			return fmt.Errorf("authEnabled is %v", value)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "meminfo")
	if err := os.WriteFile(file, []byte("MemTotal:       8000000 kB\nMemAvailable:    2000 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := availableMemory(file); got != 2000<<10 {
		t.Errorf("%d bytes available", got)
	}
	if got := availableMemory(file + "-none"); got != 0 {
		t.Errorf("%d bytes available of nobody knows what", got)
	}
	if got := defaultMemory(1 << 50); got <= 0 || got > 1<<49 {
		t.Errorf("%d bytes, more than any machine has", got)
	}
}

// TestTinyMemory: a limit that a small store keeps to anyway does no harm.
func TestTinyMemory(t *testing.T) {
	l := embedded(t)
	l.MemoryLimit = 128 << 20
	e := start(t, l, socketDir(t), restoredFrom(t, "3.7"))
	if got := read(t, e); got != testValue {
		t.Errorf("%q", got)
	}
	if err := e.Stop(); err != nil {
		t.Error(err)
	}
}

func TestAnEndedContextStartsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	mark := filepath.Join(t.TempDir(), "started")
	l := Launcher{Command: []string{"/bin/sh", "-c", "echo started >" + mark}}
	if _, err := l.Start(ctx, socketDir(t), restoredFrom(t, "3.7")); !errors.Is(err, context.Canceled) {
		t.Errorf("start: %v", err)
	}
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the program has run: %v", err)
	}
}
