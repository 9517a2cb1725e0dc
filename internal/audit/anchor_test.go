package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newest is the end of the log in p, which must have one.
func (p *place) newest() *Newest {
	p.t.Helper()
	n, err := NewestOf(Into(p.t.Context(), p.Log))
	if err != nil || n == nil {
		p.t.Fatalf("%+v, %v", n, err)
	}
	return n
}

// anchor is what a snapshot would keep of the log's end, at a time of the tests' clock.
func (p *place) anchor(name string, after time.Duration) Anchor {
	p.t.Helper()
	n := p.newest()
	return Anchor{Sequence: n.Sequence, Hash: n.Hash, Witness: Snapshots, Where: "snapshot " + name, Time: start.Add(after)}
}

func TestNewest(t *testing.T) {
	if n, err := NewestOf(t.Context()); n != nil || err != nil {
		t.Errorf("without a log: %+v, %v", n, err)
	}
	if n, err := NewestOf(Into(t.Context(), New(Config{}))); n != nil || err != nil {
		t.Errorf("without a file: %+v, %v", n, err)
	}
	p := newPlace(t)
	if n, err := NewestOf(Into(t.Context(), p.Log)); n != nil || err != nil {
		t.Errorf("without a record: %+v, %v", n, err)
	}
	if left, err := os.ReadDir(filepath.Dir(filepath.Dir(p.path))); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	p.note(3)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := &Newest{Host: host, Sequence: 3, Hash: hashOf(p.lines()[2])}
	check := func(when string) {
		t.Helper()
		if d := cmp.Diff(want, p.newest()); d != "" {
			t.Errorf("%s: %s", when, d)
		}
	}
	check("whole")
	p.append(`{"sequence":4,"ti`)
	check("after a torn line")
	p.again()
	p.note(1)
	want = &Newest{Host: host, Sequence: 4, Hash: hashOf(p.lines()[4])}
	check("after the torn line")
	if err := rotate(p.path, end{sequence: 4}); err != nil {
		t.Fatal(err)
	}
	check("while the new file is not there yet")
	p.append("")
	check("while nothing is in it")
	p.append(`{"sequ`)
	check("while nothing whole is in it")
	p.again()
	p.note(1)
	if n := p.newest(); n.Sequence != 5 {
		t.Errorf("after it went on: %+v", n)
	}
	p.sound(5)
	if err := errors.Join(os.Remove(p.path), os.Mkdir(p.path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if n, err := NewestOf(Into(t.Context(), p.Log)); err == nil || !strings.Contains(err.Error(), "read the end of the audit log") {
		t.Errorf("unreadable: %+v, %v", n, err)
	}
}

// append adds text to the file as it is.
func (p *place) append(text string) {
	p.t.Helper()
	f, err := openFile(p.path)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		p.t.Fatal(err)
	}
}

// TestNewestWhileOthersWrite: what is read while several write is always a record that the log has.
func TestNewestWhileOthersWrite(t *testing.T) {
	p := newPlace(t)
	p.note(1)
	var writers sync.WaitGroup
	cfg := p.cfg
	cfg.Now = nil // that of the tests is not for several
	for range 3 {
		l := New(cfg)
		writers.Go(func() {
			for range 20 {
				Note(Into(t.Context(), l), Event{Name: PruneDelete})
			}
		})
	}
	var anchors []Anchor
	for i := range 20 {
		anchors = append(anchors, p.anchor(fmt.Sprint(i), 0))
		time.Sleep(5 * lockPoll) // a slow disk holds the lock most of the time, and those who write wait for lockWait only
	}
	writers.Wait()
	c, err := Verify(p.path, anchors...)
	if err != nil || c.Records != 61 || c.Matched[Snapshots] != 20 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestAnchors: what a witness knows is in the log, or it is told what became of the log.
func TestAnchors(t *testing.T) {
	cut := func(n int) func(p *place) { return func(p *place) { p.write(p.lines()[:n]); p.again() } }
	anew := func(p *place) { p.remove(); p.againAt(start.Add(time.Hour)) }
	for name, c := range map[string]struct {
		change func(p *place) // of a log with 6 records, of which snapshot A knows the third, B the fifth and C the sixth
		more   int            // records after that
		kind   error
		want   []string // all problems
	}{
		"as it was":             {func(*place) {}, 0, nil, nil},
		"went on":               {func(p *place) { p.again() }, 4, nil, nil},
		"cut off":               {cut(4), 0, ErrTampered, []string{"it ends with record 4, of 2026-11-22T10:00:04Z, and snapshot C has record 6: its end was cut off"}},
		"cut off a little":      {cut(5), 0, ErrTampered, []string{"it ends with record 5, of 2026-11-22T10:00:05Z, and snapshot C has record 6"}},
		"cut off and continued": {cut(4), 5, ErrTampered, []string{"audit.jsonl:5, record 5, is another one than snapshot B has, and 1 more are: its end was cut off and it went on"}},
		"partly continued": {cut(2), 2, ErrTampered, []string{
			"audit.jsonl:3, record 3, is another one than snapshot A has: its end", "it ends with record 4, of 2026-11-22T10:00:02Z, and snapshot C has record 6",
		}},
		"removed":     {func(p *place) { p.remove() }, 0, ErrTampered, []string{"there is none, and snapshot C has record 6"}},
		"begun anew":  {anew, 2, ErrReplaced, []string{"it begins with record 1, of 2026-11-22T11:00:01Z, and before that there was record 6, which snapshot C has: the state directory is a new one, the log was removed, or the clock was wrong"}},
		"longer anew": {anew, 9, ErrReplaced, []string{"begins with record 1, of 2026-11-22T11:00:01Z, and before that there was record 6, which snapshot C has"}},
		"dated back":  {func(p *place) { p.remove(); p.againAt(start.Add(-time.Hour)) }, 9, ErrTampered, []string{"record 3, is another one than snapshot A has, and 2 more are"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var anchors []Anchor
			for i, snapshot := range []string{"", "", "A", "", "B", "C"} {
				p.note(1)
				if snapshot != "" {
					anchors = append(anchors, p.anchor(snapshot, time.Duration(i+1)*time.Second))
				}
			}
			c.change(p)
			p.note(c.more)
			chain, err := Verify(p.path, anchors...)
			if c.kind == nil {
				if err != nil || chain.Matched[Snapshots] != 3 {
					t.Errorf("%+v, %v", chain, err)
				}
				return
			}
			if !errors.Is(err, c.kind) {
				t.Fatalf("%v, want %v", err, c.kind)
			}
			told := strings.Split(err.Error(), "\n")
			for i, want := range c.want {
				if len(told) != len(c.want) || !strings.Contains(told[i], want) {
					t.Errorf("told: %q, want %q", told, c.want)
				}
			}
		})
	}
}

// TestWitnesses: of each is told what it knows.
func TestWitnesses(t *testing.T) {
	p := newPlace(t)
	p.note(4)
	ofSnapshot := p.anchor("A", time.Hour)
	ofJournal := Anchor{Sequence: 3, Hash: hashOf(p.lines()[2]), Witness: Journal, Where: "the journal"}
	p.write(p.lines()[:2])
	_, err := Verify(p.path, ofJournal, ofSnapshot)
	if err == nil || !strings.Contains(err.Error(), "the journal has record 3") || !strings.Contains(err.Error(), "snapshot A has record 4") {
		t.Error(err)
	}
}

// TestOlder: what a witness knows of files that were taken away cannot be compared, and that is told.
func TestOlder(t *testing.T) {
	p := newPlace(t)
	p.note(3)
	old := p.anchor("old", 0)
	if err := rotate(p.path, end{sequence: 3}); err != nil {
		t.Fatal(err)
	}
	p.note(2)
	current := p.anchor("new", 0)
	c, err := Verify(p.path, old, current)
	if err != nil || c.Files != 2 || c.Matched[Snapshots] != 2 || len(c.Older) > 0 {
		t.Errorf("both files: %+v, %v", c, err)
	}
	if err := os.Remove(rotatedName(p.path, 3)); err != nil {
		t.Fatal(err)
	}
	c, err = Verify(p.path, old, current)
	if err != nil || c.First != 4 || c.Matched[Snapshots] != 1 {
		t.Errorf("without the old file: %+v, %v", c, err)
	}
	if d := cmp.Diff([]Anchor{old}, c.Older); d != "" {
		t.Error(d)
	}
}

func (p *place) remove() {
	p.t.Helper()
	if err := os.Remove(p.path); err != nil {
		p.t.Fatal(err)
	}
}
