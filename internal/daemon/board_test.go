package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
)

// holding is a board of a node that has brought an archive to its target t0, and what a look there finds.
type holding struct {
	*board
	node    *node
	reader  Reader
	now     time.Time
	acked   replicate.Position
	windows []*restore.Window // of the readings to come; the last one stays. nil: it cannot be read
	holes   []int64           // that were told
}

func newHolding(t *testing.T) *holding {
	t.Helper()
	n := newNode(t, 1)
	n.cfg.Now, n.cfg.Host.Flush = time.Now, 5*time.Second
	n.put(n.keys.Signer, time.Hour, 100, nil, 0)
	h := &holding{node: n, now: time.Now().UTC().Truncate(time.Second), acked: replicate.Position{Timeline: "a", Revision: 150}}
	h.acked.At = h.now
	n.cfg.Readers[0].Window = func(context.Context, *repo.Catalogue) (*restore.Window, error) {
		w := h.windows[0]
		if len(h.windows) > 1 {
			h.windows = h.windows[1:]
		}
		if w == nil {
			return nil, errors.New("listing the archive is not allowed")
		}
		return w, nil
	}
	h.board = newBoard(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	h.brought = func() []replicate.Status {
		return []replicate.Status{{Target: "t0", Segments: replicate.SegmentStatus{Acked: h.acked}}}
	}
	h.holed = func(target string, revision int64) {
		if target != "t0" {
			t.Errorf("a hole in %s", target)
		}
		h.holes = append(h.holes, revision)
	}
	h.reader = h.watching(n.cfg.Readers)[0]
	return h
}

// look reads the target, and returns the age of the recovery point that the board and the metrics tell.
func (h *holding) look(t *testing.T, windows ...*restore.Window) time.Duration {
	t.Helper()
	h.windows = windows
	c, err := h.reader.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.views[0].window = time.Time{}
	h.node.cfg.Metrics.SetTarget("t0", targetMetrics(c, latest(c, h.now), latest(c, h.now)))
	h.node.cfg.Metrics.SetArchivePoint("t0", h.acked.At, time.Time{})
	h.readWindow(t.Context(), h.views[0], h.reader, c)
	point := recoveryPoints(h.gather)["t0"]
	if r := h.report(); r.RecoveryPoint == nil || !r.RecoveryPoint.Equal(point) {
		t.Errorf("the board says %v, the metrics %s", r.RecoveryPoint, point)
	}
	return h.now.Sub(point).Round(time.Minute)
}

// window has an archive that leads from the snapshot on to a revision and an instant, and ends with another revision.
func (h *holding) window(timeline string, last int64, age time.Duration, beyond int64) *restore.Window {
	return &restore.Window{Timeline: timeline, Beyond: beyond, End: h.now, Ranges: []restore.WindowRange{
		{First: 60, Last: last, Times: []restore.WindowSpan{{From: h.now.Add(-time.Hour), To: h.now.Add(-age)}}},
	}}
}

// TestHoleBehindTheQueue: what was brought to a target counts while looks find it there. A hole is told once, and what was read before the
// segments around it were merged is none.
func TestHoleBehindTheQueue(t *testing.T) {
	h := newHolding(t)
	whole, hole := h.window("a", 150, time.Second, 150), h.window("a", 120, 30*time.Minute, 150)
	for i, step := range []struct {
		what    string
		windows []*restore.Window
		age     time.Duration
		holes   []int64
	}{
		{"all is there", []*restore.Window{whole}, 0, nil},
		{"one is gone", []*restore.Window{hole}, 30 * time.Minute, []int64{121}},
		{"it is gone still", []*restore.Window{hole}, 30 * time.Minute, []int64{121}},
		{"all behind it is gone too", []*restore.Window{h.window("a", 120, 30*time.Minute, 120)}, 30 * time.Minute, []int64{121}},
		{"a snapshot leads on", []*restore.Window{whole}, 0, []int64{121}},
		{"another one is gone", []*restore.Window{h.window("a", 110, 40*time.Minute, 150)}, 40 * time.Minute, []int64{121, 111}},
		{"it was merged meanwhile", []*restore.Window{hole, whole}, 0, []int64{121, 111}},
		{"the archive cannot be read", []*restore.Window{nil}, 0, []int64{121, 111}},
		{"another timeline is newer there", []*restore.Window{h.window("b", 110, 20*time.Minute, 150)}, 20 * time.Minute, []int64{121, 111}},
		{"a clock was wrong", []*restore.Window{h.window("b", 150, -time.Hour, 150)}, time.Hour, []int64{121, 111}},
	} {
		if got := h.look(t, step.windows...); got != step.age {
			t.Errorf("%s: the recovery point is %s old, want %s", step.what, got, step.age)
		}
		if diff := cmp.Diff(step.holes, h.holes); diff != "" {
			t.Errorf("%s: holes %s", step.what, diff)
		}
		problems := ""
		for _, p := range h.report().Problems {
			problems += p.Text + "\n"
		}
		for text, want := range map[string]bool{
			"target t0: its archive has a hole at revision 1": slices.Contains([]int{1, 2, 3, 5}, i), "target t0: how far its archive reaches is not known: listing": i == 7,
			"target t0: its archive ends in the future": i == 9,
		} {
			if strings.Contains(problems, text) != want {
				t.Errorf("%s: %q: want %t in\n%s", step.what, text, want, problems)
			}
		}
	}
	if got := h.look(t, h.window("a", 150, 2*time.Minute, 150)); got != 0 {
		t.Errorf("%s old, and all that was brought is there", got)
	}
	if h.look(t, nil); true {
		h.acked.At = h.now.Add(time.Minute)
		h.node.cfg.Metrics.SetArchivePoint("t0", h.acked.At, time.Time{})
		if point := recoveryPoints(h.gather)["t0"]; point.After(h.now) {
			t.Errorf("%s counts, and nobody has seen what is there", point)
		}
	}
	h.acked = replicate.Position{}
	if got := h.look(t, h.window("a", 120, 3*time.Minute, 150)); got != 3*time.Minute {
		t.Errorf("a node that brought nothing: %s", got)
	}
	if len(h.holes) != 2 {
		t.Errorf("the holes of other writers are told: %v", h.holes)
	}
}

// TestHoleAsksForSnapshot as a gap of the queue does.
func TestHoleAsksForSnapshot(t *testing.T) {
	n := newNode(t, 0)
	a := &archiving{metrics: n.cfg.Metrics, log: n.cfg.Log, wanted: make(chan struct{}, 1)}
	a.holed("nas", 4711)
	if len(a.wanted) != 1 || value(t, n.cfg.Metrics, "drd_archive_gaps_total") != 1 || !strings.Contains(n.log.String(), "revision=4711") {
		t.Errorf("%d wishes; %s", len(a.wanted), n.log.String())
	}
}

// TestBoardOfVerifier: a host without a schedule judges by what it sees, the archive too.
func TestBoardOfVerifier(t *testing.T) {
	n := newNode(t, 1)
	n.cfg.Now, n.cfg.Schedule = time.Now, nil
	n.put(n.keys.Signer, 30*24*time.Hour, 100, nil, 0)
	b := newBoard(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	if _, err := b.watching(n.cfg.Readers)[0].Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := b.report(); r.Safe() || !strings.Contains(r.Problems[0].Text, "the newest snapshot is from ") || b.cfg.ArchiveLate <= 0 {
		t.Errorf("%+v, %s", r.Problems, b.cfg.ArchiveLate)
	}
}

// TestFailedDoesNotCount: the recovery point is that of the newest snapshot that does not stand failed, from the look on that reads the record.
func TestFailedDoesNotCount(t *testing.T) {
	n := newNode(t, 1)
	old, newest := n.put(n.keys.Signer, 7*time.Hour, 10, nil, 0), n.put(n.keys.Signer, time.Hour, 20, nil, 0)
	want := func(what string, m *repo.Manifest) {
		t.Helper()
		got := n.looked()
		if at := value(t, got, "drd_recovery_point_timestamp_seconds", "t0"); at != float64(m.CaptureStart.Unix()) {
			t.Errorf("%s: %s ago", what, time.Since(time.Unix(int64(at), 0)))
		}
		if at := value(t, got, "drd_snapshot_last_success_timestamp_seconds"); at != float64(newest.CaptureEnd.Unix()) {
			t.Errorf("%s: the newest was taken %s ago", what, time.Since(time.Unix(int64(at), 0)))
		}
	}
	want("nobody tried", newest)
	at := time.Now().UTC().Truncate(time.Second)
	n.drilled(0, at.Add(-30*time.Minute), newest, proof.LevelData, proof.Failed)
	want("a failure", old)
	n.drilled(0, at.Add(-20*time.Minute), newest, proof.LevelDrill, proof.Passed)
	want("a pass since", newest)
}

// TestWindowOfWhatCounts: a snapshot that stands failed leads nowhere, so that the archive behind it does not count either.
func TestWindowOfWhatCounts(t *testing.T) {
	n := newNode(t, 1)
	sound := n.put(n.keys.Signer, 3*time.Hour, 10, nil, 0)
	broken := n.put(n.keys.Signer, 2*time.Hour, 20, nil, 0)
	n.drilled(0, time.Now().UTC().Truncate(time.Second).Add(-time.Hour), broken, proof.LevelDrill, proof.Failed)
	var asked []string
	n.cfg.Now = time.Now
	n.cfg.Readers[0].Window = func(_ context.Context, c *repo.Catalogue) (*restore.Window, error) {
		for _, e := range c.Entries {
			asked = append(asked, e.ID.String())
		}
		return &restore.Window{}, nil
	}
	b := newBoard(n.cfg, newNotifier(n.cfg.Notify, n.cfg.Log))
	r := b.watching(n.cfg.Readers)[0]
	c, err := r.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h, err := proof.Read(t.Context(), n.targets[0].Repo, n.keys.Trust, proof.ReadOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	b.proved(b.views[0], c, h, nil)
	b.readWindow(t.Context(), b.views[0], r, c)
	if diff := cmp.Diff([]string{sound.ID}, asked); diff != "" {
		t.Errorf("the window was read of (-want +got):\n%s", diff)
	}
}

// TestNotReadIsNoHole: where a segment could not be read just now, nobody is told of a hole, and what was seen before stands. One that
// could not be read elsewhere hides none.
func TestNotReadIsNoHole(t *testing.T) {
	h := newHolding(t)
	unread := func(first, last int64) *restore.Window {
		w := h.window("a", 120, 30*time.Minute, 150)
		w.Unread = []repo.SegmentEntry{{Name: repo.SegmentName{First: first, Last: last}, State: repo.StateUnreadable, Problem: errors.New("busy")}}
		return w
	}
	h.look(t, h.window("a", 150, time.Second, 150))
	h.look(t, unread(121, 150))
	if problem := h.report().Problems[0].Text; h.holes != nil || !strings.Contains(problem, "is not known: segment") || !strings.HasSuffix(problem, ": busy") {
		t.Errorf("holes %v; %s", h.holes, problem)
	}
	if h.look(t, unread(80, 90)); !slices.Equal(h.holes, []int64{121}) {
		t.Errorf("holes %v", h.holes)
	}
}

// TestConfirmedSoon: what was brought to a target is looked for within seconds where the last reading did not show it, and more and more
// seldom as long as it does not; a hole waits for the next look.
func TestConfirmedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHolding(t)
		brought, whole := h.acked, h.window("a", 150, time.Second, 150)
		h.acked = replicate.Position{}
		h.look(t, whole)
		v := h.views[0]
		due := func(what string, after time.Duration, want bool) {
			t.Helper()
			v.window = time.Now().Add(-after)
			if got := h.unconfirmed(v); got != want {
				t.Errorf("%s, %s after the reading: %t, want %t", what, after, got, want)
			}
		}
		due("nothing was brought", time.Hour, false)
		h.acked = brought
		due("the first time", confirmFirst/2, false)
		due("the first time", confirmFirst, true)
		due("the second time", confirmFirst, false)
		due("the second time", 2*confirmFirst, true)
		h.look(t, whole)
		due("it was seen", time.Hour, false)
		h.look(t, nil)
		due("it could not be read", confirmFirst, true)
		for range 20 {
			h.unconfirmed(v)
		}
		due("many times", windowEvery-time.Second, false)
		due("many times", windowEvery, true)
		h.look(t, h.window("a", 120, 30*time.Minute, 150))
		due("a hole", time.Hour, false)
	})
}
