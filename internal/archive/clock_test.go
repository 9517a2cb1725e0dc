package archive

import (
	"testing"
	"time"
)

// TestClock sets the wall clock in every way: the times that are made never go back, and what was wrong is told.
func TestClock(t *testing.T) {
	const second0 = 1_795_000_000
	at := func(s int) time.Time { return time.Unix(second0+int64(s), 0).UTC() }
	c := NewClock(at(10))
	for _, tc := range []struct {
		now, running, want int
		behind, lasting    time.Duration
		jumped             bool
		note               string
	}{
		{now: 12, running: 1, want: 12},
		{now: 5, running: 2, want: 12, behind: 7 * time.Second, note: "the wall clock was 7 s behind times already recorded, which were held"},
		{now: 11, running: 8, want: 12, behind: time.Second, lasting: 6 * time.Second, note: "the wall clock was 1 s behind times already recorded, which were held"},
		{now: 13, running: 10, want: 13},
		{now: 20, running: 12, want: 20}, // slewed, at most
		{now: 90, running: 82, want: 90}, // nothing was to be seen for a while
		{now: 3690, running: 83, want: 3690, jumped: true, note: "the wall clock went forward by 3599 s at once"},
		{now: 100, running: 93, want: 3690, behind: 3590 * time.Second, note: "the wall clock was 3590 s behind times already recorded, which were held"},
		{now: 110, running: 103, want: 3690, behind: 3580 * time.Second, lasting: 10 * time.Second, note: "the wall clock was 3580 s behind times already recorded, which were held"},
	} {
		got := c.At(at(tc.now), time.Duration(tc.running)*time.Second)
		behind, lasting := c.Behind()
		if jumped, note := c.Jumped(), c.Note(); !got.Equal(at(tc.want)) || behind != tc.behind || lasting != tc.lasting || jumped != tc.jumped || note != tc.note {
			t.Errorf("at %d: %s, %s behind for %s, jumped %t, %q", tc.now, got, behind, lasting, jumped, note)
		}
	}
	if c.Jumped() || c.Note() != "" {
		t.Error("what was told is told again")
	}
	c.At(at(5000), 104*time.Second)
	c.At(at(4000), 105*time.Second)
	if got, want := c.Note(), "the wall clock went forward by 4889 s at once, and was 1000 s behind times already recorded, which were held"; got != want {
		t.Errorf("there and back: %q, not %q", got, want)
	}
	if got := NewClock(at(10)).At(at(3), 0); !got.Equal(at(10)) {
		t.Errorf("behind the archive: %s", got)
	}
}
