package members

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/etcd"
)

const (
	defaultInterval = 2 * time.Minute
	// defaultSettle is longer than any compaction takes (etcd pauses 10 ms after each 1000 revisions: ten million take some
	// minutes), and than the 5 minutes between two of Kubernetes, where only what is superseded is asked.
	defaultSettle = 15 * time.Minute
	// defaultConfirm is longer than a store small enough to be scanned takes to remove what was compacted.
	defaultConfirm = 15 * time.Second
	// pollTimeout bounds a poll. Each member has its own limits, and there are seldom more than seven.
	pollTimeout = 5 * time.Minute
)

// Config is how to watch.
type Config struct {
	// Connect makes a connection for one poll, with certificates and password read afresh. The Watch closes it.
	Connect func(ctx context.Context) (*etcd.Client, error)
	// Answers is where members' answers are kept.
	Answers *Log
	// Interval is the time between polls. 0 means 2 minutes.
	Interval time.Duration
	// ScanBelow is the size in bytes below which a database is small: each poll scans it, in some 50 ms for 64 MiB. 0 is never.
	ScanBelow int64
	// Settle is how long the newest compaction must have stood before it counts as done. 0 means 15 minutes.
	Settle time.Duration
	// Confirm is how long to wait before members that differ in a scan are asked once more. 0 means 15 seconds.
	Confirm time.Duration

	On  Events
	Log *slog.Logger
	Now func() time.Time // nil: time.Now
}

// Events are what a Watch tells whoever runs it, from the goroutine of Run. Either may be nil.
type Events struct {
	Polled func(Report) // the cluster answered
	Failed func(error)  // it did not, or the log could not be written
}

// Watch asks all members on a schedule whether they agree.
type Watch struct {
	cfg Config

	// compactions are the revisions of compactions that were noticed, oldest first, at most maxCompactions.
	compactions []compaction

	// What was logged last: transitions are logged, not heartbeats.
	failing  bool
	diverged map[string]bool // by member ID
	alarms   map[etcd.Alarm]bool
}

// compaction is one that was noticed.
type compaction struct {
	revision int64
	noticed  time.Time
}

// New makes a Watch. It begins with the compactions that the log knows of.
func New(cfg Config) (*Watch, error) {
	if cfg.Connect == nil || cfg.Answers == nil || cfg.Log == nil {
		return nil, errors.New("watch members: Connect, Answers and Log are needed")
	}
	cfg.Interval = cmp.Or(cfg.Interval, defaultInterval)
	cfg.Settle = cmp.Or(cfg.Settle, defaultSettle)
	cfg.Confirm = cmp.Or(cfg.Confirm, defaultConfirm)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	w := &Watch{cfg: cfg}
	told := slices.DeleteFunc(cfg.Answers.all(), func(e entry) bool { return !e.Compaction })
	slices.SortStableFunc(told, func(a, b entry) int { return cmp.Compare(a.Revision, b.Revision) })
	for _, e := range told {
		w.notice(e.Revision, e.First)
	}
	return w, nil
}

// Run polls now and at every interval until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, pollTimeout)
		report, err := w.Poll(limited)
		cancel()
		if ctx.Err() != nil {
			return
		}
		w.tell(report, err)
		timer := time.NewTimer(w.cfg.Interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// tell calls the events and logs what changed. A poll whose log could not be written has a report and an error.
func (w *Watch) tell(r Report, err error) {
	if err != nil && !w.failing {
		w.cfg.Log.Warn("members cannot be compared", "error", err)
	}
	if err == nil && w.failing {
		w.cfg.Log.Info("members are compared again")
	}
	w.failing = err != nil
	if err != nil && w.cfg.On.Failed != nil {
		w.cfg.On.Failed(err)
	}
	if r.At.IsZero() {
		return
	}
	w.logDivergence(r)
	w.logAlarms(r)
	if w.cfg.On.Polled != nil {
		w.cfg.On.Polled(r)
	}
}

// logDivergence logs that members begin to differ, and that they agree again. While they differ, every poll of a small
// database finds it for other revisions, and that is no news.
func (w *Watch) logDivergence(r Report) {
	now := make(map[string]bool)
	for _, id := range r.Differing() {
		now[id] = true
	}
	for _, d := range r.Diverged {
		news := false
		for _, id := range d.Differing() {
			news = news || !w.diverged[id]
		}
		if news {
			w.cfg.Log.Error("members do not hold the same data", "comparison", d.String())
		}
	}
	if len(now) == 0 && len(w.diverged) > 0 {
		w.cfg.Log.Info("members hold the same data again")
	}
	w.diverged = now
}

// logAlarms logs each alarm when it is raised and when it is gone.
func (w *Watch) logAlarms(r Report) {
	now := make(map[etcd.Alarm]bool)
	for _, a := range r.Alarms {
		now[a] = true
		if !w.alarms[a] {
			w.cfg.Log.Error("etcd has raised an alarm", "alarm", a.Type, "member", etcd.FormatID(a.Member))
		}
	}
	for a := range w.alarms {
		if !now[a] {
			w.cfg.Log.Info("etcd's alarm is over", "alarm", a.Type, "member", etcd.FormatID(a.Member))
		}
	}
	w.alarms = now
}
