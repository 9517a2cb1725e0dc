package archive

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
)

func TestDates(t *testing.T) {
	content := plain{}
	e := seg(11, 16, 10.5, 20.5)
	content[e.Name] = stream(t, 11, func(w *Writer) {
		w.Stamp(instant(11))
		appendAll(t, w, put(11, 0, "a", "", 0))
		w.LateStamp(instant(15)) // nobody looked from second 11 to second 15
		appendAll(t, w, put(12, 0, "a", "", 0), put(13, 0, "a", "", 0))
		w.Stamp(instant(18))
		appendAll(t, w, put(14, 0, "a", "", 0), put(15, 0, "a", "", 0), put(16, 0, "a", "", 0))
	})
	late := seg(17, 18, 20.5, 30.5)
	content[late.Name] = stream(t, 17, func(w *Writer) {
		w.LateStamp(instant(25))
		appendAll(t, w, put(17, 0, "a", "", 0), put(18, 0, "a", "", 0))
	})
	lost := seg(19, 20, 30.5, 40.5) // its content is not there
	h := NewHistory(line, []repo.Entry{snap(-1, 5, 1), snap(-1, 10, 6), snap(3, 30, 60)}, []repo.SegmentEntry{lost, e, late}, false)
	d := h.Dates()
	if got := d.Of(12); got != (Seen{After: instant(10.5), By: instant(20.5)}) {
		t.Errorf("before anything is read, revision 12 has %+v", got)
	}
	for r := range int64(40) {
		d.Need(r)
	}
	if d.Needed() != 3 {
		t.Errorf("%d segments are needed, want 3", d.Needed())
	}
	err := d.Read(t.Context(), content.open)
	if !errors.Is(err, storage.ErrNotExist) || !strings.Contains(err.Error(), lost.Name.String()) {
		t.Errorf("a segment that is not there: %v", err)
	}
	for revision, want := range map[int64]Seen{
		1:  {By: instant(1.5)},
		5:  {By: instant(1.5)},
		6:  {After: instant(1), By: instant(6.5)},
		11: {At: instant(11)},
		12: {After: instant(11), By: instant(15)},
		13: {After: instant(11), By: instant(15)},
		14: {At: instant(18)},
		16: {At: instant(18)},
		17: {After: instant(20), By: instant(25)}, // whole seconds, so that the bound holds
		18: {After: instant(20), By: instant(25)},
		19: {After: instant(30.5), By: instant(40.5)},
		21: {After: instant(40.5), By: instant(60.5)},
		30: {After: instant(40.5), By: instant(60.5)},
		31: {After: instant(60)},
	} {
		if diff := cmp.Diff(want, d.Of(revision)); diff != "" {
			t.Errorf("revision %d: %s", revision, diff)
		}
	}
	if got := (&History{}).Dates().Of(7); got != (Seen{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

// TestDatesAsk: only what is needed is opened, once, and another way is taken where the first fails.
func TestDatesAsk(t *testing.T) {
	content := plain{}
	var segments []repo.SegmentEntry
	for i := range int64(3) {
		e := seg(10*i+1, 10*i+10, float64(10*i), float64(10*i+10))
		content[e.Name] = stream(t, 10*i+1, func(w *Writer) {
			w.Stamp(instant(float64(10*i + 1)))
			for r := 10*i + 1; r <= 10*i+10; r++ {
				appendAll(t, w, put(r, 0, "a", "", 0))
			}
		})
		segments = append(segments, e)
	}
	d := NewHistory(line, nil, segments, false).Dates()
	d.Need(15)
	d.Need(12)
	d.Need(99)
	var opened []int64
	counting := func(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
		opened = append(opened, s.First)
		return content.open(ctx, s)
	}
	if err := d.Read(t.Context(), plain{}.open, counting); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{11}, opened); diff != "" {
		t.Error(diff)
	}
	if d.Of(20) != (Seen{At: instant(11)}) || d.Of(21).At != (instant(21)) && !d.Of(21).At.IsZero() {
		t.Errorf("%+v, %+v", d.Of(20), d.Of(21))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Read(ctx, content.open); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

// TestDatesOfEveryRevision: however segments are cut and overlap, a revision that one of them holds has the second in which it was
// seen, and one that none holds has bounds around it.
func TestDatesOfEveryRevision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const seconds = 20
		seen := []int64{0, 1}
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
		content, held := plain{}, make(map[int64]bool)
		var segments []repo.SegmentEntry
		for range rapid.IntRange(0, 8).Draw(t, "segments") {
			from := float64(rapid.IntRange(1, seconds).Draw(t, "from")) + 0.5
			to := from + float64(rapid.IntRange(0, 8).Draw(t, "to"))
			segments = append(segments, content.written(t, at(from)+1, at(to), from, to, seen))
			for r := at(from) + 1; r <= at(to); r++ {
				held[r] = true
			}
		}
		d := NewHistory(line, nil, segments, false).Dates()
		for r := range seen {
			d.Need(int64(r))
		}
		if err := d.Read(t.Context(), content.open); err != nil {
			t.Fatal(err)
		}
		for r := 2; r < len(seen); r++ {
			s, truth := d.Of(int64(r)), instant(float64(seen[r]))
			switch {
			case held[int64(r)]:
				if s != (Seen{At: truth}) {
					t.Fatalf("revision %d: %+v, want %s", r, s, truth)
				}
			case !s.At.IsZero(), s.After.After(truth), !s.By.IsZero() && s.By.Before(truth):
				t.Fatalf("revision %d: %+v, which %s is not within", r, s, truth)
			}
		}
	})
}
