package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/repo"
)

// host is a node whose hours pass in milliseconds: its timers are those of the bubble, its wall clock is off by what the
// test says.
type host struct {
	t   *testing.T
	cfg Config
	log strings.Builder

	mu    sync.Mutex
	off   time.Duration // of the wall clock from the timers' time
	fail  error         // what the next backups return; nil: success
	part  error         // what comes with a snapshot that was taken
	tries []time.Time   // wall clock at the begin of each backup
	slots []time.Time
	told  []string // to the service manager
	stop  func()   // ends the daemon and waits for it
	ticks *scheduler
}

// boot makes a host whose wall clock shows a local time, and starts the scheduler on it.
func boot(t *testing.T, zoneName, spec, local string) *host {
	t.Helper()
	loc := zone(t, zoneName)
	start, err := time.ParseInLocation("2006-01-02 15:04", local, loc)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, off: time.Until(start)}
	h.cfg = Config{
		StateDir: t.TempDir(), Node: "node-1", Schedule: ticks(t, spec, loc), Metrics: metrics.New(metrics.Build{}),
		Log: slog.New(slog.NewTextHandler(&h.log, nil)),
		Now: func() time.Time {
			h.mu.Lock()
			defer h.mu.Unlock()
			return time.Now().Round(0).Add(h.off).In(loc)
		},
		Notify: func(state string) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.told = append(h.told, state)
			return nil
		},
		Backup: h.backup,
	}
	h.start()
	return h
}

// start runs a scheduler as a new process would.
func (h *host) start() {
	h.t.Helper()
	state, err := openStateFile(h.cfg.StateDir)
	if err != nil {
		h.t.Fatal(err)
	}
	s := newScheduler(h.cfg, state, newNotifier(h.cfg.Notify, h.cfg.Log), func() {})
	h.ticks = s
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(ctx)
	}()
	h.stop = func() {
		cancel()
		<-ended
	}
}

// backup takes ten seconds.
func (h *host) backup(ctx context.Context, slot *time.Time) (*backup.Result, error) {
	now := h.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries = append(h.tries, now)
	if h.fail != nil {
		return nil, h.fail
	}
	h.slots = append(h.slots, *slot)
	return &backup.Result{Manifest: &repo.Manifest{ID: fmt.Sprintf("snapshot-%d", len(h.slots)), Revision: 7}}, h.part
}

// set changes what the world is like.
func (h *host) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// pass lets time pass on both clocks.
func (h *host) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// taken lists the backups so far, as local time, and forgets them.
func (h *host) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, t := range h.tries {
		out = append(out, t.Format("Jan 2 15:04 -0700"))
	}
	h.tries = nil
	return out
}

// attempts are when backups began, since taken was last called.
func (h *host) attempts() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tries)
}

// answered are the ticks of the backups that succeeded.
func (h *host) answered() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.slots)
}

// notices are what the service manager was told.
func (h *host) notices() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told)
}

func (h *host) want(what string, want ...string) {
	h.t.Helper()
	if d := cmp.Diff(want, h.taken()); d != "" {
		h.t.Errorf("%s: %s", what, d)
	}
}

func last(s []string) string { return s[len(s)-1] }

func (h *host) errors(stage metrics.Stage) float64 {
	h.t.Helper()
	return value(h.t, h.cfg.Metrics, "drd_errors_total", string(stage))
}

// value is one sample of a metric with at most the given label values.
func value(tb testing.TB, m *metrics.Metrics, name string, labels ...string) float64 {
	tb.Helper()
	v, ok := sample(tb, m, name, labels...)
	if !ok {
		tb.Fatalf("no %s with %q", name, labels)
	}
	return v
}

func sample(tb testing.TB, m *metrics.Metrics, name string, labels ...string) (float64, bool) {
	tb.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			var have []string
			for _, l := range s.GetLabel() {
				have = append(have, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(have, labels) {
				return s.GetGauge().GetValue() + s.GetCounter().GetValue() + float64(s.GetHistogram().GetSampleCount()), true
			}
		}
	}
	return 0, false
}

func TestFirstStartTakesOneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "0 */6 * * *", "2026-11-22 10:00")
		defer func() { h.stop() }()
		h.pass(time.Hour)
		h.want("first", "Nov 22 10:00 +0000")
		if want := time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC); !h.answered()[0].Equal(want) {
			t.Errorf("answers %s, want the newest tick %s", h.answered()[0], want)
		}
		h.pass(11 * time.Hour)
		h.want("then", "Nov 22 12:00 +0000", "Nov 22 18:00 +0000")
		if h.answered()[1].Location() != time.UTC {
			t.Error("the slot is not in UTC")
		}
		if got, want := last(h.notices()), "STATUS=last snapshot snapshot-3; next 2026-11-23 00:00:00 UTC"; got != want {
			t.Errorf("status %q, want %q", got, want)
		}
		if n := len(h.notices()); n != 6 { // taking and waiting, three times each
			t.Errorf("%d notifications: %q", n, h.notices())
		}
	})
}

// TestWeeks runs two weeks around each change of the clock.
func TestWeeks(t *testing.T) {
	for _, c := range []struct{ zone, start, odd string }{
		{"Europe/Berlin", "2026-03-22 12:00", "Mar 29 03:00 +0200"},
		{"Europe/Berlin", "2026-10-18 12:00", "Oct 25 02:30 +0200"},
		{"America/New_York", "2026-03-01 12:00", "Mar 8 03:00 -0400"},
		{"America/New_York", "2026-10-25 12:00", "Nov 1 02:30 -0500"},
	} {
		t.Run(c.zone+" "+c.start, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := boot(t, c.zone, "30 2,14 * * *", c.start)
				defer func() { h.stop() }()
				start := h.cfg.Now()
				h.pass(14 * 24 * time.Hour)
				want := []string{start.Format("Jan 2 15:04 -0700"), start.Add(150 * time.Minute).Format("Jan 2 15:04 -0700")}
				for day := range 14 {
					d := start.AddDate(0, 0, day+1)
					night := time.Date(d.Year(), d.Month(), d.Day(), 2, 30, 0, 0, d.Location()).Format("Jan 2 15:04 -0700")
					if strings.HasPrefix(c.odd, d.Format("Jan 2 ")) {
						night = c.odd
					}
					noon := time.Date(d.Year(), d.Month(), d.Day(), 14, 30, 0, 0, d.Location())
					want = append(want, night)
					if noon.Before(start.Add(14 * 24 * time.Hour)) {
						want = append(want, noon.Format("Jan 2 15:04 -0700"))
					}
				}
				h.want("two weeks", want...)
			})
		})
	}
}

func TestRestartMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "0 * * * *", "2026-11-22 10:30")
		h.pass(time.Hour)
		h.want("before", "Nov 22 10:30 +0000", "Nov 22 11:00 +0000")
		h.stop()
		h.start()
		h.pass(10 * time.Minute)
		h.want("restart between ticks")
		h.stop()
		h.pass(5 * time.Hour) // 16:40
		h.start()
		defer func() { h.stop() }()
		h.pass(30 * time.Minute)
		h.want("five missed ticks are one", "Nov 22 16:40 +0000", "Nov 22 17:00 +0000")
		if want := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC); !h.answered()[2].Equal(want) {
			t.Errorf("answers %s, want %s", h.answered()[2], want)
		}
		if !strings.Contains(h.log.String(), `msg="making up for a tick" slot=2026-11-22T16:00:00.000Z late=40m0s`) {
			t.Error(h.log.String())
		}
	})
}

func TestSuspendIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "0 */6 * * *", "2026-11-22 13:00")
		defer func() { h.stop() }()
		h.pass(time.Hour)
		h.want("before", "Nov 22 13:00 +0000")
		h.set(func() { h.off += 3 * 24 * time.Hour }) // timers stood still
		h.pass(longestSleep)
		if n := len(h.attempts()); n != 1 {
			t.Errorf("%d snapshots within %s of waking up, want 1", n, longestSleep)
		}
		h.pass(5 * time.Hour)
		h.want("after", "Nov 25 14:00 +0000", "Nov 25 18:00 +0000")
	})
}

// TestClockSetBack: one snapshot too many at most, and never longer without one than a period.
func TestClockSetBack(t *testing.T) {
	for _, c := range []struct {
		name       string
		after, set time.Duration // since the tick at 12:00
		want       []string
	}{
		{"two hours, just after a tick", time.Minute, -2 * time.Hour, []string{"Nov 22 10:01 +0000", "Nov 22 12:00 +0000", "Nov 22 18:00 +0000"}},
		{"two hours, before the next tick", 5 * time.Hour, -2 * time.Hour, []string{"Nov 22 16:05 +0000", "Nov 22 18:00 +0000", "Nov 23 00:00 +0000"}},
		{"a year", time.Hour, -365 * 24 * time.Hour, []string{"Nov 22 13:00 +0000", "Nov 22 18:00 +0000", "Nov 23 00:00 +0000"}},
		{"a small step", 100 * time.Millisecond, -2 * time.Minute, []string{"Nov 22 18:00 +0000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := boot(t, "UTC", "0 */6 * * *", "2026-11-22 11:00")
				defer func() { h.stop() }()
				h.pass(time.Hour + c.after)
				h.want("before", "Nov 22 11:00 +0000", "Nov 22 12:00 +0000")
				h.set(func() { h.off += c.set })
				h.pass(12 * time.Hour)
				h.want("after", c.want...)
			})
		})
	}
}

func TestClockSetBackNeverSilent(t *testing.T) {
	for back := time.Minute; back < 30*time.Hour; back += 97 * time.Minute {
		for after := time.Minute; after < 6*time.Hour; after += 71 * time.Minute {
			synctest.Test(t, func(t *testing.T) {
				h := boot(t, "UTC", "0 */6 * * *", "2026-11-22 12:00")
				defer func() { h.stop() }()
				h.pass(after)
				h.set(func() { h.off -= back })
				began := time.Now()
				h.pass(6*time.Hour - after + clockSlack + longestSleep)
				if n := len(h.attempts()); n < 2 || n > 4 {
					t.Errorf("back %s, %s after a snapshot: %d snapshots in %s: %v", back, after, n, time.Since(began), h.attempts())
				}
			})
		}
	}
}

func TestFailureIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "0 0 * * *", "2026-11-22 12:00")
		defer func() { h.stop() }()
		h.pass(time.Hour)
		h.taken()
		failure := hint.New(errors.New("connect to etcd: connection refused\nsecond line"), "run `drd check`")
		h.set(func() { h.fail = failure })
		h.pass(15 * time.Hour) // 04:00
		tries := h.attempts()
		checkBackoff(t, tries, time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC))
		if got := h.errors(metrics.StageSnapshot); got != float64(len(tries)) {
			t.Errorf("%v errors for %d failures", got, len(tries))
		}
		if n := strings.Count(h.log.String(), `msg="snapshot failed"`); n != len(tries) {
			t.Errorf("%d lines for %d failures", n, len(tries))
		}
		if !strings.Contains(h.log.String(), "hint=\"run `drd check`\"") {
			t.Error("the log has no hint")
		}
		want := fmt.Sprintf("STATUS=last snapshot snapshot-1; the snapshot of 2026-11-23 00:00:00 UTC failed (attempt %d): connect to etcd: connection refused", len(tries))
		if got := last(h.notices()); got != want {
			t.Errorf("status %q, want %q", got, want)
		}
		h.set(func() { h.fail = nil })
		h.pass(20 * time.Minute)
		if n := len(h.answered()); n != 2 || h.answered()[1].Hour() != 0 {
			t.Errorf("answered %v", h.answered())
		}
		h.taken()
		h.pass(19*time.Hour + 50*time.Minute)
		h.want("back to the schedule", "Nov 24 00:00 +0000")
		if n := value(t, h.cfg.Metrics, "drd_snapshot_duration_seconds"); n != 3 {
			t.Errorf("%v durations, want those of 3 successes", n)
		}
	})
}

// checkBackoff: the first attempt at the tick, then waits in a range whose end doubles.
func checkBackoff(t *testing.T, tries []time.Time, tick time.Time) {
	t.Helper()
	if len(tries) < 17 || !tries[0].Equal(tick) {
		t.Fatalf("attempts %v", tries)
	}
	ceiling := time.Minute
	different := make(map[time.Duration]bool)
	for i, at := range tries[1:] {
		gap := at.Sub(tries[i])
		different[gap] = true
		if gap < shortestRetry || gap > ceiling+time.Millisecond {
			t.Errorf("wait %d is %s, want %s to %s", i+1, gap, shortestRetry, ceiling)
		}
		ceiling = min(2*ceiling, longestRetry)
	}
	if len(different) < 10 {
		t.Errorf("only %d different waits in %d: not drawn", len(different), len(tries)-1)
	}
}

func TestRetryGivesWayToTheNextTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "*/10 * * * *", "2026-11-22 12:01")
		defer func() { h.stop() }()
		h.pass(time.Minute)
		h.set(func() { h.fail = errors.New("disk full") })
		h.taken()
		h.pass(2 * time.Hour)
		for tick := h.attempts()[0].Truncate(time.Hour).Add(10 * time.Minute); tick.Hour() < 14; tick = tick.Add(10 * time.Minute) {
			inTime := func(try time.Time) bool { return !try.Before(tick) && try.Sub(tick) <= longestSleep }
			if !slices.ContainsFunc(h.attempts(), inTime) {
				t.Errorf("no attempt for %s", tick.Format("15:04"))
			}
		}
	})
}

// TestSpooledIsTaken: a snapshot in the spool answers its tick, whatever else went wrong. Another one would only
// fill the spool.
func TestSpooledIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "0 0 * * *", "2026-11-22 12:00")
		h.pass(time.Minute)
		h.stop()
		h.set(func() {
			h.tries, h.part = nil, hint.New(errors.New("remove the working file: input/output error"), "see `dmesg`")
		})
		h.start()
		defer func() { h.stop() }()
		h.pass(13 * time.Hour)
		h.want("at the tick and no more", "Nov 23 00:00 +0000")
		if got := h.errors(metrics.StageSnapshot) + h.errors(metrics.StageReplication); got != 0 {
			t.Errorf("%v errors", got)
		}
		want := `msg="the snapshot is taken, but something was left behind" snapshot=snapshot-2 error="remove the working file: input/output error" hint="see ` + "`dmesg`"
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("no %s in %s", want, h.log.String())
		}
	})
}

// TestFreshSnapshotIsWanted: a snapshot of no use is replaced at once, and a target that makes all of them useless is
// not fed one after the other.
func TestFreshSnapshotIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "0 0 * * *", "2026-11-22 12:00")
		defer func() { h.stop() }()
		h.pass(time.Minute)
		h.taken()
		h.ticks.want()
		h.pass(longestSleep)
		if n := len(h.taken()); n != 1 {
			t.Errorf("%d snapshots, want one at once", n)
		}
		for range 36 {
			h.ticks.want()
			h.pass(5 * time.Minute)
		}
		if n := len(h.taken()); n != 3 {
			t.Errorf("%d snapshots in three hours, want 3", n)
		}
		h.pass(9 * time.Hour)
		h.want("back to the schedule", "Nov 23 00:00 +0000")
	})
}

func TestJitter(t *testing.T) {
	s, now := onWallClock(ticks(t, "0 */6 * * *", time.UTC)), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	p := plan{ticks: s, jitter: 10 * time.Minute, node: "node-1"}
	other := plan{ticks: s, jitter: 10 * time.Minute, node: "node-2"}
	var low, high, differ int
	for tick, n := s.Next(now), 0; n < 400; tick, n = s.Next(tick), n+1 {
		d := p.delay(tick)
		if d < 0 || d > p.jitter || d != p.delay(tick) {
			t.Fatalf("delay %s", d)
		}
		if d < p.jitter/2 {
			low++
		} else {
			high++
		}
		if d != other.delay(tick) {
			differ++
		}
	}
	if low < 150 || high < 150 || differ < 390 {
		t.Errorf("%d below and %d above the middle, %d differ between nodes", low, high, differ)
	}
	often := plan{ticks: ticks(t, "* * * * *", time.UTC), jitter: time.Hour}
	if d := often.delay(often.next(now)); d > 30*time.Second {
		t.Errorf("delay %s of a tick each minute", d)
	}
	if d := (plan{ticks: s}).delay(s.Next(now)); d != 0 {
		t.Errorf("delay %s without jitter", d)
	}
}

func TestJitterDelaysEachTickOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "0 * * * *", "2026-11-22 12:30")
		h.stop()
		h.cfg.Jitter = 20 * time.Minute
		h.taken()
		h.start()
		defer func() { h.stop() }()
		h.pass(24 * time.Hour)
		seen := make(map[string]bool)
		for _, at := range h.attempts()[1:] {
			seen[at.Format("Jan 2 15")] = true
			if at.Minute() > 20 {
				t.Errorf("at %s", at)
			}
		}
		if n := len(h.attempts()); n < 24 || n > 25 || len(seen) != n-1 {
			t.Errorf("%d backups in %d hours: %v", n, len(seen), h.attempts())
		}
	})
}

func TestDamagedState(t *testing.T) {
	for name, content := range map[string]string{"cut off": `{"slot":"2026-`, "empty": "", "of something else": `{"slot":null}`} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := boot(t, "UTC", "0 0 * * *", "2026-11-22 12:00")
				h.pass(time.Minute)
				h.stop()
				h.taken()
				path := filepath.Join(h.cfg.StateDir, "schedule.json")
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				h.start()
				h.pass(time.Minute)
				h.want("after the damage", "Nov 22 12:01 +0000")
				if h.errors(metrics.StageState) != 1 || !strings.Contains(h.log.String(), "read the schedule's state") {
					t.Error("not told: " + h.log.String())
				}
				h.stop()
				h.start()
				defer func() { h.stop() }()
				h.pass(time.Minute)
				h.want("after it was written anew")
			})
		})
	}
}

func TestStateThatCannotBeSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boot(t, "UTC", "0 * * * *", "2026-11-22 12:30")
		defer func() { h.stop() }()
		h.pass(time.Minute)
		h.taken()
		if err := os.RemoveAll(h.cfg.StateDir); err != nil {
			t.Fatal(err)
		}
		h.pass(90 * time.Minute)
		h.want("goes on", "Nov 22 13:00 +0000", "Nov 22 14:00 +0000")
		if got := h.errors(metrics.StageState); got != 2 {
			t.Errorf("%v errors", got)
		}
	})
}
