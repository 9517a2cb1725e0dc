package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// makeIdentity writes what `drd keygen --only identity` writes for the safe.
func makeIdentity(p place) error {
	identity, recipient, err := seal.GenerateIdentity(false)
	if err != nil {
		return err
	}
	return p.writeAll("safe", map[string]string{"identity.txt": identity + "\n", "recipient.txt": recipient + "\n"})
}

// makeSigner writes what `drd keygen --only signing` writes for the node, adds its key to those that the safe trusts, and
// gives the node all that it should have of the safe.
func makeSigner(p place) error {
	private, public, err := seal.GenerateSigningKey(memberName)
	if err != nil {
		return err
	}
	trusted, err := p.read("safe", "allowed_signers")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the first node is the first that is trusted
		return err
	}
	recipient, err := p.read("safe", "recipient.txt")
	if err != nil {
		return err
	}
	trusted += fmt.Sprintf("%s namespaces=%q %s", memberName, seal.Namespace, public)
	return errors.Join(
		p.writeAll("safe", map[string]string{"allowed_signers": trusted}),
		p.writeAll("node", map[string]string{
			"allowed_signers": trusted, "recipient.txt": recipient, "signing.key": string(private), "signing.key.pub": string(public),
		}))
}

// configure writes the node's configuration, with more lines at its end, and reads it back as every command does.
func configure(p place, m *member, more string) (*config.Config, error) {
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
%s`, clusterName, quote(m.url.String()), quote(p.path("node", "state")), quote(p.path("node", "run")), quote(p.path("node", "recipient.txt")),
		quote(p.path("node", "signing.key")), quote(p.path("node", "allowed_signers")), targetName, quote(p.path("target")), more)
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
