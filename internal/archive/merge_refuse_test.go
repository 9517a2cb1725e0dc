package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/test/histories"
)

func (d *diary) mergeAll() (*Sealed, error) {
	return Merge(d.t.Context(), d.dir, d.keys.Recipients, repo.Build{Version: "test"}, d.sources, d.open)
}

// segment adds one with a stream that a script writes, of five seconds and some.
func (d *diary) segment(script func(w *Writer)) *repo.Segment {
	d.t.Helper()
	var content bytes.Buffer
	w := NewWriter(&content, d.next)
	script(w)
	d.next = w.Last() + 1
	d.take(w, &content, d.at.Add(5*time.Second+100*time.Millisecond))
	return d.sources[len(d.sources)-1].Segment
}

// TestMergeRefuses: what cannot be merged is named, and nothing is left on the disk.
func TestMergeRefuses(t *testing.T) {
	one := func(w *Writer) {
		w.Stamp(instant(1))
		if err := w.Append(put(w.Last()+1, 0, "a", "v", 0)); err != nil {
			panic(err)
		}
	}
	for name, tc := range map[string]struct {
		write func(d *diary)
		want  any // a pointer to the error that it wraps
		say   string
	}{
		"one": {func(d *diary) { d.segment(one) }, nil, "nothing to merge"},
		"a gap": {func(d *diary) {
			d.segment(one)
			d.next++
			d.segment(one)
		}, nil, "does not go on"},
		"a pause": {func(d *diary) {
			d.segment(one)
			d.at = d.at.Add(time.Second)
			d.segment(one)
		}, nil, "does not go on"},
		"late changes": {func(d *diary) {
			d.segment(one)
			d.segment(func(w *Writer) {
				w.LateStamp(instant(7))
				appendAll(d.t, w, put(11, 0, "a", "v", 0))
			})
		}, new(*JoinError), "seen late"},
		"a stamp before its time": {func(d *diary) {
			d.segment(one)
			d.segment(one)
		}, new(*JoinError), "seen before it begins"},
		"a stamp after its time": {func(d *diary) {
			d.segment(func(w *Writer) {
				w.Stamp(instant(6))
				appendAll(d.t, w, put(10, 0, "a", "v", 0))
			})
			d.segment(func(*Writer) {})
		}, new(*JoinError), "seen later than it begins"},
		"a segment that is gone": {func(d *diary) {
			d.segment(one)
			delete(d.content, d.segment(func(*Writer) {}).Name())
		}, new(*SegmentError), "does not exist"},
		"a segment that is cut short": {func(d *diary) {
			name := d.segment(one).Name()
			d.segment(func(*Writer) {})
			d.content[name] = d.content[name][:len(d.content[name])-1]
		}, new(*SegmentError), "cut short"},
		"a segment that holds something else": {func(d *diary) {
			d.segment(one).Events = 2
			d.segment(func(*Writer) {})
		}, new(*SegmentError), "recorded are 2"},
		"another hash of the last revision": {func(d *diary) {
			d.segment(one).LastRevisionSHA256 = strings.Repeat("0", 64)
			d.segment(func(*Writer) {})
		}, nil, "the last revision has hash"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDiary(t, 1)
			tc.write(d)
			s, err := d.mergeAll()
			if err == nil || !strings.Contains(err.Error(), tc.say) || tc.want != nil && !errors.As(err, tc.want) {
				t.Errorf("%+v, %v", s, err)
			}
			if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
				t.Errorf("%d files are left, %v", len(left), err)
			}
		})
	}
}

// TestMergedLeases: a lease that nobody could tell of at first is told when somebody could, and one that changed changes where it did.
func TestMergedLeases(t *testing.T) {
	d := newDiary(t, 1)
	for i, ttl := range []int64{0, 60, 60, 0, 90} {
		d.segment(func(w *Writer) {
			w.Stamp(d.at)
			w.Lease(7, ttl)
			appendAll(t, w, put(10+int64(i), 0, "a", "v", 7))
		})
	}
	s, err := d.mergeAll()
	if err != nil {
		t.Fatal(err)
	}
	d.sealed[s.Segment.Name()] = s
	var told []string
	err = walk(t.Context(), s.Segment, d.open, func(r Record) error {
		switch r.Kind {
		case KindLease:
			told = append(told, fmt.Sprint("lease ", r.Lease.TTL))
		case KindEntry:
			told = append(told, fmt.Sprint(r.Entry.Main))
		}
		return nil
	})
	if want := []string{"lease 0", "10", "lease 60", "11", "12", "lease 0", "13", "lease 90", "14"}; err != nil || !cmp.Equal(want, told) {
		t.Errorf("told were %q, %v", told, err)
	}
}

func TestMergedFacts(t *testing.T) {
	d := newDiary(t, 1)
	for i := range 4 {
		s := d.segment(func(*Writer) {})
		s.Checkpoints = nil
		for j := range 40 {
			s.Checkpoints = append(s.Checkpoints, repo.Checkpoint{Revision: int64(30*i + j + 1), CompactRevision: 1, Hash: 5, Member: "8e9e"})
		}
		s.ClockSkewNote = fmt.Sprintf("the wall clock was %d s behind times already recorded, which were held", i/2+1)
	}
	d.sources[3].Segment.LastRevisionSHA256 = strings.Repeat("ab", 32)
	s, err := d.mergeAll()
	if err != nil {
		t.Fatal(err)
	}
	m := s.Segment
	if n := len(m.Checkpoints); n != 64 || m.Checkpoints[0].Revision != 67 || m.Checkpoints[63].Revision != 130 {
		t.Errorf("%d checkpoints: %+v", n, m.Checkpoints)
	}
	if want := "the wall clock was 1 s behind times already recorded, which were held; the wall clock was 2 s behind times already recorded, which were held"; m.ClockSkewNote != want {
		t.Errorf("note %q", m.ClockSkewNote)
	}
	if !m.Silence() || m.LastRevisionSHA256 != strings.Repeat("ab", 32) || m.Merged.Last != d.sources[3].Digest || m.Merged.Segments[0] != d.sources[0].Segment.Name().Hash {
		t.Errorf("%+v", m)
	}
	again := newDiary(t, 1)
	again.sources = []Source{{Segment: m, Digest: strings.Repeat("0", 64)}}
	again.at, again.next, again.keys = d.at, d.next, d.keys
	again.sealed[m.Name()] = s
	next := again.segment(func(*Writer) {})
	more, err := again.mergeAll()
	if err != nil {
		t.Fatal(err)
	}
	if more.Segment.Merged.Last != again.sources[1].Digest || !more.Segment.Replaces(m.Name()) || !more.Segment.Replaces(next.Name()) {
		t.Errorf("%+v", more.Segment.Merged)
	}
	if got := mergedOf([]Source{again.sources[1], again.sources[0]}).Last; got != m.Merged.Last {
		t.Errorf("a merged one at the end: %s", got)
	}
}

func TestJoinNotes(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 40} {
		var notes []string
		for i := range n {
			notes = append(notes, fmt.Sprintf("the wall clock was %d s behind times already recorded, which were held", i))
		}
		got := joinNotes(notes)
		if len(got) > maxNote || (n == 0) != (got == "") || strings.Contains(got, "more") != (n > 2) {
			t.Errorf("of %d: %q", n, got)
		}
	}
	if got := joinNotes([]string{strings.Repeat("x", maxNote), "y"}); got != strings.Repeat("x", maxNote) {
		t.Errorf("%q", got)
	}
}

// TestMergeStops: it ends soon after its context does.
func TestMergeStops(t *testing.T) {
	d := newDiary(t, 1)
	d.segment(func(*Writer) {})
	d.segment(func(*Writer) {})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Merge(ctx, d.dir, d.keys.Recipients, repo.Build{Version: "test"}, d.sources, func(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
		cancel()
		return nil, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestMergedLive: a real etcd's random history, archived in small segments and merged twice, comes back at every revision of which the live
// member gave a hash, with its leases.
func TestMergedLive(t *testing.T) {
	live := histories.New(t, "3.6", 5)
	live.Write(60)
	base := catalogued(live.Snapshot())
	live.Write(300)
	events := live.UpTo(live.Snapshot().Revision)
	d := newDiary(t, 1)
	d.next = base.Manifest.Revision + 1
	d.at = instant(0.3)
	for len(events) > 0 && events[0].Main < d.next {
		events = events[1:]
	}
	for len(events) > 0 {
		last := events[0].Main + d.random.Int64N(7)
		d.segment(func(w *Writer) {
			w.Stamp(d.at)
			for ; len(events) > 0 && events[0].Main <= last; events = events[1:] {
				kv, err := mvcc.ParseValue(events[0].Value)
				if err != nil {
					t.Fatal(err)
				}
				if kv.Lease != 0 {
					w.Lease(kv.Lease, live.Granted[kv.Lease])
				}
				appendAll(t, w, events[0])
			}
		})
	}
	left := d.merge(append(d.merge(d.sources[:len(d.sources)/2]), d.merge(d.sources[len(d.sources)/2:])...))
	if len(left) != 1 {
		t.Fatalf("%d segments are left of %d", len(left), len(d.sources))
	}
	h := d.history(base.Entry, left)
	proved := 0
	for _, p := range live.Recorded {
		if p.Revision <= base.Manifest.Revision || p.CompactRevision < base.Manifest.CompactRevision {
			continue
		}
		c, err := h.AtRevision(p.Revision)
		if err != nil {
			t.Fatal(err)
		}
		db := base.scratch(t)
		out, err := c.Apply(t.Context(), db, p.Revision, d.open)
		if err != nil {
			t.Fatal(err)
		}
		if got := hashOf(t, db, p.Revision, p.CompactRevision).Value; got != p.Hash {
			t.Errorf("revision %d: hash %d, the live member had %d", p.Revision, got, p.Hash)
		}
		checkLeases(t, db, out, live.Granted)
		proved++
	}
	if t.Logf("%d segments, %d revisions proved", len(d.sources), proved); proved < 30 {
		t.Error("that proves little")
	}
}
