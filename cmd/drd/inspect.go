package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/snapshot"
)

// inspectCommand is the child process that reads snapshot files; see snapshot.Inspector.
const inspectCommand = "inspect-file"

func newInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    inspectCommand + " FILE [REVISION COMPACT]",
		Short:  "read the facts of a snapshot file (run by drd itself)",
		Hidden: true,
		// -1 is a compact revision, of a store that was never compacted.
		DisableFlagParsing: true,
		Args:               cobra.MatchAll(cobra.MinimumNArgs(1), cobra.MaximumNArgs(3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := snapshot.InspectMain(cmd.Context(), args, a.raw); code != 0 {
				return exitError{errors.New("inspection failed"), code}
			}
			return nil
		},
	}
}
