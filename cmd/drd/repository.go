package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/targets"
)

// repositoryFlags say which repositories a command reads: those of the configuration, or with no configuration at all those
// named on the command line. A lost node has no configuration file.
type repositoryFlags struct {
	urls    []string
	cluster string
	trust   string
}

func (f *repositoryFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.urls, "repo", nil, "read this repository instead of the configured targets: s3://bucket/prefix?endpoint=…&region=… or file:///path (repeatable)")
	c.Flags().StringVar(&f.cluster, "cluster", "", "`name` of the cluster; needed with --repo when it holds several")
	c.Flags().StringVar(&f.trust, "trust", "", "allowed signers `file`: whose signatures count")
}

// open returns the repositories and whom to trust; trust is nil when nobody was named.
func (f *repositoryFlags) open(ctx context.Context, a *app) ([]restore.Source, *seal.Trust, error) {
	var trust *seal.Trust
	var err error
	if f.trust != "" {
		if trust, err = seal.LoadTrust(f.trust); err != nil {
			return nil, nil, err
		}
	}
	if len(f.urls) > 0 {
		sources, err := f.openURLs(ctx)
		return sources, trust, err
	}
	cfg, err := f.readConfig(a)
	if err != nil {
		return nil, nil, err
	}
	if trust == nil {
		if trust, err = trustOfConfig(cfg); err != nil {
			return nil, nil, err
		}
	}
	sources, err := configuredSources(ctx, cfg, a.logger())
	return sources, trust, err
}

// readConfig reads the configuration without looking at the files it names: of those that etcd needs, a broken node may have none.
func (f *repositoryFlags) readConfig(a *app) (*config.Config, error) {
	data, err := os.ReadFile(a.configFile)
	if err != nil {
		return nil, usageError{hint.New(fmt.Errorf("read the configuration: %w", err), "without one, name the repository: --repo s3://bucket/prefix?region=… --cluster NAME")}
	}
	cfg, err := config.Parse(a.configFile, data)
	if err != nil {
		return nil, usageError{err}
	}
	if f.cluster != "" {
		cfg.Cluster = f.cluster
	}
	return cfg, nil
}

func trustOfConfig(cfg *config.Config) (*seal.Trust, error) {
	if cfg.Trust.File != "" {
		return seal.LoadTrust(cfg.Trust.File)
	}
	signer, err := seal.LoadSigner(cfg.Signing.KeyFile)
	if err != nil {
		return nil, hint.New(err, "name the allowed signers: --trust FILE")
	}
	return nodeTrust(cfg, signer)
}

func configuredSources(ctx context.Context, cfg *config.Config, log *slog.Logger) ([]restore.Source, error) {
	opened, err := openTargets(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	var sources []restore.Source
	for _, t := range opened {
		sources = append(sources, restore.Source{Name: t.Name, Repo: t.Repo})
	}
	return sources, nil
}

func (f *repositoryFlags) openURLs(ctx context.Context) ([]restore.Source, error) {
	var sources []restore.Source
	for i, url := range f.urls {
		bucket, err := targets.OpenURL(ctx, url)
		if err != nil {
			return nil, usageError{err}
		}
		cluster := f.cluster
		if cluster == "" {
			if cluster, err = onlyCluster(ctx, bucket); err != nil {
				return nil, err
			}
		}
		r, err := repo.Open(bucket, cluster)
		if err != nil {
			return nil, usageError{err}
		}
		sources = append(sources, restore.Source{Name: fmt.Sprintf("repo %d", i+1), Repo: r})
	}
	if len(sources) == 1 {
		sources[0].Name = "repo"
	}
	return sources, nil
}

// onlyCluster finds the one cluster of a bucket, so that nobody has to remember its name on a bad day.
func onlyCluster(ctx context.Context, b storage.Bucket) (string, error) {
	found, complete, err := repo.Clusters(ctx, b)
	switch {
	case err != nil:
		return "", fmt.Errorf("look for clusters in %s: %w", b.Location(), err)
	case !complete:
		err := hint.New(errors.New("the repository is too large to see whether it holds one cluster only"), "name the cluster with --cluster")
		if len(found) > 0 {
			err = hint.New(err, "it holds at least: %s", strings.Join(found, ", "))
		}
		return "", usageError{err}
	case len(found) == 0:
		return "", fmt.Errorf("%w: %s holds no cluster's snapshots", repo.ErrNothing, b.Location())
	case len(found) == 1:
		return found[0], nil
	}
	return "", usageError{hint.New(errors.New("the repository holds several clusters"), "name one with --cluster: %s", strings.Join(found, ", "))}
}
