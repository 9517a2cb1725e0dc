// Package daemon is the service: it takes a snapshot at every tick of the schedule, restores snapshots for practice on a
// schedule of their own, and tells Prometheus and systemd how the cluster's backups stand.
//
// Ticks come in, backups go out. A tick is answered when its snapshot is in the spool; the queue, whose workers run
// here too, brings it to the targets however long that takes. A tick that was missed, because the host slept, the clock jumped or nobody ran, is
// made up for once. A tick that fails is tried again until it succeeds or the next one is due. Nothing
// that breaks outside (etcd, a target, the disk, the clock) ends the daemon or a later tick: when in
// doubt it takes one snapshot too many. What it reports is read from the targets, so every node tells the state
// of the cluster and not of its own last action.
//
// On a verifier host it takes no snapshots: it only reads the targets, drills, and tells.
package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/replicate"
)

// Config is what the service needs to know. All fields without "nil" or "empty" in their comment are required.
type Config struct {
	// StateDir keeps schedule.json; made 0700 if it is not there.
	StateDir string
	// Node is what the jitter of this node is derived from, such as the host name; empty: nodes do not differ.
	Node string

	// Schedule are the ticks of snapshots, by config.ParseSchedule; nil together with Backup. Where daylight saving time
	// changes, they follow the rules of onWallClock.
	Schedule cron.Schedule
	// Jitter bounds the delay added to each tick; 0: none. No delay is longer than half the time to the next tick.
	Jitter time.Duration
	// Backup takes one snapshot that answers slot, into the spool. With an error and a Result, something was left behind.
	// It returns soon after ctx ends and then leaves nothing half done. TakeFrom returns one. nil: none are taken, this is a
	// verifier host.
	Backup func(ctx context.Context, slot *time.Time) (*backup.Result, error)

	// Queue brings what Backup takes to the targets; nil: nothing does.
	Queue *replicate.Queue

	// Cluster is the name that the status page shows.
	Cluster string
	// Readers read the catalogue of each target; ReadersOf returns them.
	Readers []Reader
	// Pruners apply retention to each target, after new snapshots and at most hourly; PrunersOf returns them. nil:
	// nothing is ever deleted.
	Pruners []Pruner
	// Drills are the restores for practice; nil: none are made.
	Drills *Drills
	// Host is what else the metrics tell of; the zero value: nothing.
	Host Host
	// Revision asks the protected member for its revision, RevisionOf returns one; nil: it is not asked.
	Revision func(ctx context.Context) (int64, error)

	// Members is how the members of the cluster are compared with each other; nil: they are not asked. Its On is set here.
	Members *members.Config

	// Archive makes the continuous archive. snapshot asks for a snapshot soon, gap is told of each gap. It needs Queue; nil:
	// there is none.
	Archive func(ctx context.Context, snapshot, gap func()) (Archive, error)

	// Merging merges the archive in the targets; nil: nothing is merged.
	Merging *Merging

	// Listen is the host:port of the HTTP server; port 0 is any free one, and the log names it.
	Listen string
	// WebConfigFile is Prometheus' web configuration with TLS and passwords; empty: plain HTTP.
	WebConfigFile string

	Metrics *metrics.Metrics
	// Version of drd, for the status page.
	Version string
	// Textfile is a file that drd's metrics are written to every minute; empty: none.
	Textfile string
	// HeartbeatFile holds a URL that is called every minute as long as all targets are safe; empty: none is.
	HeartbeatFile string

	Log *slog.Logger

	// Notify tells the service manager; nil: systemd by NOTIFY_SOCKET, if it is set.
	Notify func(state string) error
	// Now is the wall clock, without a monotonic reading; nil: the machine's.
	Now func() time.Time
}

// run is the service with one configuration, about which tell speaks, until ctx ends: then it stops what it is doing, waits for it, and
// returns nil. An error means that it could not start (the address is in use, the state directory cannot be written, the web configuration
// is not valid), with a hint, or that the HTTP server broke.
func run(ctx context.Context, cfg Config, tell *notifier) error {
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return time.Now().Round(0) }
	}
	cfg = watched(cfg)
	state, err := openStateFile(cfg.StateDir)
	if err != nil {
		return err
	}
	board := newBoard(cfg, tell)
	cfg.Readers = board.watching(cfg.Readers)
	answers, err := routes(cfg.Metrics, board, newHealth(tell.pulse, probeOf(cfg.Queue)), cfg.Version, cfg.Log)
	if err != nil {
		return err
	}
	web, err := listen(ctx, cfg, answers)
	if err != nil {
		return err
	}
	look := newFreshness(cfg, tell)
	watch, err := watchMembers(cfg, look.diverged)
	if err != nil {
		return err
	}
	prunes := newPruning(cfg)
	drills := newDrilling(cfg, state.drills(), tell, look.drilled)
	archive, err := newArchiving(ctx, &cfg, tell)
	if err != nil {
		return err
	}
	if archive != nil {
		board.holed = archive.holed
	}
	if cfg.Queue == nil && cfg.Backup != nil { // else a prune follows when a target has received something
		cfg.Backup = prunes.after(cfg.Backup)
	}
	if cfg.Backup == nil { // others take the snapshots: a look finds out that one has arrived
		look.arrived = drills.arrived
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return web.serve(ctx) })
	g.Go(func() error { look.run(ctx); return nil })
	g.Go(func() error { newHostWatch(cfg, tell, web).run(ctx); return nil })
	g.Go(func() error { watch(ctx); return nil })
	g.Go(func() error { board.run(ctx, cfg.Readers); return nil })
	g.Go(func() error { tellOutside(ctx, cfg, board); return nil })
	if cfg.Backup != nil {
		ticks := newScheduler(cfg, state, tell, look.again)
		g.Go(func() error { ticks.run(ctx); return nil })
		if cfg.Queue != nil {
			r := &replication{queue: cfg.Queue, metrics: cfg.Metrics, tell: tell, fresh: ticks.want}
			r.stored = func(target string) { look.again(); prunes.again(); drills.arrived(target) }
			g.Go(func() error { archive.runQueue(ctx, cfg.Queue); return nil })
			g.Go(func() error { r.watch(ctx); return nil })
		}
	}
	if archive != nil {
		g.Go(func() error { archive.run(ctx); return nil })
		g.Go(func() error { archive.snapshots(ctx); return nil })
		g.Go(func() error { archive.tell(ctx); return nil })
	}
	if drills != nil {
		g.Go(func() error { drills.run(ctx); return nil })
	}
	g.Go(func() error { prunes.run(ctx); return nil })
	if merges := newMerging(cfg, prunes.again); merges != nil {
		g.Go(func() error { merges.run(ctx); return nil })
	}
	g.Go(func() error { tell.watchdog(ctx, probeOf(cfg.Queue)); return nil })
	g.Go(func() error {
		<-ctx.Done()
		tell.stopping()
		return nil
	})
	tell.ready()
	return g.Wait()
}
