package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/status"
	"github.com/drd-project/drd/internal/storage/cache"
)

// errUnhealthy ends drd status with exit code 3; what is wrong was said already.
var errUnhealthy = errors.New("not healthy")

func newStatus(a *app) *cobra.Command {
	var asJSON, anew bool
	c := &cobra.Command{
		Use:   "status",
		Short: "can this cluster be restored, to when, and what is wrong",
		Long: `One screen: the verdict first, then what is wrong and what to do, then each target with the newest instant that it can restore, what
drills proved, what waits for it on this host, and what it holds; and when the next snapshot and drill are due.

All of it is read from the targets and the spool now, and neither etcd nor the daemon is asked, so it is true when they are
dead. Manifests and records, which never change, are read from a target once a day and kept in the directory cache of state_dir,
and so is which of their signatures were found good. A configuration that names files which are gone is a problem like any other,
and what the targets hold is shown all the same. Exit code 3 when anything is wrong.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, unsound, err := a.loadLook(cmd.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			return a.status(cmd.Context(), n, unsound, asJSON, anew)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	c.Flags().BoolVar(&anew, "no-cache", false, "read everything anew from the targets")
	return c
}

func (a *app) status(ctx context.Context, n *node, unsound error, asJSON, anew bool) error {
	cfg, err := statusConfig(n, time.Now())
	if err != nil {
		return usageError{err}
	}
	cfg.Unsound = unsound
	save := func() {}
	if !anew {
		cfg.Targets, save = remembering(cfg.Targets, cacheDir(n.cfg), a.logger())
	}
	r := status.Look(ctx, cfg, time.Now())
	if asJSON {
		err = a.writeJSON(r)
	} else {
		err = r.WriteText(a.out)
	}
	save() // nobody has to wait for it
	if err == nil && !r.Healthy {
		err = exitError{errUnhealthy, exitUnhealthy}
	}
	return err
}

// cacheDir remembers what was read from the targets. It may be deleted at any time.
func cacheDir(cfg *config.Config) string { return filepath.Join(cfg.StateDir, "cache") }

// remembering returns the targets with what was read from them before, and how to keep that for the next time. Nobody is told that it
// cannot be kept but with --verbose: only time is lost.
func remembering(targets []replicate.Target, dir string, log *slog.Logger) ([]replicate.Target, func()) {
	var with []replicate.Target
	var buckets []*cache.Bucket
	for _, t := range targets {
		b := cache.Open(t.Repo.Bucket(), dir)
		if r, err := repo.Open(b, t.Repo.Cluster()); err == nil { // it was opened with this name before
			buckets, t.Repo = append(buckets, b), r
		}
		with = append(with, t)
	}
	return with, func() {
		for _, b := range buckets {
			if err := b.Save(); err != nil {
				log.Debug("what was read is not kept for the next time", "error", err)
			}
		}
	}
}

// statusConfig is what to look at on this node. A host that only verifies has no queue and no schedule of snapshots.
func statusConfig(n *node, now time.Time) (status.Config, error) {
	cfg := status.Config{Cluster: n.cfg.Cluster, Targets: n.targets, Trust: n.trust}
	drills, err := n.cfg.DrillTicks()
	if err != nil {
		return cfg, err
	}
	if drills != nil {
		cfg.VerifyPeriod, cfg.NextDrill = daemon.LongestGap(drills, now), daemon.NextTick(drills, now)
		if !n.cfg.Verifier() {
			cfg.VerifyPeriod += max(n.cfg.Snapshot.Jitter, daemon.DefaultSpread)
		}
	}
	if n.cfg.Archive.Enabled || n.cfg.Verifier() {
		cfg.ArchiveLate = daemon.ArchiveLate(cmp.Or(n.cfg.Archive.FlushInterval, daemon.DefaultFlush))
		cfg.Archive = func(ctx context.Context, r *repo.Repository, snapshot *repo.Entry) (status.Archive, error) {
			tip, err := restore.ReadTip(ctx, r, snapshot, n.trust)
			return status.Archive(tip), err
		}
	}
	if n.cfg.Verifier() {
		return cfg, nil
	}
	ticks, err := n.cfg.Snapshot.Ticks()
	if err != nil {
		return cfg, err
	}
	cfg.Queue, cfg.Period, cfg.NextSnapshot = n.queue, daemon.LongestGap(ticks, now)+n.cfg.Snapshot.Jitter, daemon.NextTick(ticks, now)
	if cfg.Due, err = dueBy(n.cfg, now); err != nil {
		return cfg, err
	}
	cfg.Lost, err = replicate.Losses(n.cfg.StateDir)
	return cfg, err
}

// dueBy counts what retention lets go. It is nil where nothing is deleted, and where the archive has a word in it: which snapshots
// that needs takes the reading of all of it to find out, which drd prune --dry-run does.
func dueBy(cfg *config.Config, now time.Time) (func(*repo.Catalogue, *proof.History, time.Time) int, error) {
	if cfg.Retention == (config.Retention{}) || cfg.Archive.Enabled {
		return nil, nil
	}
	policy, err := retentionPolicy(cfg, now)
	if err != nil {
		return nil, err
	}
	return func(c *repo.Catalogue, h *proof.History, now time.Time) int {
		today := policy
		today.Proved = h.Proved()
		due := 0
		decisions, _ := retention.Decide(c, nil, today, now)
		for _, d := range decisions {
			if d.Fate == retention.Delete && d.Entry.Manifest != nil {
				due++
			}
		}
		return due
	}, nil
}
