package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// newChild is a command that drd runs by itself, in a process of its own, which may crash on a file that is damaged. what it does is in
// the error when it fails; why is in what main has written.
func newChild(use, what string, args cobra.PositionalArgs, main func(context.Context, []string) int) *cobra.Command {
	return &cobra.Command{
		Use:    use,
		Short:  what + " (run by drd itself)",
		Hidden: true,
		Args:   args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := main(cmd.Context(), args); code != 0 {
				return exitError{fmt.Errorf("%s: failed", what), code}
			}
			return nil
		},
	}
}

// toStdout has a child write its answer to standard output.
func (a *app) toStdout(main func(context.Context, []string, io.Writer) int) func(context.Context, []string) int {
	return func(ctx context.Context, args []string) int { return main(ctx, args, a.raw) }
}
