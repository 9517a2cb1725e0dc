package main

import (
	"context"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/preflight"
	"github.com/drd-project/drd/internal/stig"
	"github.com/drd-project/drd/systemd"
)

// unit is the service that a server node should run.
const unit = "drd.service"

func newCheck(a *app) *cobra.Command {
	var asJSON, hardening bool
	c := &cobra.Command{
		Use:   "check",
		Short: "find out whether a backup would work: etcd, keys, disk, clock, service, targets",
		Long: `Does what a backup does, as far as that leaves no trace: connects to etcd and begins a snapshot, loads the keys, looks at disk,
clocks, certificates and the service, and at what that can reach in its sandbox, lists and writes in every target, and asks S3 what it
protects and what it deletes. The one trace is the object CLUSTER/write-check in each target, made once, which proves that the store
refuses to overwrite; where the credentials may hide objects and not destroy them, trying it can leave a delete marker of
CLUSTER/delete-check, which never exists.
Exit code 1 when anything failed. What each check means: docs/check.md.

With --stig nothing is tried: the modes, owners, ports and settings of this node are compared with what the DISA STIG for RKE2, the
CIS benchmark and drd's own rules ask, path by path (docs/stig.md). Exit code 3 when a finding is open.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if hardening {
				return a.compareHardening(cmd.Context(), asJSON)
			}
			return a.runChecks(cmd, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	c.Flags().BoolVar(&hardening, "stig", false, "compare this node with hardening guides instead")
	return c
}

func (a *app) runChecks(cmd *cobra.Command, asJSON bool) error {
	cfg, err := a.preflightConfig(cmd)
	if err != nil {
		return err
	}
	checks := preflight.Run(cmd.Context(), cfg)
	if asJSON {
		err = a.writeJSON(struct {
			Checks []preflight.Check `json:"checks"`
		}{checks})
	} else {
		err = a.writeChecks(checks)
	}
	if err == nil && preflight.Failed(checks) {
		err = fmt.Errorf("%s failed: do not rely on backups from this node", count(preflight.Failures(checks), "check"))
	}
	return err
}

// compareHardening needs the configuration and neither keys nor targets.
func (a *app) compareHardening(ctx context.Context, asJSON bool) error {
	cfg, err := config.Load(a.configFile)
	if err != nil {
		return usageError{err}
	}
	path, err := filepath.Abs(a.configFile)
	if err != nil {
		return fmt.Errorf("compare this node: %w", err)
	}
	findings, err := stig.Check(ctx, cfg, path)
	if err != nil {
		return err
	}
	open := stig.Open(findings)
	if asJSON {
		err = a.writeJSON(struct {
			Open     int            `json:"open"`
			Findings []stig.Finding `json:"findings"`
		}{open, findings})
	} else {
		err = a.writeFindings(findings)
	}
	if err == nil && open > 0 {
		err = exitError{fmt.Errorf("%s of %d open", count(open, "finding"), len(findings)), exitUnhealthy}
	}
	return err
}

func (a *app) writeFindings(findings []stig.Finding) error {
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Result, f.ID, printable(f.Subject), printable(f.Found))
		if f.Result == stig.Fail {
			fmt.Fprintf(t, "\t\texpected: %s\t\n", f.Expected)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	return nil
}

func (a *app) preflightConfig(cmd *cobra.Command) (preflight.Config, error) {
	n, err := a.loadAny(cmd.Context(), a.logger())
	if err != nil {
		return preflight.Config{}, err
	}
	cfg := preflight.Config{
		Settings: n.cfg, ConfigFile: a.configFile, Recipients: n.recipients, Signer: n.signer, Trust: n.trust, Keys: n.keys,
		StateDir: n.cfg.StateDir, Targets: n.targets, Unit: unit, UnitFile: systemd.Service(), AuditFile: auditFile(n.cfg),
		Outputs: preflight.Outputs{
			Listen: func(ctx context.Context) error {
				return daemon.TryListen(ctx, n.cfg.Metrics.Listen, n.cfg.Metrics.WebConfigFile)
			},
			Heartbeat: func() error { return daemon.TryHeartbeat(n.cfg.Metrics.HeartbeatURLFile) },
		},
	}
	if !n.cfg.Verifier() {
		cfg.Connect = n.connect
	} else {
		cfg.ReadOnly = n.signer == nil // then it keeps no records of its drills in the targets
	}
	return cfg, nil
}

func (a *app) writeChecks(checks []preflight.Check) error {
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.Status, c.Name, printable(c.Detail))
		for _, h := range c.Hints {
			fmt.Fprintf(t, "\t\thint: %s\n", h)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the checks: %w", err)
	}
	return nil
}
