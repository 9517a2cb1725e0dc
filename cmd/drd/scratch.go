package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/scratch"
)

// scratchCommand is the child process that is an etcd on restored data; see scratch.Launcher.
const scratchCommand = "scratch-etcd"

func newScratchEtcd(*app) *cobra.Command {
	return &cobra.Command{
		Use:    scratchCommand + " SETTINGS",
		Short:  "run an etcd on restored data (run by drd itself)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := scratch.Main(cmd.Context(), args); code != 0 {
				return exitError{errors.New("the scratch etcd failed"), code}
			}
			return nil
		},
	}
}

// selfScratch starts the scratch etcd with this very program as the child process, as selfInspector does.
func selfScratch() scratch.Launcher {
	return scratch.Launcher{Program: "/proc/self/exe", Command: []string{"drd", scratchCommand}}
}
