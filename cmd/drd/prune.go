package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/prune"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
)

type pruneFlags struct {
	target         string
	dryRun, asJSON bool
}

func newPrune(a *app) *cobra.Command {
	var flags pruneFlags
	c := &cobra.Command{
		Use:   "prune",
		Short: "delete what retention no longer keeps, and say why each snapshot and segment stays or goes",
		Long: `Applies the section retention of the configuration, and archive.keep_within, to every target: prints what becomes of each
snapshot and segment, and why, then does exactly that. The daemon does the same after its backups. Never deleted: the newest
snapshot, what archive.keep_within needs, what this node does not trust or know, what is dated in the future, an upload that may be
in progress, and anything at all while the newest snapshot is older than twice the schedule. Exit code 1 when something should have been deleted and could not be.`,
		Example: "  drd prune --dry-run\n  drd prune --target nas --json | jq '.targets[].items[] | select(.fate == \"delete\")'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.prune(cmd.Context(), flags)
		},
	}
	c.Flags().BoolVar(&flags.dryRun, "dry-run", false, "show the plan, delete nothing")
	c.Flags().BoolVar(&flags.asJSON, "json", false, "write JSON")
	c.Flags().StringVar(&flags.target, "target", "", "prune only the target of this `name`")
	return c
}

func (a *app) prune(ctx context.Context, flags pruneFlags) error {
	var from repositoryFlags
	cfg, err := from.readConfig(a)
	if err != nil {
		return err
	}
	if err := prunable(cfg, flags.target); err != nil {
		return usageError{err}
	}
	trust, err := trustOfConfig(ctx, cfg, adviceTrustFile)
	if err != nil {
		return err
	}
	targets, err := a.pruneTargets(ctx, cfg, flags.target)
	if err != nil {
		return err
	}
	now := time.Now()
	policy, err := retentionPolicy(cfg, now)
	if err != nil {
		return usageError{err}
	}
	return a.pruneAll(ctx, targets, trust, policy, now, flags)
}

// prunable is an error where the configuration asks for nothing to be pruned.
func prunable(cfg *config.Config, target string) error {
	if cfg.Retention == (config.Retention{}) {
		return hint.New(errors.New("prune: the configuration has no section retention"), "no retention configured: nothing is ever deleted; docs/retention.md shows how to write one")
	}
	var names []string
	for _, t := range cfg.Targets {
		if target == "" || t.Name == target {
			return nil
		}
		names = append(names, t.Name)
	}
	return hint.New(fmt.Errorf("prune: no target is called %q", target), "--target takes one of %s", strings.Join(names, ", "))
}

func (a *app) pruneTargets(ctx context.Context, cfg *config.Config, only string) ([]prune.Target, error) {
	sources, err := configuredSources(ctx, cfg, a.logger())
	if err != nil {
		return nil, err
	}
	var chosen []prune.Target
	for _, s := range sources {
		if only == "" || s.Name == only {
			chosen = append(chosen, prune.Target{Name: s.Name, Repo: s.Repo})
		}
	}
	return chosen, nil
}

// retentionPolicy is the section retention, with what the rest of the configuration says about time.
func retentionPolicy(cfg *config.Config, now time.Time) (retention.Policy, error) {
	ticks, err := cfg.Snapshot.Ticks()
	if err != nil {
		return retention.Policy{}, err
	}
	zone, err := time.LoadLocation(cfg.Snapshot.Timezone)
	if err != nil {
		return retention.Policy{}, fmt.Errorf("snapshot.timezone: %w", err)
	}
	r := cfg.Retention
	return retention.Policy{
		KeepWithin: r.KeepWithin, Last: r.Last, Hourly: r.Hourly, Daily: r.Daily, Weekly: r.Weekly, Monthly: r.Monthly, Yearly: r.Yearly,
		MinCopies: r.MinCopies, ArchiveWithin: cfg.Archive.KeepWithin, Zone: zone, Period: daemon.LongestGap(ticks, now),
	}, nil
}

// pruneAll goes through the targets one after the other. One that fails does not keep the others from being pruned.
func (a *app) pruneAll(ctx context.Context, targets []prune.Target, trust *seal.Trust, policy retention.Policy, now time.Time, flags pruneFlags) error {
	document := pruneOutput{DryRun: flags.dryRun, Targets: []prunedTarget{}}
	var failed []error
	for _, t := range targets {
		plan, err := makePlan(ctx, t, trust, policy, now)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if !flags.asJSON {
			if err := writePlan(a.out, plan); err != nil {
				return err
			}
		}
		var results prune.Results
		if !flags.dryRun {
			results = plan.Run(ctx)
		}
		if !flags.asJSON {
			writeResults(a.out, plan, results, flags.dryRun)
		}
		document.Targets = append(document.Targets, newPrunedTarget(plan, results))
		if err := results.Err(); err != nil {
			failed = append(failed, fmt.Errorf("prune %s: %w", t.Name, err))
		}
	}
	if flags.asJSON {
		if err := a.writeJSON(document); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func makePlan(ctx context.Context, t prune.Target, trust *seal.Trust, policy retention.Policy, now time.Time) (*prune.Plan, error) {
	policy, err := daemon.WithProof(ctx, t, trust, policy, now)
	if err != nil {
		return nil, err
	}
	return prune.Make(ctx, t, trust, policy, now)
}
