package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/status"
)

// errUnhealthy ends drd status with exit code 3; what is wrong was said already.
var errUnhealthy = errors.New("not healthy")

func newStatus(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "can this cluster be restored, to when, and what is wrong",
		Long: `One screen: the verdict first, then each target with its newest restorable instant, when a drill last restored a snapshot
of it, and what waits for it on this host.
All of it is read from the targets and the spool now, and neither etcd nor the daemon is asked, so it is true when they are
dead. Exit code 3 when anything is wrong.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.loadAny(cmd.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			cfg, err := statusConfig(n, time.Now())
			if err != nil {
				return usageError{err}
			}
			r := status.Look(cmd.Context(), cfg, time.Now())
			if asJSON {
				err = a.writeJSON(r)
			} else {
				err = writeStatus(a.out, r)
			}
			if err == nil && !r.Healthy {
				err = exitError{errUnhealthy, exitUnhealthy}
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

// statusConfig is what to look at on this node. A host that only verifies has no queue and no schedule of snapshots.
func statusConfig(n *node, now time.Time) (status.Config, error) {
	cfg := status.Config{Cluster: n.cfg.Cluster, Targets: n.targets, Trust: n.trust}
	drills, err := n.cfg.DrillTicks()
	if err != nil {
		return cfg, err
	}
	if drills != nil {
		cfg.VerifyPeriod = daemon.LongestGap(drills, now)
	}
	if n.cfg.Verifier() {
		return cfg, nil
	}
	ticks, err := n.cfg.Snapshot.Ticks()
	if err != nil {
		return cfg, err
	}
	if n.cfg.Archive.Enabled {
		cfg.Newest = func(ctx context.Context, r *repo.Repository, snapshot *repo.Entry) (time.Time, error) {
			return restore.NewestInstant(ctx, r, snapshot, n.trust)
		}
	}
	cfg.Queue, cfg.Period = n.runner.Queue(), daemon.LongestGap(ticks, now)
	cfg.Lost, err = replicate.Losses(n.cfg.StateDir)
	return cfg, err
}

func writeStatus(w io.Writer, r *status.Report) error {
	fmt.Fprintf(w, "%s: %s\n", r.Cluster, verdict(r))
	for _, p := range r.Problems {
		fmt.Fprintf(w, "problem: %s\n", printable(p.Text))
		for _, h := range p.Hints {
			fmt.Fprintf(w, "  hint: %s\n", printable(h))
		}
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TARGET\tRECOVERY POINT\tAGE\tPROVED\tSNAPSHOTS\tUNUSABLE\tFAILED\tWAITING\tSINCE\tLOST\tLOCATION")
	for _, x := range r.Targets {
		have, other, failed := "-", "-", "-" // not known
		if x.Readable {
			have, other, failed = fmt.Sprint(x.Restorable), fmt.Sprint(x.Other), fmt.Sprint(x.Failed)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\n", printable(x.Name), instant(x.RecoveryPoint), since(r.Time, x.RecoveryPoint),
			since(r.Time, x.Proved), have, other, failed, x.Waiting, instant(x.WaitingSince), x.Lost, printable(x.Location))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	return nil
}

func verdict(r *status.Report) string {
	if r.RecoveryPoint == nil {
		return "NOT RECOVERABLE: no target that could be read holds a snapshot to restore"
	}
	text := fmt.Sprintf("recoverable to %s (%s ago), %s", instant(r.RecoveryPoint), since(r.Time, r.RecoveryPoint), proved(r))
	if !r.Healthy {
		text += ", and something is wrong"
	}
	return text
}

// proved says what is known of the newest snapshot, and where that is not all, when a restore last worked.
func proved(r *status.Report) string {
	at := "never"
	if r.Proved != nil {
		at = longAgo(r.Time, *r.Proved)
	}
	switch r.Proof {
	case proof.StateProved:
		return "proved: a drill restored it " + longAgo(r.Time, *r.ProofAt)
	case proof.StateDataProved:
		return "its data proved " + longAgo(r.Time, *r.ProofAt) + "; last drill passed: " + at
	case proof.StateFailed:
		return "but its drill FAILED " + longAgo(r.Time, *r.ProofAt) + "; last drill passed: " + at
	}
	return "unproven: no restore of it was tried; last drill passed: " + at
}

func instant(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func since(now time.Time, t *time.Time) string {
	if t == nil {
		return "-"
	}
	return ago(now.Sub(*t))
}
