package main

import (
	"path/filepath"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/merge"
)

// merging merges the archive in all targets of this node, nil where the configuration has no retention: what a merged segment
// replaces would never be deleted, and every look into a target would list all that was ever archived.
func (n *node) merging() *daemon.Merging {
	if n.cfg.Retention == (config.Retention{}) {
		return nil
	}
	m := &daemon.Merging{Dir: filepath.Join(n.cfg.StateDir, "merge")}
	for _, t := range n.targets {
		merger := merge.New(merge.Config{
			Dir: m.Dir, Keys: n.keys, Identities: fileIdentities(n.cfg, n.note), Trust: n.trust, Signer: n.signer, Recipients: n.recipients, Build: build(),
		}, t.Repo)
		m.Mergers = append(m.Mergers, daemon.Merger{Target: t.Name, Pass: merger.Pass})
	}
	return m
}
