package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/preflight"
)

// unit is the service that a server node should run.
const unit = "drd.service"

func newCheck(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "find out whether a backup would work: etcd, keys, disk, clock, service, targets",
		Long: `Does what a backup does, as far as that leaves no trace: connects to etcd and begins a snapshot, loads the keys, looks at disk
and clock, and lists and writes in every target. The one trace is the object CLUSTER/write-check in each target, made once,
which proves that the store refuses to overwrite. Exit code 1 when anything failed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
				err = errors.New("a backup would not work from this node")
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}

func (a *app) preflightConfig(cmd *cobra.Command) (preflight.Config, error) {
	n, err := a.loadNode(cmd.Context(), a.logger())
	if err != nil {
		return preflight.Config{}, err
	}
	return preflight.Config{
		Connect: n.connect, Recipients: n.recipients, Signer: n.signer, Trust: n.trust, Keys: n.keys,
		StateDir: n.cfg.StateDir, Targets: n.targets, Unit: unit,
	}, nil
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
