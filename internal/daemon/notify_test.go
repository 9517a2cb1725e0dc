package daemon

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/preflight"
	"github.com/drd-project/drd/internal/replicate"
)

// TestStatusLine: one line, in the order in which it matters, told when it changes.
func TestStatusLine(t *testing.T) {
	var told []string
	n := newNotifier(func(state string) error {
		state, _, _ = strings.Cut(state, "MONOTONIC_USEC=")
		told = append(told, state)
		return nil
	}, slog.New(slog.DiscardHandler))
	n.proved("restore last proved 2026-11-22 03:31:00 UTC")
	n.status("last snapshot %s; next %s", "a", "b")
	n.archived(time.Date(2026, 11, 22, 11, 4, 55, 0, time.FixedZone("CET", 3600)))
	n.archived(time.Date(2026, 11, 22, 10, 4, 59, 0, time.UTC))
	n.behind("2 waiting for nas")
	n.refused("line 3:\nunknown key")
	n.ready()
	n.handOver()
	n.stopping() // not to be told: another run follows
	n.begin()
	n.archived(time.Time{})
	n.status("no snapshot yet")
	n.ready()
	n.stopping()
	n.status("too late")

	want := []string{
		"STATUS=restore last proved 2026-11-22 03:31:00 UTC",
		"STATUS=last snapshot a; next b; restore last proved 2026-11-22 03:31:00 UTC",
		"STATUS=last snapshot a; next b; recoverable to 2026-11-22 10:04 UTC; restore last proved 2026-11-22 03:31:00 UTC",
		"STATUS=last snapshot a; next b; recoverable to 2026-11-22 10:04 UTC; restore last proved 2026-11-22 03:31:00 UTC; 2 waiting for nas",
		"STATUS=line 3:; unknown key; last snapshot a; next b; recoverable to 2026-11-22 10:04 UTC; restore last proved 2026-11-22 03:31:00 UTC; 2 waiting for nas",
		"READY=1",
		"RELOADING=1\n",
		"STATUS=",
		"STATUS=no snapshot yet",
		"READY=1",
		"STOPPING=1",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

// TestTroubledStatus: drd check knows the words of each trouble, and no other line for one.
func TestTroubledStatus(t *testing.T) {
	var told string
	n := newNotifier(func(state string) error {
		told = state
		return nil
	}, slog.New(slog.DiscardHandler))
	n.status("last snapshot a; next b")
	n.archived(time.Now())
	n.drilling("drilling")
	n.proved("no restore is proved")
	if preflight.Troubled(told) {
		t.Errorf("%q passes for trouble", told)
	}
	since, refused := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), errors.New("connect to etcd: permission denied\nand more")
	for name, trouble := range map[string]func(bool){
		"archive": func(on bool) {
			if on {
				n.unarchived(since, refused)
			} else {
				n.unarchived(time.Time{}, nil)
			}
		},
		"target away": func(on bool) {
			n.behind(behindIf(on, replicate.Status{Queued: 1, Attempts: 1, Target: "nas", LastError: refused}))
		},
		"target full": func(on bool) { n.behind(behindIf(on, replicate.Status{Queued: 1, Failed: 1, Target: "nas"})) },
	} {
		if trouble(true); !preflight.Troubled(told) {
			t.Errorf("%s: %q does not pass for trouble", name, told)
		}
		if trouble(false); preflight.Troubled(told) {
			t.Errorf("%s: %q passes for trouble still", name, told)
		}
	}
	n.unarchived(since, refused)
	if want := "STATUS=last snapshot a; next b; the archive has not been written since 2026-11-22 10:00:00 UTC: connect to etcd: permission denied; "; !strings.HasPrefix(told, want) {
		t.Errorf("%q, want %q", told, want)
	}
}

func behindIf(on bool, s replicate.Status) string {
	if !on {
		return ""
	}
	return behind([]replicate.Status{s})
}
