package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/drd-project/drd/internal/archiver"
	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/targets"
)

// node is what the configuration of one node comes to: keys loaded, targets opened, nothing asked of the network yet. Of a
// verifier host there is only cfg, trust and targets, and perhaps a signer.
type node struct {
	cfg        *config.Config
	signer     *seal.Signer
	trust      *seal.Trust
	recipients *seal.Recipients
	keys       *seal.KeyRing
	note       func(audit.Event) // into the audit log
	targets    []replicate.Target
	queue      *replicate.Queue // nil on a verifier host
	runner     *backup.Runner
	archiver   atomic.Pointer[archiver.Archiver] // nil: this process writes no archive
	members    *members.Log                      // what the live members said of themselves; nil on a verifier host
}

// errVerifier is what commands say that need an etcd.
var errVerifier = errors.New("this is a verifier host: its configuration names no etcd to take snapshots of")

// loadNode reads the configuration of a node that takes snapshots, and everything it names.
func (a *app) loadNode(ctx context.Context, log *slog.Logger) (*node, error) {
	n, err := a.loadHost(ctx, log)
	if err != nil {
		return nil, err
	}
	if n.cfg.Verifier() {
		return nil, usageError{hint.New(errVerifier, "drd verify, list, report and restore work here; run this on a node of the cluster")}
	}
	return n, n.loadMember(log)
}

// loadAny is loadNode for commands that also work on a verifier host.
func (a *app) loadAny(ctx context.Context, log *slog.Logger) (*node, error) {
	n, err := a.loadHost(ctx, log)
	if err != nil || n.cfg.Verifier() {
		return n, err
	}
	return n, n.loadMember(log)
}

// loadHost reads what every host has that drd runs on.
func (a *app) loadHost(ctx context.Context, log *slog.Logger) (*node, error) {
	cfg, err := config.Load(a.configFile)
	if err != nil {
		return nil, usageError{err}
	}
	return hostOf(ctx, cfg, log)
}

// hostOf is loadHost for a configuration that has been read.
func hostOf(ctx context.Context, cfg *config.Config, log *slog.Logger) (n *node, err error) {
	n = &node{cfg: cfg, note: noteIn(ctx)}
	if n.signer, err = configuredSigner(ctx, cfg); err != nil {
		return nil, err
	}
	if n.trust, err = nodeTrust(cfg, n.signer); err != nil {
		return nil, err
	}
	if n.targets, err = openTargets(ctx, cfg, log); err != nil {
		return nil, err
	}
	return n, nil
}

// loadMember is the rest, which it takes to make backups of a member.
func (n *node) loadMember(log *slog.Logger) (err error) {
	if n.recipients, err = seal.ParseRecipients(n.cfg.Seal.Recipients, n.cfg.Seal.RecipientsFile); err != nil {
		return err
	}
	if n.keys, err = seal.OpenKeyRing(keyDir(n.cfg)); err != nil {
		return err
	}
	if n.members, err = members.OpenLog(n.cfg.StateDir); err != nil {
		return err
	}
	if n.runner, err = newRunner(n, log); err != nil {
		return err
	}
	n.queue = n.runner.Queue()
	return nil
}

// loadLook is what it takes to look at the targets and the spool: no key is read where the configuration names the allowed
// signers, and what only a daemon needs may be gone. Then unsound says why none would start here.
func (a *app) loadLook(ctx context.Context, log *slog.Logger) (n *node, unsound, err error) {
	cfg, unsound, err := config.Look(a.configFile)
	if err != nil {
		return nil, nil, usageError{err}
	}
	n = &node{cfg: cfg}
	if n.trust, err = trustOfConfig(ctx, cfg, adviceTrustFile); err != nil {
		if unsound != nil { // which may be why, or not
			err = usageError{errors.Join(unsound, err)}
		}
		return nil, nil, err
	}
	if n.targets, err = openTargets(ctx, cfg, log); err != nil || cfg.Verifier() {
		return n, unsound, err
	}
	n.queue, err = replicate.New(replicate.Config{Cluster: cfg.Cluster, StateDir: cfg.StateDir, Targets: n.targets, Log: log})
	return n, unsound, err
}

// keyDir has the file keys of what this node uploaded since it booted.
func keyDir(cfg *config.Config) string { return filepath.Join(cfg.RuntimeDir, "keys") }

// configuredSigner is nil on a verifier host that has no signing key.
func configuredSigner(ctx context.Context, cfg *config.Config) (*seal.Signer, error) {
	if cfg.Signing.KeyFile == "" {
		return nil, nil
	}
	return loadSigner(ctx, cfg.Signing.KeyFile)
}

func newRunner(n *node, log *slog.Logger) (*backup.Runner, error) {
	return backup.New(backup.Config{
		Cluster: n.cfg.Cluster, StateDir: n.cfg.StateDir, Keys: n.keys, Signer: n.signer, Trust: n.trust,
		Targets: n.targets, Recipients: n.recipients, Inspector: selfInspector(),
		StallTimeout: n.cfg.Snapshot.StallTimeout, ScanBelow: n.cfg.Snapshot.HashMembersBelow,
		MembersSaid: n.members.Comparisons, Forked: n.forked,
		SpoolMax: n.cfg.SpoolMaxBytes, Keep: n.cfg.SpoolKeep, Build: build(), Log: log,
	})
}

// nodeTrust is the allowed signers file, or the node's own key where there is none.
func nodeTrust(cfg *config.Config, signer *seal.Signer) (*seal.Trust, error) {
	if cfg.Trust.File != "" {
		return seal.LoadTrust(cfg.Trust.File)
	}
	return seal.TrustOf(signer.PublicKey(), "this node"), nil
}

func openTargets(ctx context.Context, cfg *config.Config, log *slog.Logger) ([]replicate.Target, error) {
	var opened []replicate.Target
	for _, t := range cfg.Targets {
		bucket, err := targets.Open(ctx, t)
		if err != nil {
			// The others must go on, and a restore above all: whatever asks this one hears why it is not there.
			log.Debug("a target cannot be used now", "target", t.Name, "error", err)
			bucket = targets.Reopening(t)
		}
		r, err := repo.Open(bucket, cfg.Cluster)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", t.Name, err)
		}
		opened = append(opened, replicate.Target{Name: t.Name, Repo: r, ReadBack: t.ReadBack == config.ReadBackFull})
	}
	return opened, nil
}

func (n *node) connect(ctx context.Context) (*etcd.Client, error) {
	return etcd.Connect(ctx, etcdConfig(n.cfg))
}

func etcdConfig(cfg *config.Config) etcd.Config {
	e := cfg.Etcd
	return etcd.Config{
		Endpoints: e.Endpoints, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile,
		Username: e.Username, PasswordFile: e.PasswordFile, DialTimeout: e.DialTimeout,
	}
}

// selfInspector inspects with this very program as the child process: the one that runs, also after a package upgrade has
// put another one in its place.
func selfInspector() snapshot.Inspector {
	return snapshot.Inspector{Program: "/proc/self/exe", Command: []string{"drd", inspectCommand}}
}
