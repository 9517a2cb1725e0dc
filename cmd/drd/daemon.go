package main

import (
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/retention"
)

func newDaemon(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "daemon",
		Short: "run the service: scheduled snapshots and metrics (systemd calls this)",
		Long: `Takes a snapshot at every tick of snapshot.schedule, makes up once for ticks that were missed, and serves metrics.
It ends on SIGTERM; a snapshot that is being taken is given up and leaves nothing behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: a.level(slog.LevelInfo)}))
			cfg, err := a.daemonConfig(cmd, log)
			if err != nil {
				return err
			}
			return daemon.Run(cmd.Context(), cfg)
		},
	}
}

func (a *app) daemonConfig(cmd *cobra.Command, log *slog.Logger) (daemon.Config, error) {
	n, err := a.loadNode(cmd.Context(), log)
	if err != nil {
		return daemon.Config{}, err
	}
	if idle := n.cfg.Inactive(); len(idle) > 0 {
		log.Warn("this version does nothing yet with some configured sections", "sections", idle)
	}
	schedule, err := n.cfg.Snapshot.Ticks()
	if err != nil {
		return daemon.Config{}, usageError{err}
	}
	host, err := os.Hostname()
	if err != nil {
		log.Warn("the host name is not known: the jitter is that of every other such node", "error", err)
	}
	pruners, err := pruners(n)
	if err != nil {
		return daemon.Config{}, usageError{err}
	}
	v := currentVersion()
	member := etcdConfig(n.cfg)
	return daemon.Config{
		StateDir: n.cfg.StateDir, Node: host, Schedule: schedule, Jitter: n.cfg.Snapshot.Jitter,
		Backup:   daemon.TakeFrom(member, n.runner),
		Queue:    n.runner.Queue(),
		Readers:  daemon.ReadersOf(n.targets, n.trust),
		Pruners:  pruners,
		Revision: daemon.RevisionOf(member),
		Listen:   n.cfg.Metrics.Listen, WebConfigFile: n.cfg.Metrics.WebConfigFile,
		Metrics: metrics.New(metrics.Build{Version: v.Version, GoVersion: runtime.Version(), FIPSModule: v.FIPSModule}),
		Log:     log,
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
