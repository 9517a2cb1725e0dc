package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/metrics"
)

// supervised makes the process one that the service manager watches.
func supervised(t *testing.T, limit time.Duration) {
	t.Helper()
	t.Setenv("WATCHDOG_USEC", fmt.Sprint(limit.Microseconds()))
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
}

// fed counts what the watchdog gets.
func fed(log *slog.Logger) (*notifier, *atomic.Int64) {
	var count atomic.Int64
	return newNotifier(func(state string) error {
		if state == "WATCHDOG=1" {
			count.Add(1)
		}
		return nil
	}, log), &count
}

// TestWatchdog: it is fed three times within its limit, and no more once a loop did not keep its promise.
func TestWatchdog(t *testing.T) {
	supervised(t, 90*time.Second)
	synctest.Test(t, func(t *testing.T) {
		log := &logBuffer{}
		tell, count := fed(slog.New(slog.NewTextHandler(log, nil)))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		tell.pulse.within(time.Minute, "snapshots")
		tell.pulse.within(time.Hour, "archive")
		go func() { defer close(done); tell.watchdog(ctx, func() {}) }()
		time.Sleep(time.Minute + slack + time.Second)
		if got := count.Load(); got != 5 { // at 0, 30, 60, 90 and 120 s
			t.Errorf("fed %d times", got)
		}
		time.Sleep(10 * time.Minute)
		if got := count.Load(); got != 5 {
			t.Errorf("fed %d times, though a loop hangs", got)
		}
		if strings.Count(log.String(), "the daemon hangs") != 1 || !strings.Contains(log.String(), "loops=[snapshots]") {
			t.Errorf("the log: %s", log)
		}
		tell.pulse.within(time.Hour, "snapshots") // it went on after all
		time.Sleep(30 * time.Second)
		if got := count.Load(); got != 6 {
			t.Errorf("fed %d times, though the loop turns again", got)
		}
		stop()
		<-done
	})
}

// TestWatchdogProbes: a part that does not answer is as good as a loop that hangs.
func TestWatchdogProbes(t *testing.T) {
	supervised(t, 90*time.Second)
	synctest.Test(t, func(t *testing.T) {
		tell, count := fed(slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		answers := make(chan struct{}, 1)
		answers <- struct{}{}
		done := make(chan struct{})
		go func() { defer close(done); tell.watchdog(ctx, func() { <-answers }) }()
		time.Sleep(time.Hour)
		if got := count.Load(); got != 1 {
			t.Errorf("fed %d times by a queue that hangs", got)
		}
		stop()
		close(answers)
		<-done
	})
}

// TestNoWatchdog: without one nothing is fed.
func TestNoWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	tell, count := fed(slog.New(slog.DiscardHandler))
	tell.watchdog(t.Context(), func() { t.Error("probed") })
	if count.Load() != 0 {
		t.Error("fed")
	}
}

// TestPulseOfSchedule: the scheduler keeps its promises for days, through a backup that takes long and says so, and breaks them in
// one that says nothing.
func TestPulseOfSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tell, _ := fed(slog.New(slog.DiscardHandler))
		state, err := openStateFile(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var silent atomic.Bool
		cfg := Config{
			Schedule: ticks(t, "0 */6 * * *", time.UTC), Metrics: metrics.New(metrics.Build{}), Log: slog.New(slog.DiscardHandler), Now: time.Now,
			Backup: func(ctx context.Context, _ *time.Time) (*backup.Result, error) {
				for range 3 {
					if !silent.Load() {
						observerOf(ctx).Progress(1, 2)
					}
					time.Sleep(50 * time.Minute)
				}
				return nil, fmt.Errorf("failed")
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		s := newScheduler(cfg, state, tell, func() {})
		go func() { defer close(done); s.run(ctx) }()
		for range 2 * 24 * 60 {
			time.Sleep(time.Minute)
			if late := tell.pulse.late(); late != nil {
				t.Fatalf("late: %v", late)
			}
		}
		silent.Store(true)
		hung := false
		for range 12 * 60 {
			time.Sleep(time.Minute)
			hung = hung || cmp.Equal(tell.pulse.late(), []string{"snapshots"})
		}
		if !hung {
			t.Error("a backup that gives no sign of life for hours is not noticed")
		}
		stop()
		<-done
		if late := tell.pulse.late(); late != nil {
			t.Errorf("late after the end: %v", late)
		}
	})
}
