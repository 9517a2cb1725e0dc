package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/demo"
)

const demoLong = `Starts an etcd in a directory of its own, fills it like a Kubernetes cluster, takes snapshots while it is being
written, proves one of them by a drill, loses the cluster, restores it, and shows that what came back is what was recorded. In a
second act the archive follows every change: a namespace is deleted by mistake, then all is lost, and the cluster comes back
both as it was before the mistake and as it was before the disaster. It takes some twenty seconds and 300 MB of disk space, needs
nothing but this program, and can be reached from this machine only.

Exit code 1 when a step fails or anything differs.`

func newDemo(a *app) *cobra.Command {
	var cfg demo.Config
	c := &cobra.Command{
		Use:     "demo",
		Short:   "see the whole story on this machine: a cluster, its backups, its loss, its return",
		Long:    demoLong,
		Example: "  drd demo\n  drd demo --keep --dir /var/tmp",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Inspector, cfg.Survey, cfg.Etcd = selfInspector(), selfSurvey(), selfScratch()
			cfg.Program = "/proc/self/exe"
			cfg.Build, cfg.Log = build(), a.logger()
			cfg.Out, cfg.Color = a.raw, a.toTerminal && wantsColor()
			return demo.Run(cmd.Context(), cfg)
		},
	}
	c.Flags().StringVar(&cfg.Parent, "dir", "", "make the demo's directory in this `directory` (default: the system's temporary one)")
	c.Flags().BoolVar(&cfg.Keep, "keep", false, "leave the demo's directory, and say where it is")
	return c
}

// wantsColor: of a terminal that can show it, unless the person said no (no-color.org).
func wantsColor() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
