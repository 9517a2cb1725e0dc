package main

import (
	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/snapshot"
)

// inspectCommand is the child process that reads snapshot files; see snapshot.Inspector.
const inspectCommand = "inspect-file"

func newInspect(a *app) *cobra.Command {
	c := newChild(inspectCommand+" FILE [REVISION COMPACT]", "read the facts of a snapshot file",
		cobra.MatchAll(cobra.MinimumNArgs(1), cobra.MaximumNArgs(3)), a.toStdout(snapshot.InspectMain))
	c.DisableFlagParsing = true // -1 is a compact revision, of a store that was never compacted
	return c
}
