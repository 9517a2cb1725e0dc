package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/distro"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/setup"
)

func newConfigInit(a *app) *cobra.Command {
	var output, cluster string
	root := "/"
	c := &cobra.Command{
		Use:   "init",
		Short: "draft a configuration for this node",
		Long: `Looks at this node (where etcd is, who runs it, with which certificates it lets a client in, what fits on the disk) and drafts
a configuration with comments. What only a person knows stands in it as CHANGE-ME, and is named. RKE2, k3s, kubeadm and an
etcd by itself are known; etcd may be down. Only files are read, as root, and no file is ever overwritten.`,
		Example: "  drd config init\n  drd config init --cluster prod-east --output -",
		RunE: func(*cobra.Command, []string) error {
			if cluster != "" {
				if err := config.CheckCluster(cluster); err != nil {
					return usageError{err}
				}
			}
			if output == "" {
				output = a.configFile
			}
			return a.draftConfig(root, output, cluster)
		},
	}
	c.Flags().StringVar(&output, "output", "", "write to this `file`, or to standard output with - (default: the file of --config)")
	c.Flags().StringVar(&cluster, "cluster", "", "`name` of the cluster")
	c.Flags().StringVar(&root, "root", "/", "look at the node whose file system is in this `directory`")
	return c
}

// draftConfig writes the draft to output and tells people what is left to do; with "-" on standard error.
func (a *app) draftConfig(root, output, cluster string) error {
	n, err := distro.Detect(root)
	if err != nil {
		return hint.New(err, "for a host that only verifies, and for anything else, begin with docs/configuration.md")
	}
	name, err := os.Hostname()
	if err != nil {
		name = "this node"
	}
	dir := filepath.Dir(output)
	if output == "-" {
		dir = filepath.Dir(a.configFile)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("draft a configuration: %w", err)
	}
	draft, err := setup.New(n, setup.Options{Root: root, Dir: dir, Cluster: cluster, Host: name, Now: time.Now()})
	if err != nil {
		return err
	}
	told := a.out
	if output == "-" {
		told = a.err
		_, err = a.out.Write(draft.Text)
	} else {
		err = writeConfig(output, draft.Text)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(told, "%s: etcd of %s at %s\n", output, n.Distro, n.Endpoint)
	for _, part := range []struct {
		title string
		lines []string
	}{{"write in place of CHANGE-ME", draft.Blanks}, {"still missing", draft.Missing}, {"note", draft.Notes}} {
		for _, line := range part.lines {
			fmt.Fprintf(told, "%s: %s\n", part.title, line)
		}
	}
	return nil
}

// writeConfig creates a configuration, which only its owner may read: where the backups are is nobody else's business.
func writeConfig(path string, text []byte) error {
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = writeNew(path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}
