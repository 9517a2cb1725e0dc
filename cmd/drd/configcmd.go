package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
)

func newConfig(a *app) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "draft, check or show the configuration", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(newConfigInit(a), newConfigCheck(a), newConfigShow(a))
	return c
}

func newConfigCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "say everything that is wrong with the configuration file",
		Long: `Reads the file as strictly as the daemon does and reports every problem with its line: unknown keys,
contradictions, secrets that stand in the file, key files that others can read. It asks nothing of etcd or
the targets; drd check does.`,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(a.configFile)
			if err != nil {
				return usageError{err}
			}
			fmt.Fprintf(a.out, "%s is good: cluster %s, %s\n", a.configFile, cfg.Cluster, count(len(cfg.Targets), "target"))
			return nil
		},
	}
}

func newConfigShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "show the effective configuration, defaults filled in and secrets redacted",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(a.configFile)
			if err != nil {
				return usageError{err}
			}
			_, err = a.out.Write(cfg.Redacted())
			return err
		},
	}
}

// count writes a number with its noun: "1 target", "2 targets".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
