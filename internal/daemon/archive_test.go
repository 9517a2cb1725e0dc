package daemon

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
)

// archiveOf is an archive that only notes what it is told.
type archiveOf struct {
	told   []*repo.Manifest
	turned time.Time
}

func (a *archiveOf) Run(ctx context.Context)               { <-ctx.Done() }
func (a *archiveOf) Snapshotted(m *repo.Manifest)          { a.told = append(a.told, m) }
func (a *archiveOf) Failing() (since time.Time, err error) { return time.Time{}, nil }
func (a *archiveOf) Turned() time.Time                     { return a.turned }
func (a *archiveOf) Whole() (since time.Time, ok bool)     { return time.Time{}, true }

// TestPulseOfArchive: what follows the member is heard of, or it hangs; while it does not run it promises nothing.
func TestPulseOfArchive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		archive := &archiveOf{}
		a := &archiving{archive: archive, told: newNotifier(nil, slog.New(slog.DiscardHandler))}
		late := func(after time.Duration) []string {
			for end := time.Now().Add(after); time.Now().Before(end); time.Sleep(archiveTold) {
				a.promise()
			}
			return a.told.pulse.late()
		}
		if hung := late(time.Hour); hung != nil {
			t.Errorf("it does not run, and %v hangs", hung)
		}
		archive.turned = time.Now()
		if hung := late(archiveStill - time.Minute); hung != nil {
			t.Errorf("it is busy with one thing, and %v hangs", hung)
		}
		if hung := late(3 * time.Minute); !cmp.Equal(hung, []string{archiveLoop}) {
			t.Errorf("it has not turned for 12 minutes, and %v hangs", hung)
		}
		archive.turned = time.Now()
		if hung := late(archiveTold); hung != nil {
			t.Errorf("it turns again, and %v hangs", hung)
		}
	})
}

// The archive gets each snapshot that it asks for, one a minute at most, and hears of every other too.
func TestArchiveSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken []time.Time
		fail := 0
		archive := &archiveOf{}
		var want func()
		cfg := Config{
			Metrics: metrics.New(metrics.Build{}), Log: slog.New(slog.DiscardHandler), Now: time.Now,
			Archive: func(_ context.Context, snapshot, _ func()) (Archive, error) { want = snapshot; return archive, nil },
			Backup: func(context.Context, *time.Time) (*backup.Result, error) {
				taken = append(taken, time.Now())
				if fail > 0 {
					fail--
					return nil, errors.New("no etcd")
				}
				return &backup.Result{Manifest: &repo.Manifest{}}, nil
			},
		}
		a, err := newArchiving(t.Context(), &cfg, newNotifier(nil, cfg.Log))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); a.snapshots(ctx) }()
		began := time.Now()
		for range 5 {
			want()
		}
		time.Sleep(time.Second)
		want()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(taken) != 2 || taken[1].Sub(began) != time.Minute || len(archive.told) != 2 {
			t.Errorf("taken at %v, told of %d", taken, len(archive.told))
		}
		fail = 2
		want()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(taken) != 5 || len(archive.told) != 3 {
			t.Errorf("after two failures: taken at %v, told of %d", taken, len(archive.told))
		}
		if _, err := cfg.Backup(ctx, nil); err != nil || len(archive.told) != 4 { // by the schedule
			t.Errorf("%v, told of %d", err, len(archive.told))
		}
		stop()
		<-done
	})
}

// A target that lost a part of the archive gets a snapshot, once it takes anything.
func TestArchiveRefill(t *testing.T) {
	a := &archiving{metrics: metrics.New(metrics.Build{}), log: slog.New(slog.DiscardHandler), wanted: make(chan struct{}, 1)}
	gaps := map[string]int{"nas": 3}
	for _, tc := range []struct {
		gaps, attempts int
		wants          bool
	}{{3, 0, false}, {4, 7, false}, {5, 8, false}, {5, 0, true}, {5, 0, false}} {
		s := replicate.Status{Target: "nas"}
		s.Segments.Gaps, s.Segments.Attempts = tc.gaps, tc.attempts
		a.refill(s, gaps)
		wants := false
		select {
		case <-a.wanted:
			wants = true
		default:
		}
		if wants != tc.wants {
			t.Errorf("%d gaps, %d failed attempts: wants a snapshot: %t", tc.gaps, tc.attempts, wants)
		}
	}
}
