package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/verify"
)

func newDaemon(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "daemon",
		Short: "run the service: scheduled snapshots, drills and metrics (systemd calls this)",
		Long: `Takes a snapshot at every tick of snapshot.schedule, drills at every tick of verify.schedule, makes up once for ticks that
were missed, and serves metrics. It ends on SIGTERM; a snapshot or drill under way is given up and leaves nothing behind.
On SIGHUP it reads its configuration again: where that is good it takes effect, else the one before stays in force.

On a verifier host, whose configuration has verify and neither etcd nor seal, it reads the targets and drills, and that is all.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: a.level(slog.LevelInfo)}))
			hangups := make(chan os.Signal, 1) // one that waits stands for all that come
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			return a.auditedService(cmd.Context(), daemon.Service{Load: a.daemonLoader(), Reload: hangups, Log: log})
		},
	}
}

// daemonLoader returns what reads the configuration: the service calls it at its start, and to read it again.
func (a *app) daemonLoader() func() (daemon.Wiring, error) {
	var started *config.Config
	return func() (daemon.Wiring, error) {
		cfg, err := config.Load(a.configFile)
		if err == nil && started != nil {
			err = sameState(started, cfg)
		}
		if err != nil {
			return nil, usageError{err}
		}
		if started == nil {
			started = cfg
		}
		return func(ctx context.Context, log *slog.Logger) (daemon.Config, error) { return daemonConfig(ctx, cfg, log) }, nil
	}
}

// sameState refuses what a service that runs cannot take: what waits in its state directory would wait for ever, and its audit log would
// be continued in the old place, under the old name.
func sameState(started, cfg *config.Config) error {
	switch {
	case cfg.StateDir != started.StateDir:
		return hint.New(fmt.Errorf("state_dir was %s when the service started, and is %s now", started.StateDir, cfg.StateDir),
			"stop the service, move %s to %s with all that is in it, and start the service", started.StateDir, cfg.StateDir)
	case cfg.Cluster != started.Cluster:
		return hint.New(fmt.Errorf("cluster was %s when the service started, and is %s now", started.Cluster, cfg.Cluster),
			"restart the service when nothing waits for a target any more (`drd status`)")
	}
	return nil
}

func daemonConfig(ctx context.Context, loaded *config.Config, log *slog.Logger) (daemon.Config, error) {
	n, err := hostOf(ctx, loaded, log)
	if err != nil {
		return daemon.Config{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		log.Warn("the host name is not known: the jitter is that of every other such node", "error", err)
	}
	v := currentVersion()
	cfg := daemon.Config{
		StateDir: n.cfg.StateDir, Node: host,
		Cluster: n.cfg.Cluster, Version: v.Version,
		Readers: daemon.ReadersOf(n.targets, n.trust, cacheDir(n.cfg), n.cfg.Archive.Enabled || n.cfg.Verifier()),
		Host:    n.host(),
		Listen:  n.cfg.Metrics.Listen, WebConfigFile: n.cfg.Metrics.WebConfigFile,
		Textfile: n.cfg.Metrics.Textfile, HeartbeatFile: n.cfg.Metrics.HeartbeatURLFile,
		Metrics: metrics.New(metrics.Build{Version: v.Version, GoVersion: runtime.Version(), FIPSModule: v.FIPSModule}),
		Log:     log,
	}
	if n.cfg.Verifier() {
		log.Info("this is a verifier host: it takes no snapshots and deletes none")
	} else if err := n.takesSnapshots(&cfg); err != nil {
		return daemon.Config{}, err
	}
	cfg.Drills, err = n.drills(log)
	return cfg, err
}

// takesSnapshots fills in what only a node with an etcd does.
func (n *node) takesSnapshots(cfg *daemon.Config) error {
	if err := n.loadMember(cfg.Log); err != nil {
		return err
	}
	schedule, err := n.cfg.Snapshot.Ticks()
	if err != nil {
		return usageError{err}
	}
	pruners, err := pruners(n)
	if err != nil {
		return usageError{err}
	}
	member := etcdConfig(n.cfg)
	cfg.Schedule, cfg.Jitter = schedule, n.cfg.Snapshot.Jitter
	cfg.Backup, cfg.Queue = daemon.TakeFrom(member, n.runner), n.queue
	cfg.Pruners, cfg.Revision = pruners, daemon.RevisionOf(member)
	if n.cfg.Archive.Enabled {
		cfg.Archive, cfg.Merging = n.archive(cfg.Log), n.merging()
	}
	cfg.Members = &members.Config{
		Connect: n.connect, Answers: n.members, ScanBelow: n.cfg.Snapshot.HashMembersBelow, Log: cfg.Log,
	}
	return nil
}

// drills are nil where the configuration has no section verify.
func (n *node) drills(log *slog.Logger) (*daemon.Drills, error) {
	if n.cfg.Verify == (config.Verify{}) {
		return nil, nil
	}
	ticks, err := n.cfg.DrillTicks()
	if err != nil {
		return nil, usageError{err}
	}
	setup, err := n.drillSetup(log)
	if err != nil {
		return nil, err
	}
	if setup.ownOnly {
		log.Info("this node drills its own snapshots only: drills of the other nodes' need trust.file, with the allowed signers of all nodes")
	}
	// Made at the start to wipe what a killed drill left, and again for each run: a scratch disk that is not mounted now
	// must not stop the snapshots, nor the drills of tomorrow.
	if _, err := setup.runner(); err != nil {
		log.Error("drills cannot be made now", "error", err)
	}
	if setup.keys.Identities != nil {
		if _, err := setup.keys.Identities(); err != nil {
			log.Error("the identity for drills cannot be used now", "error", err)
		}
	}
	spread := daemon.DefaultSpread
	if n.cfg.Verifier() {
		spread = 0 // it is mostly alone, and has no etcd whose disk it could take
	}
	levels := map[string]proof.Level{config.FreshData: proof.LevelData, config.FreshDrill: proof.LevelDrill}
	return &daemon.Drills{
		Schedule: ticks, Spread: spread, Fresh: levels[n.cfg.Verify.Fresh], CoverWithin: setup.coverWithin,
		Run: func(ctx context.Context, req verify.Request) ([]*proof.Record, error) {
			runner, err := setup.runner()
			if err != nil {
				return nil, err
			}
			return auditedDrills(ctx, runner, req)
		},
	}, nil
}

// pruners are nil where the configuration has no retention: nothing is ever deleted then.
func pruners(n *node) ([]daemon.Pruner, error) {
	if n.cfg.Retention == (config.Retention{}) {
		return nil, nil
	}
	if _, err := retentionPolicy(n.cfg, time.Now()); err != nil {
		return nil, err
	}
	return daemon.PrunersOf(n.targets, n.trust, func(now time.Time) retention.Policy {
		policy, _ := retentionPolicy(n.cfg, now) // what has worked once cannot fail: it depends on the configuration alone
		return policy
	}), nil
}
