package daemon

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/replicate"
)

// TestQueueIsTold: the metrics follow the queue, and what only counts is counted once.
func TestQueueIsTold(t *testing.T) {
	n := newNode(t, 0)
	m := n.cfg.Metrics
	var told []string
	var stored, fresh int
	tell := newNotifier(func(state string) error { told = append(told, state); return nil }, n.cfg.Log)
	tell.status("last snapshot s; next 12:00")
	r := &replication{
		metrics: m, tell: tell, stored: func(string) { stored++ }, fresh: func() { fresh++ },
		last: make([]replicate.Status, 2),
	}
	since := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	good := replicate.Status{Target: "primary", State: replicate.StateIdle, Proved: 3}
	bad := replicate.Status{
		Target: "nas", State: replicate.StateWaiting, Since: since, LastError: errors.New("upload to nas: no route to host\nmore"), Attempts: 4,
		Queued: 2, Oldest: since.Add(-time.Hour), Lost: 5, Failures: 4, Damaged: 1,
	}
	for range 2 {
		r.pass([]replicate.Status{good, bad})
	}
	for name, want := range map[string]float64{
		"drd_replication_queue_objects primary": 0, "drd_replication_queue_objects nas": 2,
		"drd_replication_queue_oldest_timestamp_seconds nas": float64(since.Unix() - 3600),
		"drd_replication_lost_total primary":                 0, "drd_replication_lost_total nas": 5,
		"drd_errors_total " + string(metrics.StageReplication): 4,
	} {
		name, label, _ := strings.Cut(name, " ")
		if got := value(t, m, name, label); got != want {
			t.Errorf("%s of %s is %v, want %v", name, label, got, want)
		}
	}
	if _, known := sample(t, m, "drd_replication_queue_oldest_timestamp_seconds", "primary"); known {
		t.Error("the oldest of none is known")
	}
	if stored != 1 || fresh != 1 {
		t.Errorf("stored %d times, wanted a fresh one %d times", stored, fresh)
	}
	want := "STATUS=last snapshot s; next 12:00; 2 waiting for nas since 2026-11-22 10:00:00 UTC: upload to nas: no route to host"
	if len(told) != 2 || told[1] != want {
		t.Errorf("told %q, want %q", told, want)
	}

	bad = replicate.Status{Target: "nas", Lost: 5, Failures: 4, Damaged: 1, Proved: 2}
	r.pass([]replicate.Status{good, bad})
	if last(told) != "STATUS=last snapshot s; next 12:00" || stored != 2 {
		t.Errorf("told %q, stored %d times", told, stored)
	}
	bad.Queued, bad.Failed, bad.Oldest = 1, 1, since
	r.pass([]replicate.Status{good, bad})
	if want := "STATUS=last snapshot s; next 12:00; 1 snapshot waits for nas and cannot be stored there, of 2026-11-22 10:00:00 UTC"; last(told) != want {
		t.Errorf("told %q, want %q", last(told), want)
	}
}
