package members

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/etcd"
)

// TestRun polls at once and at every interval, logs a failure that goes on once, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var polls []time.Duration
		failed, begin := 0, time.Now()
		w, err := New(Config{
			Connect: func(context.Context) (*etcd.Client, error) {
				polls = append(polls, time.Since(begin))
				return nil, errors.New("no way to etcd")
			},
			Answers: openLog(t, t.TempDir()), Log: slog.New(slog.NewTextHandler(&log, nil)),
			On: Events{Failed: func(error) { failed++ }, Polled: func(Report) { t.Error("a report of nothing") }},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		w.Run(ctx)
		if diff := cmp.Diff([]time.Duration{0, 2 * time.Minute, 4 * time.Minute}, polls); diff != "" || failed != 3 {
			t.Errorf("%d failures\n%s", failed, diff)
		}
		if n := strings.Count(log.String(), "no way to etcd"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, log.String())
		}
	})
}

// TestTransitionsAreLogged, and nothing that goes on.
func TestTransitionsAreLogged(t *testing.T) {
	var log bytes.Buffer
	polled := 0
	w := &Watch{cfg: Config{Log: slog.New(slog.NewTextHandler(&log, nil)), On: Events{Polled: func(Report) { polled++ }}}}
	differ := func(revision int64) []Divergence {
		return []Divergence{{Revision: revision, CompactRevision: -1, Sides: []Side{{1, []string{"a", "b"}}, {2, []string{"c"}}}}}
	}
	alarm := []etcd.Alarm{{Member: 0xabc, Type: etcd.AlarmNoSpace}}
	for _, step := range []struct {
		report Report
		err    error
		want   string
	}{
		{Report{At: at(0)}, nil, ""},
		{Report{At: at(1), Diverged: differ(5), Alarms: alarm}, nil, "suspect: c"},
		{Report{At: at(2), Diverged: differ(6), Alarms: alarm}, nil, ""},
		{Report{At: at(3), Diverged: differ(6)}, nil, "alarm is over"},
		{Report{}, errors.New("gone"), "cannot be compared"},
		{Report{At: at(4)}, nil, "same data again"},
		{Report{At: at(5)}, errors.New("disk full"), "disk full"},
	} {
		log.Reset()
		w.tell(step.report, step.err)
		if got := log.String(); (step.want == "") != (got == "") || !strings.Contains(got, step.want) {
			t.Errorf("want %q, logged %q", step.want, got)
		}
	}
	if polled != 6 {
		t.Errorf("%d reports were passed on", polled)
	}
}

// TestNewKnowsTheCompactions that the log tells of, in whatever order members told of them.
func TestNewKnowsTheCompactions(t *testing.T) {
	l := openLog(t, t.TempDir())
	scanned := said("a", 25, 20, 5, 3)
	scanned.Compaction = false
	add(t, l, 3, said("a", 30, 20, 3, 1), said("a", 20, 10, 2, 1), said("b", 20, 10, 2, 2), said("b", 30, 20, 3, 2), scanned)
	w, err := New(Config{Connect: func(context.Context) (*etcd.Client, error) { return nil, nil }, Answers: l, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, c := range w.compactions {
		got = append(got, c.revision)
	}
	if diff := cmp.Diff([]int64{20, 30}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNewNeeds(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a watch of nothing")
	}
}
