package members

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(minutes int) time.Time {
	return time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

// said is an answer of a member, given some minutes after the beginning.
func said(member string, revision, compact int64, hash uint32, minutes int) entry {
	return entry{
		Triple:     Triple{Member: member, Revision: revision, CompactRevision: compact, Hash: hash, Seen: at(minutes), EtcdClusterID: "c"},
		Compaction: true, Term: 2, Index: uint64(revision),
	}
}

func openLog(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := OpenLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func add(t *testing.T, l *Log, minutes int, entries ...entry) {
	t.Helper()
	if err := l.add(entries, at(minutes)); err != nil {
		t.Fatal(err)
	}
}

func TestCovering(t *testing.T) {
	l := openLog(t, t.TempDir())
	add(t, l, 5,
		said("a", 10, -1, 1, 0), said("a", 20, 10, 2, 1), said("b", 20, 10, 2, 1), said("a", 30, 20, 3, 2),
		said("a", 40, 20, 4, 3), said("a", 50, 20, 5, 4), said("b", 60, 50, 6, 5))
	for _, tt := range []struct {
		name              string
		revision, compact int64
		want              []int64 // revisions
	}{
		{"a copy that was never compacted", 20, -1, []int64{20, 20, 10}},
		{"compacted like the triple", 20, 10, []int64{20, 20}},
		{"the triple is newer than the copy", 19, 10, nil},
		{"the copy was compacted later", 29, 11, nil},
		{"three of each member", 60, -1, []int64{60, 50, 40, 30, 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []int64
			for _, triple := range l.Covering(tt.revision, tt.compact) {
				got = append(got, triple.Revision)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLogSurvives a restart, a line that a crash tore in the middle, and lines that are no answers at all.
func TestLogSurvives(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, logName)
	l := openLog(t, dir)
	add(t, l, 0, said("a", 10, -1, 1, 0))
	add(t, l, 1, said("b", 10, -1, 1, 1))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("{}\nnull\n\x00\x00\x00\n"), text[:len(text)-9]...), 0o600); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir)
	add(t, l, 2, said("c", 10, -1, 1, 2))
	var got []string
	for _, e := range openLog(t, dir).all() {
		got = append(got, e.Member)
	}
	if diff := cmp.Diff([]string{"a", "c"}, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestLogRepeats: a member that goes on to say the same keeps its first and its last time, and adds a line now and then only.
func TestLogRepeats(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	for minute := range 61 {
		add(t, l, minute, said("a", 10, -1, 1, minute))
	}
	if got := l.all(); len(got) != 1 || !got[0].Seen.Equal(at(60)) || !l.Since().Equal(at(0)) {
		t.Errorf("%+v since %s", got, l.Since())
	}
	text, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n != 3 {
		t.Errorf("%d lines, want one for each half hour", n)
	}
	again := openLog(t, dir)
	if got := again.all(); len(got) != 1 || !got[0].Seen.Equal(at(60)) || !again.Since().Equal(at(0)) {
		t.Errorf("after a restart: %+v since %s", got, again.Since())
	}
}

// TestLogIsBounded in number, in time and on disk.
func TestLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	const batch = 500
	for i := range 40 {
		var entries []entry
		for k := range batch {
			entries = append(entries, said("a", int64(i*batch+k+1), -1, 1, i))
		}
		add(t, l, i, entries...)
	}
	if got := l.all(); len(got) != maxTriples || got[len(got)-1].Revision != 40*batch {
		t.Errorf("%d triples", len(got))
	}
	text, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n > maxTriples+slack {
		t.Errorf("%d lines on disk", n)
	}
	if got := openLog(t, dir).all(); got[len(got)-1].Revision != 40*batch {
		t.Errorf("the newest on disk is %+v", got[len(got)-1])
	}

	week := 7*24*60 + 41
	add(t, l, week, said("a", 1<<30, -1, 1, week))
	if got := openLog(t, dir).all(); len(got) != 1 || got[0].Revision != 1<<30 {
		t.Errorf("%d triples after a week", len(got))
	}
}

func TestLogThatCannotBeWritten(t *testing.T) {
	l := openLog(t, filepath.Join(t.TempDir(), "missing"))
	if err := l.add([]entry{said("a", 10, -1, 1, 0)}, at(0)); err == nil {
		t.Error("no error")
	}
	if len(l.Covering(10, -1)) != 1 {
		t.Error("and nothing is remembered")
	}
}
