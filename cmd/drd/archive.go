package main

import (
	"context"
	"log/slog"
	"math"

	"github.com/drd-project/drd/internal/archiver"
	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
)

// archive makes the continuous archive of this node for the daemon.
func (n *node) archive(log *slog.Logger) func(ctx context.Context, snapshot, gap func()) (daemon.Archive, error) {
	return func(ctx context.Context, snapshot, gap func()) (daemon.Archive, error) {
		a, err := archiver.New(ctx, archiver.Config{
			Cluster: n.cfg.Cluster, StateDir: n.cfg.StateDir, Connect: n.connect, Queue: n.queue, Targets: n.targets,
			Trust: n.trust, Signer: n.signer, Recipients: n.recipients, Build: build(), FlushInterval: n.cfg.Archive.FlushInterval,
			Checkpoints: n.checkpoints, Last: n.lastManifest(log), Snapshot: snapshot, Gap: gap, Log: log,
		})
		if err != nil {
			return nil, err
		}
		n.archiver.Store(a)
		return a, nil
	}
}

// forked is the timeline on which the next snapshot must not lie, "" none.
func (n *node) forked() string {
	if a := n.archiver.Load(); a != nil {
		return a.Forked()
	}
	return ""
}

func (n *node) lastManifest(log *slog.Logger) func() *repo.Manifest {
	return func() *repo.Manifest {
		m, err := backup.LastManifest(n.cfg.StateDir, n.cfg.Cluster)
		if err != nil {
			log.Warn("what this node took last is not known", "error", err)
		}
		return m
	}
}

// checkpoints are what live members said of themselves.
func (n *node) checkpoints() []repo.Checkpoint {
	var out []repo.Checkpoint
	for _, t := range n.members.Covering(math.MaxInt64, etcd.NeverCompacted) {
		out = append(out, repo.Checkpoint{Revision: t.Revision, CompactRevision: t.CompactRevision, Hash: t.Hash, Member: t.Member})
	}
	return out
}
