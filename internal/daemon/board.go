package daemon

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/drd-project/drd/internal/daemon/page"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	verdict "github.com/drd-project/drd/internal/status"
)

const (
	// staleLook is the age from which on a look says nothing of today any more: two of them were missed, however slow.
	staleLook = 2*(lookEvery+readTimeout) + time.Minute
)

// errNotLooked is what is known of a target before it was read for the first time.
var errNotLooked = errors.New("not looked at yet")

// board keeps what the looks at the targets found, for those who ask the daemon how things stand. To answer them, nothing is asked of a
// target.
type board struct {
	cfg              verdict.Config
	snapshots, drill *plan // the schedules; nil: there is none
	stateDir         string
	gather           prometheus.Gatherer
	now              func() time.Time
	refused          func() bool
	metrics          *metrics.Metrics
	brought          func() []replicate.Status // by this node; nil: it brings nothing anywhere
	// holed is told once of each hole in what this node has brought to a target; nil: nobody wants to know.
	holed func(target string, revision int64)

	mu    sync.Mutex
	views []*view
}

// view is what is known of one target.
type view struct {
	name    string
	tried   time.Time // the last look, also one that failed; zero: there was none
	err     error     // of that look
	seen    verdict.Seen
	history *proof.History
	unknown error // why the drill records could not be read
	marks   []page.Mark
	spans   []page.Span
	archive verdict.Archive // behind the newest snapshot, as it was read last
	unread  error           // why it could not be read since
	window  time.Time       // when that was read; zero: it is to be read
	// confirmed: that reading showed what this node has brought there; vain is how often it was read again because it did not.
	confirmed bool
	vain      int
	hole      int64 // the revision that holed was told of; 0: the archive has no hole

	read chan *repo.Catalogue // those that were, for who reads the archive
}

func newBoard(cfg Config, tell *notifier) *board {
	b := &board{
		cfg:      verdict.Config{Cluster: cfg.Cluster, Queue: cfg.Queue, Running: true},
		stateDir: cfg.StateDir, gather: cfg.Metrics.Gatherer(), now: cfg.Now, refused: tell.refuses, metrics: cfg.Metrics,
	}
	if cfg.Queue != nil {
		b.brought = cfg.Queue.Status
	}
	now := cfg.Now().UTC()
	if cfg.Schedule != nil {
		b.snapshots, b.cfg.Period = &plan{ticks: onWallClock(cfg.Schedule)}, LongestGap(cfg.Schedule, now)+cfg.Jitter
	}
	if d := cfg.Drills; d != nil && d.Schedule != nil {
		b.drill, b.cfg.VerifyPeriod = &plan{ticks: onWallClock(d.Schedule)}, LongestGap(d.Schedule, now)+max(cfg.Jitter, d.Spread)
	}
	if flush := cfg.Host.Flush; flush > 0 || cfg.Schedule == nil {
		b.cfg.ArchiveLate = ArchiveLate(cmp.Or(flush, DefaultFlush)) + 2*lookEvery // where it is not written it is only seen to move
	}
	for _, r := range cfg.Readers {
		b.views = append(b.views, &view{name: r.Target, read: make(chan *repo.Catalogue, 1), seen: verdict.Unread(r.Target, r.Location, errNotLooked)})
	}
	return b
}

// watching returns readers that tell the board what they read.
func (b *board) watching(readers []Reader) []Reader {
	out := make([]Reader, len(readers))
	for i, r := range readers {
		v, read, proofs := b.views[i], r.Read, r.Proofs
		r.Read = func(ctx context.Context) (*repo.Catalogue, error) {
			c, err := read(ctx)
			if !givenUp(ctx) {
				b.looked(v, c, err)
			}
			if err == nil && r.Window != nil {
				select {
				case v.read <- c:
				default: // the one before is not done with
				}
			}
			return c, err
		}
		if proofs != nil {
			r.Proofs = func(ctx context.Context, c *repo.Catalogue) (*proof.History, error) {
				h, err := proofs(ctx, c)
				if !givenUp(ctx) {
					b.proved(v, c, h, err)
				}
				return h, err
			}
		}
		out[i] = r
	}
	return out
}

func (b *board) looked(v *view, c *repo.Catalogue, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	v.tried, v.err = now, err
	if err != nil {
		return
	}
	v.seen = verdict.See(v.name, c, v.history, v.unknown, now)
	v.marks = snapshotMarks(c, now)
}

// proved takes over drill records that were read. When they cannot be read, those before stand.
func (b *board) proved(v *view, c *repo.Catalogue, h *proof.History, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		v.history, err = h, h.Unreadable()
	}
	v.unknown = err
	v.seen = verdict.See(v.name, c, v.history, v.unknown, b.now())
}

// report says how things stand by what was last seen.
func (b *board) report() *verdict.Report {
	r, _ := b.judge()
	return r
}

// judge is report with what the page shows beside it.
func (b *board) judge() (*verdict.Report, []page.Target) {
	now := b.now().UTC()
	points := recoveryPoints(b.gather)
	cfg := b.cfg
	cfg.Lost, _ = replicate.Losses(b.stateDir) // the counter of losses says the same
	if b.snapshots != nil {
		cfg.NextSnapshot = b.snapshots.next(now)
	}
	if b.drill != nil {
		cfg.NextDrill = b.drill.next(now)
	}
	seen, targets := b.stand(now, points)
	r := verdict.Judge(cfg, seen, now)
	for i := range targets {
		targets[i].Target = r.Targets[i]
	}
	return r, targets
}

func (b *board) stand(now time.Time, points map[string]time.Time) (seen []verdict.Seen, targets []page.Target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.views {
		seen = append(seen, v.standing(now, points[v.name]))
		targets = append(targets, page.Target{Looked: v.tried, Snapshots: v.marks, Drills: drillMarks(v.history, now), Archive: v.spans})
	}
	return seen, targets
}

// standing is what was seen, with an archive up to the point that the metrics tell, unless it was seen too long ago.
func (v *view) standing(now, point time.Time) verdict.Seen {
	switch {
	case v.err != nil:
		return verdict.Unread(v.name, v.seen.Location, v.err)
	case !v.tried.IsZero() && now.Sub(v.tried) > staleLook:
		return verdict.Unread(v.name, v.seen.Location, errors.New("it was last looked at on "+v.tried.UTC().Format(time.RFC3339)))
	}
	archive := v.archive
	archive.Reached = later(archive.Reached, point)
	return v.seen.Archived(archive, v.unread)
}

// snapshotMarks are the snapshots of the time that the page shows.
func snapshotMarks(c *repo.Catalogue, now time.Time) []page.Mark {
	var marks []page.Mark
	for i := range c.Entries {
		e := &c.Entries[i]
		if now.Sub(e.ID.Time) > page.Period || e.ID.Time.After(now) {
			continue
		}
		m := page.Mark{At: e.ID.Time, Good: e.Restorable(false), Title: e.ID.String()}
		if !m.Good {
			m.Title += ", " + string(e.State)
		}
		marks = append(marks, m)
	}
	return marks
}

// drillMarks are the drills of the time that the page shows. What only read the data back is left out, unless it failed.
func drillMarks(h *proof.History, now time.Time) []page.Mark {
	if h == nil {
		return nil
	}
	var marks []page.Mark
	for _, s := range h.Records() {
		if s.State != repo.StateOK || now.Sub(s.Time()) > page.Period || s.Time().After(now) {
			continue
		}
		for _, d := range s.Record.Drills {
			if d.Level.Boots() || d.Outcome == proof.Failed {
				marks = append(marks, page.Mark{
					At: d.Started, Good: d.Outcome == proof.Passed, Unknown: d.Outcome == proof.Inconclusive,
					Title: string(d.Level) + " of " + d.Snapshot + " " + string(d.Outcome),
				})
			}
		}
	}
	return marks
}

// recoveryPoints are the newest instants that can be restored, by target, as the metrics tell them: between two looks the node that
// writes the archive moves them on.
func recoveryPoints(g prometheus.Gatherer) map[string]time.Time {
	points := make(map[string]time.Time)
	families, _ := g.Gather() // what could be gathered comes with the error about the rest
	for _, f := range families {
		if f.GetName() != "drd_recovery_point_timestamp_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, label := range m.GetLabel() {
				if v := m.GetGauge().GetValue(); label.GetName() == "target" && v > 0 {
					points[label.GetValue()] = time.UnixMilli(int64(v * 1000))
				}
			}
		}
	}
	return points
}
