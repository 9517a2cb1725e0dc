package main

import (
	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/metrics"
)

// host is what the daemon's metrics tell of this host.
func (n *node) host() daemon.Host {
	h := daemon.Host{Directories: map[metrics.Directory]string{metrics.DirectoryState: n.cfg.StateDir}}
	if !n.cfg.Verifier() {
		h.Directories[metrics.DirectoryRuntime] = n.cfg.RuntimeDir
		h.Etcd = etcdConfig(n.cfg)
	}
	if n.cfg.Verify != (config.Verify{}) {
		h.Directories[metrics.DirectoryScratch] = n.cfg.Scratch()
	}
	if n.cfg.Archive.Enabled {
		h.Flush = n.cfg.Archive.FlushInterval
	}
	if n.signer != nil {
		h.SigningUntil = n.trust.ValidUntil(n.signer.PublicKey())
	}
	for _, t := range n.cfg.Targets {
		if c := t.S3; c != nil {
			h.Targets = append(h.Targets, daemon.HostTarget{
				Name: t.Name, Endpoint: c.Endpoint, CAFile: c.CAFile, CredentialsFile: c.CredentialsFile, Profile: c.Profile,
			})
		}
	}
	return h
}
