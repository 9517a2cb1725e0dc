package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/drd-project/drd/internal/backup"
	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/targets"
)

const (
	clusterName = "demo"
	targetName  = "nas"
)

// makeKeys writes the files that `drd keygen` writes, each where it belongs.
func makeKeys(p place) error {
	identity, recipient, err := seal.GenerateIdentity(false)
	if err != nil {
		return err
	}
	private, public, err := seal.GenerateSigningKey(memberName)
	if err != nil {
		return err
	}
	signers := fmt.Sprintf("%s namespaces=%q %s", memberName, seal.Namespace, public)
	for _, f := range []struct{ dir, name, content string }{
		{"safe", "identity.txt", identity + "\n"},
		{"safe", "recipient.txt", recipient + "\n"},
		{"safe", "allowed_signers", signers},
		{"node", "recipient.txt", recipient + "\n"},
		{"node", "allowed_signers", signers},
		{"node", "signing.key", string(private)},
		{"node", "signing.key.pub", string(public)},
	} {
		if err := p.write(0o600, f.content, f.dir, f.name); err != nil {
			return err
		}
	}
	return nil
}

// configure writes the node's configuration and reads it back as every command does.
func configure(p place, m *member) (*config.Config, error) {
	text := fmt.Sprintf(`cluster: %s
etcd:
  endpoints: [%s]
state_dir: %s
runtime_dir: %s
seal:
  recipients_file: %s
signing:
  key_file: %s
trust:
  file: %s
targets:
  - {name: %s, dir: %s}
`, clusterName, quote(m.url.String()), quote(p.path("node", "state")), quote(p.path("node", "run")), quote(p.path("node", "recipient.txt")),
		quote(p.path("node", "signing.key")), quote(p.path("node", "allowed_signers")), targetName, quote(p.path("target")))
	if err := p.write(0o600, text, "node", "config.yaml"); err != nil {
		return nil, err
	}
	return config.Load(p.path("node", "config.yaml"))
}

// quote writes a path into the configuration, where a $ begins a variable.
func quote(s string) string { return fmt.Sprintf("%q", strings.ReplaceAll(s, "$", "$$")) }

// node is what drd is on the server: what the configuration names, loaded.
type node struct {
	client *etcd.Client
	runner *backup.Runner
	target replicate.Target
	trust  *seal.Trust
	signer *seal.Signer
	keys   *seal.KeyRing // of the objects that it has uploaded
}

func (d *demo) openNode(ctx context.Context, cfg *config.Config) (*node, error) {
	n := &node{}
	var err error
	if n.target, err = openTarget(ctx, cfg); err != nil {
		return nil, err
	}
	if n.trust, err = seal.LoadTrust(cfg.Trust.File); err != nil {
		return nil, err
	}
	if n.signer, err = seal.LoadSigner(cfg.Signing.KeyFile); err != nil {
		return nil, err
	}
	if n.keys, err = seal.OpenKeyRing(filepath.Join(cfg.RuntimeDir, "keys")); err != nil {
		return nil, err
	}
	if n.runner, err = d.newRunner(cfg, n); err != nil {
		return nil, err
	}
	n.client, err = etcd.Connect(ctx, etcd.Config{Endpoints: cfg.Etcd.Endpoints, DialTimeout: cfg.Etcd.DialTimeout})
	if err != nil {
		return nil, err
	}
	return n, nil
}

func openTarget(ctx context.Context, cfg *config.Config) (replicate.Target, error) {
	t := cfg.Targets[0]
	bucket, err := targets.Open(ctx, t)
	if err != nil {
		return replicate.Target{}, fmt.Errorf("target %s: %w", t.Name, err)
	}
	r, err := repo.Open(bucket, cfg.Cluster)
	if err != nil {
		return replicate.Target{}, fmt.Errorf("target %s: %w", t.Name, err)
	}
	return replicate.Target{Name: t.Name, Repo: r, ReadBack: t.ReadBack == config.ReadBackFull}, nil
}

func (d *demo) newRunner(cfg *config.Config, n *node) (*backup.Runner, error) {
	recipients, err := seal.ParseRecipients(cfg.Seal.Recipients, cfg.Seal.RecipientsFile)
	if err != nil {
		return nil, err
	}
	return backup.New(backup.Config{
		Cluster: cfg.Cluster, StateDir: cfg.StateDir, Keys: n.keys, Signer: n.signer, Trust: n.trust,
		Targets: []replicate.Target{n.target}, Recipients: recipients, Inspector: d.Inspector,
		StallTimeout: cfg.Snapshot.StallTimeout, ScanBelow: cfg.Snapshot.HashMembersBelow,
		Build: d.Build, Log: d.Log,
	})
}

// silent is a backup.Observer for whom the result is enough.
type silent struct{}

func (silent) Step(string)           {}
func (silent) Progress(int64, int64) {}
