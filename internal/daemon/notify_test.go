package daemon

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
