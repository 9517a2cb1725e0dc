package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
)

const line = "00000000000000a1"

func instant(seconds float64) time.Time {
	return time.Unix(second0, 0).Add(time.Duration(seconds * float64(time.Second))).UTC()
}

// snap is a restorable snapshot, captured from one instant to half a second later.
func snap(compact, revision int64, at float64) repo.Entry {
	return repo.Entry{
		ID: repo.ID{Time: instant(at), Revision: revision, Member: 1}, State: repo.StateOK,
		Manifest: &repo.Manifest{
			Timeline: line, Revision: revision, CompactRevision: compact, CaptureStart: instant(at), CaptureEnd: instant(at + 0.5),
			Object: repo.Object{Size: 1},
		},
		Payload: storage.Object{Key: "x", Size: 1},
	}
}

// seg is a usable segment.
func seg(first, last int64, from, to float64) repo.SegmentEntry {
	s := &repo.Segment{
		Timeline: line, First: first, Last: last, Events: last - first + 1, From: instant(from), To: instant(to),
		Object: repo.Object{SHA256: strings.Repeat("0", 64), Size: 100 + last - first},
	}
	return repo.SegmentEntry{Name: s.Name(), State: repo.StateOK, Segment: s}
}

// possible is the truth about what can be restored, found by trying: the fewest objects for each revision.
func possible(snapshots []repo.Entry, segments []repo.SegmentEntry, most int64) map[int64]int {
	fewest := map[int64]int{}
	note := func(revision int64, n int) bool {
		if old, known := fewest[revision]; known && old <= n {
			return false
		}
		fewest[revision] = n
		return true
	}
	ends := map[int64]int{} // revisions to which a whole store leads
	for _, e := range snapshots {
		for r := oldest(&e); r <= e.Manifest.Revision; r++ {
			note(r, 1)
		}
		ends[e.Manifest.Revision] = 1
	}
	for changed := true; changed; {
		changed = false
		for at, n := range ends {
			for _, e := range segments {
				if e.Segment.First > at+1 || e.Segment.Last <= at {
					continue
				}
				for r := at + 1; r <= e.Segment.Last; r++ {
					changed = note(r, n+1) || changed
					if old, known := ends[r]; !known || old > n+1 {
						ends[r] = n + 1
					}
				}
			}
		}
	}
	return fewest
}

func drawHistory(t *rapid.T) (snapshots []repo.Entry, segments []repo.SegmentEntry) {
	for i := range rapid.IntRange(0, 4).Draw(t, "snapshots") {
		revision := rapid.Int64Range(1, 40).Draw(t, "revision")
		compact := rapid.OneOf(rapid.Just(int64(-1)), rapid.Int64Range(1, revision)).Draw(t, "compact")
		snapshots = append(snapshots, snap(compact, revision, float64(i)))
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "segments") {
		first := rapid.Int64Range(1, 40).Draw(t, "first")
		segments = append(segments, seg(first, first+rapid.Int64Range(-1, 12).Draw(t, "length"), float64(i), float64(i)))
	}
	return snapshots, segments
}

func TestChainsAreShortestAndWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snapshots, segments := drawHistory(t)
		h := NewHistory(line, snapshots, segments, false)
		truth := possible(snapshots, segments, 60)
		window := map[int64]bool{}
		for _, r := range h.Window() {
			for revision := r.First; revision <= r.Last; revision++ {
				window[revision] = true
			}
		}
		for revision := int64(1); revision <= 60; revision++ {
			objects, can := truth[revision]
			if window[revision] != can {
				t.Fatalf("revision %d: in the window %v, can be restored %v", revision, window[revision], can)
			}
			c, err := h.AtRevision(revision)
			if !can {
				checkUnreachable(t, err, revision, truth)
				continue
			}
			if err != nil {
				t.Fatalf("revision %d: %v", revision, err)
			}
			checkChain(t, c, revision)
			if got := 1 + len(c.Segments); got != objects {
				t.Fatalf("revision %d: %d objects, %d are enough", revision, got, objects)
			}
		}
		checkHoles(t, h.Window(), truth)
	})
}

func checkChain(t *rapid.T, c *Chain, revision int64) {
	if c.Low != revision || c.High != revision || c.Clock != nil || oldest(c.Base) > revision {
		t.Fatalf("chain %+v for revision %d", c, revision)
	}
	at := c.Base.Manifest.Revision
	for _, e := range c.Segments {
		if at >= revision || e.Segment.First > at+1 || e.Segment.Last <= at {
			t.Fatalf("segment %s after revision %d, to reach %d", e.Name, at, revision)
		}
		at = e.Segment.Last
	}
	if at < revision {
		t.Fatalf("the chain ends at %d, not at %d", at, revision)
	}
}

func checkUnreachable(t *rapid.T, err error, revision int64, truth map[int64]int) {
	var u *Unreachable
	if !errors.As(err, &u) || !errors.Is(err, repo.ErrNothing) || u.Revision != revision {
		t.Fatalf("revision %d: %v", revision, err)
	}
	var before, after int64
	for r := range truth {
		if r < revision {
			before = max(before, r)
		} else if after == 0 || r < after {
			after = r
		}
	}
	if got := pointRevision(u.Before); got != before {
		t.Fatalf("revision %d: before is %d, want %d", revision, got, before)
	}
	if got := pointRevision(u.After); got != after {
		t.Fatalf("revision %d: after is %d, want %d", revision, got, after)
	}
	if u.MissingFirst != before+1 || u.MissingLast != 0 && (u.MissingLast < u.MissingFirst || after != 0 && u.MissingLast >= after) {
		t.Fatalf("revision %d: missing are %d to %d between %d and %d", revision, u.MissingFirst, u.MissingLast, before, after)
	}
}

func pointRevision(p *Point) int64 {
	if p == nil {
		return 0
	}
	return p.Revision
}

func checkHoles(t *rapid.T, ranges []Range, truth map[int64]int) {
	for i := 1; i < len(ranges); i++ {
		first, last := ranges[i-1].Last+1, ranges[i].First-1
		if first > last {
			t.Fatalf("no hole between %+v and %+v", ranges[i-1], ranges[i])
		}
		for r := first; r <= last; r++ {
			if truth[r] != 0 {
				t.Fatalf("revision %d is in the hole from %d to %d and can be restored", r, first, last)
			}
		}
	}
}

func TestUnusableObjectsDoNotCount(t *testing.T) {
	snapshots := []repo.Entry{snap(-1, 10, 0), snap(-1, 20, 1)}
	snapshots[1].State = repo.StateUnknownSigner
	segments := []repo.SegmentEntry{seg(11, 20, 0, 1), seg(11, 30, 0, 2), seg(11, 40, 0, 3)}
	segments[0].State = repo.StatePayloadMissing
	segments[1].Segment.Timeline = "00000000000000b2"
	h := NewHistory(line, snapshots, segments, false)
	if got := h.Window(); len(got) != 1 || got[0].Last != 40 {
		t.Errorf("window %+v", got)
	}
	h = h.Without(segments[2].Name.String())
	if got := h.Window(); len(got) != 1 || got[0].Last != 10 {
		t.Errorf("window without the last: %+v", got)
	}
	if _, err := h.Without(snapshots[0].ID.String()).Latest(); !errors.Is(err, repo.ErrNothing) {
		t.Errorf("nothing left: %v", err)
	}
	if c, err := h.Latest(); err != nil || c.High != 10 {
		t.Errorf("latest %+v, %v", c, err)
	}
}

func TestUnreachableSaysWhy(t *testing.T) {
	for name, tc := range map[string]struct {
		snapshots []repo.Entry
		segments  []repo.SegmentEntry
		revision  int64
		at        float64 // when revision is 0
		want      string
	}{
		"a gap": {
			[]repo.Entry{snap(-1, 10, 0), snap(90, 100, 9)}, []repo.SegmentEntry{seg(11, 60, 1, 2), seg(80, 95, 3, 4)}, 70, 0,
			"revision 70 cannot be restored: revisions 61 to 79 are missing; the newest point before it is revision 60 of 2026-11-18T11:06:42Z, the oldest after it revision 90",
		},
		"beyond all": {
			[]repo.Entry{snap(-1, 10, 0)}, nil, 11, 0,
			"revision 11 cannot be restored: nothing holds the revisions from 11 on; the newest point before it is revision 10 of 2026-11-18T11:06:40Z, none after it",
		},
		"before all": {
			[]repo.Entry{snap(5, 10, 0)}, nil, 4, 0,
			"revision 4 cannot be restored: revisions 1 to 4 are missing; no point before it can be restored, the oldest after it revision 5",
		},
		"nothing at all": {
			nil, nil, 4, 0,
			"revision 4 cannot be restored: nothing holds the revisions from 1 on; no point before it can be restored, none after it",
		},
		"a time that nobody tells of": {
			[]repo.Entry{snap(-1, 10, 0)}, []repo.SegmentEntry{seg(11, 20, 1, 2), seg(21, 30, 5, 6), seg(22, 30, 5, 6)}, 0, 9,
			"the revision of 2026-11-18T11:06:49Z is not known: no segment tells what happened at that time; the newest point before it is revision 30 of 2026-11-18T11:06:46Z, none after it",
		},
		"a time behind a gap": {
			[]repo.Entry{snap(-1, 10, 0)}, []repo.SegmentEntry{seg(21, 30, 5, 6)}, 0, 6,
			"the revision of 2026-11-18T11:06:46Z cannot be restored: revisions 11 to 20 are missing; the newest point before it is revision 10 of 2026-11-18T11:06:40Z, none after it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHistory(line, tc.snapshots, tc.segments, false)
			_, err := h.AtRevision(tc.revision)
			if tc.revision == 0 {
				_, err = h.AtTime(instant(tc.at))
			}
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// plain opens streams that are kept in memory, by name.
type plain map[repo.SegmentName][]byte

func (p plain) open(_ context.Context, s *repo.Segment) (io.ReadCloser, error) {
	content, ok := p[s.Name()]
	if !ok {
		return nil, storage.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

// written is a segment with a stream: the changes of revisions first to last, each seen at its time.
func (p plain) written(t *rapid.T, first, last int64, from, to float64, seen []int64) repo.SegmentEntry {
	var content bytes.Buffer
	w := NewWriter(&content, first)
	for r := first; r <= last; r++ {
		w.Stamp(instant(float64(seen[r])))
		if err := w.Append(put(r, 0, "k", "", 0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	e := seg(first, last, from, to)
	sum := sha256.Sum256(fmt.Append(nil, len(p)))
	e.Segment.Object.SHA256 = hex.EncodeToString(sum[:])
	e.Name = e.Segment.Name()
	p[e.Name] = content.Bytes()
	return e
}

// Wherever segments are cut, and however they overlap, the archive tells the revision of every second that it covers.
func TestRevisionAtEverySecond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const seconds = 20
		seen := []int64{0, 0} // second in which each revision was seen; there is no revision 0
		for len(seen) < 40 && seen[len(seen)-1] < seconds {
			seen = append(seen, seen[len(seen)-1]+rapid.SampledFrom([]int64{0, 0, 1, 3}).Draw(t, "pause"))
		}
		at := func(second float64) int64 { // the newest revision that was seen before
			newest := int64(1)
			for r := 2; r < len(seen); r++ {
				if float64(seen[r]) < second {
					newest = int64(r)
				}
			}
			return newest
		}
		content := plain{}
		var segments []repo.SegmentEntry
		for range rapid.IntRange(0, 8).Draw(t, "segments") {
			from := float64(rapid.IntRange(0, seconds).Draw(t, "from")) + 0.5
			to := from + float64(rapid.IntRange(0, 8).Draw(t, "to"))
			segments = append(segments, content.written(t, at(from)+1, at(to), from, to, seen))
		}
		captured := float64(rapid.IntRange(1, seconds).Draw(t, "base"))
		base := snap(-1, at(captured), captured)
		h := NewHistory(line, []repo.Entry{base}, segments, false)
		for second := range seconds + 5 {
			c, err := h.AtTime(instant(float64(second) + 0.2))
			if err != nil {
				checkUntold(t, h, float64(second), err)
				continue
			}
			m, err := RevisionAt(t.Context(), c, content.open)
			if err != nil || !m.Exact() || m.Revision != at(float64(second)) {
				t.Fatalf("second %d: %+v, %v, want %d", second, m, err, at(float64(second)))
			}
		}
	})
}

// checkUntold: where a segment tells of the instant, it must be out of reach.
func checkUntold(t *rapid.T, h *History, second float64, err error) {
	var u *Unreachable
	if !errors.As(err, &u) {
		t.Fatal(err)
	}
	for _, e := range h.segments {
		s := e.Segment
		if s.From.After(instant(second)) || s.To.Before(instant(second)) {
			continue
		}
		if _, reached := h.path(h.snapshots[0].Manifest.Revision, s.Last); reached >= s.Last {
			t.Fatalf("second %v: segment %s tells of it, and: %v", second, e.Name, err)
		}
	}
}

func TestRevisionAtDoubts(t *testing.T) {
	content := plain{}
	e := seg(11, 16, 10.5, 20.5)
	content[e.Name] = stream(t, 11, func(w *Writer) {
		w.Stamp(instant(11))
		appendAll(t, w, put(11, 0, "a", "", 0))
		w.LateStamp(instant(15)) // nobody looked from second 11 to second 15
		appendAll(t, w, put(12, 0, "a", "", 0), put(13, 0, "a", "", 0))
		w.LateStamp(instant(16))
		appendAll(t, w, put(14, 0, "a", "", 0))
		w.Stamp(instant(18))
		appendAll(t, w, put(15, 0, "a", "", 0), put(16, 0, "a", "", 0))
	})
	h := NewHistory(line, []repo.Entry{snap(-1, 10, 0)}, []repo.SegmentEntry{e}, false)
	for second, want := range map[float64]Moment{
		11: {10, 10}, 12: {11, 13}, 15: {11, 13}, 16: {13, 14}, 17: {14, 14}, 18: {14, 14}, 19: {16, 16}, 20: {16, 16},
	} {
		c, err := h.AtTime(instant(second))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := RevisionAt(t.Context(), c, content.open); got != want || err != nil {
			t.Errorf("second %v: %+v, %v, want %+v", second, got, err, want)
		}
	}
}

func TestAtTimeWithoutReading(t *testing.T) {
	snapshots := []repo.Entry{snap(-1, 10, 0), snap(25, 30, 30)}
	segments := []repo.SegmentEntry{
		seg(11, 20, 1.5, 5.5), seg(21, 20, 5.5, 8.5), // and a silence
		seg(21, 30, 12.5, 15.5), // the revision was 20 until second 12, so nothing happened while nobody wrote
	}
	h := NewHistory(line, snapshots, segments, false)
	for second, want := range map[float64]int64{6: 20, 8: 20, 10: 20, 12: 20, 17: 30, 30: 30} {
		c, err := h.AtTime(instant(second))
		if err != nil || c.Clock != nil || c.Low != want || c.High != want {
			t.Errorf("second %v: %+v, %v, want %d", second, c, err, want)
		}
	}
	c, err := h.AtTime(instant(14))
	if err != nil || c.Clock == nil || c.Low != 20 || c.High != 30 || c.Base.Manifest.Revision != 10 || len(c.Segments) != 2 {
		t.Errorf("between: %+v, %v", c, err)
	}
	// Only the later snapshot is left: what it holds of the segment can be had, and no more.
	h = h.Without(snapshots[0].ID.String())
	c, err = h.AtTime(instant(14))
	if err != nil || c.Low != 25 || c.High != 30 || c.Base.Manifest.Revision != 30 {
		t.Fatalf("the later part: %+v, %v", c, err)
	}
	content := plain{segments[2].Name: stream(t, 21, func(w *Writer) {
		for r := int64(21); r <= 30; r++ {
			w.Stamp(instant(float64(r)/2 + 2.5)) // revision 21 in second 13, 30 in second 17
			appendAll(t, w, put(r, 0, "a", "", 0))
		}
	})}
	var u *Unreachable
	if _, err := RevisionAt(t.Context(), c, content.open); !errors.As(err, &u) || u.MissingLast != 24 || u.After.Revision != 25 {
		t.Errorf("what it does not hold: %v", err)
	}
}

func TestWindowIsDated(t *testing.T) {
	snapshots := []repo.Entry{snap(5, 10, 0), snap(90, 100, 90)}
	segments := []repo.SegmentEntry{
		seg(11, 20, 1, 5), seg(16, 25, 3, 7), seg(26, 25, 7, 9), // overlapping, then a silence
		seg(26, 30, 12, 15), // 25 until then
		seg(31, 40, 16, 18), // nobody looked in second 15
		seg(60, 95, 60, 70), // nothing leads to it
	}
	want := []Range{
		{5, 40, []Span{{instant(1), instant(15)}, {instant(16), instant(18)}}, []Point{{10, instant(0.5)}}},
		{90, 100, nil, []Point{{100, instant(90.5)}}},
	}
	segments[4].Segment.First = 30 // the same revision again, so that what happened in between is not known
	got := NewHistory(line, snapshots, segments, false).Window()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("window (-want +got):\n%s", diff)
	}
}

func TestPathTakesTheSmallestLastObject(t *testing.T) {
	segments := []repo.SegmentEntry{seg(11, 1000, 0, 9), seg(11, 15, 0, 1), seg(11, 14, 0, 1), seg(16, 20, 1, 2)}
	h := NewHistory(line, []repo.Entry{snap(-1, 10, 0)}, segments, false)
	for revision, want := range map[int64]int64{14: 14, 15: 15, 16: 1000, 1000: 1000} {
		c, err := h.AtRevision(revision)
		if err != nil || len(c.Segments) != 1 || c.Segments[0].Segment.Last != want || c.Newest.Revision != 1000 {
			t.Errorf("revision %d: %+v, %v", revision, c, err)
		}
	}
	top := NewHistory(line, []repo.Entry{snap(-1, math.MaxInt64, 0)}, segments, false)
	if c, err := top.AtRevision(math.MaxInt64); err != nil || len(c.Segments) != 0 {
		t.Errorf("the last revision: %+v, %v", c, err)
	}
	if !slices.IsSortedFunc(h.segments, func(a, b *repo.SegmentEntry) int { return int(a.Segment.First - b.Segment.First) }) {
		t.Error("segments are not in order")
	}
}

// TestClockNote: who asks for a time learns that the clock was wrong when it was written down, also in a silence.
func TestClockNote(t *testing.T) {
	const note = "the wall clock was 3 s behind times already recorded, which were held"
	changes, silence := seg(11, 20, 10, 20), seg(21, 20, 20, 30)
	changes.Segment.ClockSkewNote, silence.Segment.ClockSkewNote = note, note+" again"
	h := NewHistory(line, []repo.Entry{snap(1, 10, 10)}, []repo.SegmentEntry{changes, silence, seg(21, 30, 30, 40)}, false)
	for second, want := range map[float64]string{15: note, 25: note + " again", 35: ""} {
		c, err := h.AtTime(instant(second))
		if err != nil {
			t.Fatal(err)
		}
		if c.ClockNote != want {
			t.Errorf("at %v: %q, want %q", second, c.ClockNote, want)
		}
		if longer, err := h.Reaching(c, 5); err != nil || longer.ClockNote != want {
			t.Errorf("at %v, reaching back: %v, %v", second, longer, err)
		}
	}
}
