package main

import (
	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/scratch"
)

// scratchCommand is the child process that is an etcd on restored data; see scratch.Launcher.
const scratchCommand = "scratch-etcd"

func newScratchEtcd(*app) *cobra.Command {
	return newChild(scratchCommand+" SETTINGS", "run an etcd on restored data", cobra.ExactArgs(1), scratch.Main)
}

// selfScratch starts the scratch etcd with this very program as the child process, as selfInspector does.
func selfScratch() scratch.Launcher {
	return scratch.Launcher{Program: "/proc/self/exe", Command: []string{"drd", scratchCommand}}
}
