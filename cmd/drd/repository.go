package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

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
	asOf    string // RFC 3339; "": now
	at      time.Time
}

func (f *repositoryFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.urls, "repo", nil, "read this repository instead of the configured targets: s3://bucket/prefix?endpoint=…&region=… or file:///path (repeatable)")
	c.Flags().StringVar(&f.cluster, "cluster", "", "`name` of the cluster; needed with --repo when it holds several")
	c.Flags().StringVar(&f.asOf, "as-of", "", "read versioned buckets as they were at this `time` (RFC 3339), before objects were deleted or replaced")
	c.Flags().StringVar(&f.trust, "trust", "", "allowed signers `file`: whose signatures count")
}

// nothing says what to do when nothing was found.
func (f *repositoryFlags) nothing() string {
	if len(f.urls) > 0 {
		return "check --cluster and the prefix of --repo"
	}
	return "drd snapshot takes one"
}

// open returns the repositories and whom to trust; trust is nil when nobody was named.
func (f *repositoryFlags) open(ctx context.Context, a *app) ([]restore.Source, *seal.Trust, error) {
	var trust *seal.Trust
	var err error
	if f.asOf != "" {
		if f.at, err = time.Parse(time.RFC3339, f.asOf); err != nil {
			return nil, nil, usageError{hint.New(fmt.Errorf("--as-of %q is not a time", f.asOf), "write it as 2026-11-22T10:00:00Z")}
		}
	}
	if f.trust != "" {
		if trust, err = seal.LoadTrust(f.trust); err != nil {
			return nil, nil, usageError{hint.New(err, "--trust names the allowed signers file that drd keygen wrote, one line for each node")}
		}
	}
	if len(f.urls) > 0 {
		sources, err := f.openURLs(ctx, a)
		return sources, trust, err
	}
	cfg, err := f.readConfig(a)
	if err != nil {
		return nil, nil, err
	}
	if trust == nil {
		if trust, err = trustOfConfig(ctx, cfg, adviceTrust); err != nil {
			return nil, nil, err
		}
	}
	sources, err := f.configured(ctx, a, cfg)
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

// What helps those without the signing key, where there is a flag for it and where there is none.
const (
	adviceTrust     = "name the allowed signers: --trust FILE"
	adviceTrustFile = "name the allowed signers with trust.file: then no key is read"
)

// trustOfConfig reads no key where the configuration names the allowed signers. advice is for who has no such key.
func trustOfConfig(ctx context.Context, cfg *config.Config, advice string) (*seal.Trust, error) {
	if cfg.Trust.File != "" {
		return nodeTrust(cfg, nil)
	}
	signer, err := loadSigner(ctx, cfg.Signing.KeyFile)
	if err != nil {
		return nil, hint.New(err, "%s", advice)
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

// configured are the targets of the configuration, as of a time if one is given: then only those that keep versions.
func (f *repositoryFlags) configured(ctx context.Context, a *app, cfg *config.Config) ([]restore.Source, error) {
	if f.at.IsZero() {
		return configuredSources(ctx, cfg, a.logger())
	}
	var sources []restore.Source
	var failed []error
	for _, t := range cfg.Targets {
		bucket, err := targets.OpenAsOf(ctx, t, f.at)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		r, err := repo.Open(bucket, cfg.Cluster)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", t.Name, err)
		}
		sources = append(sources, restore.Source{Name: t.Name, Repo: r})
	}
	return a.whatIsLeft(sources, failed)
}

// openURLs opens every repository that can be opened: on a bad day one that answers is enough.
func (f *repositoryFlags) openURLs(ctx context.Context, a *app) ([]restore.Source, error) {
	var sources []restore.Source
	var failed []error
	for i, url := range f.urls {
		name := "repo"
		if len(f.urls) > 1 {
			name = fmt.Sprintf("repo %d", i+1)
		}
		if err := targets.CheckURL(url); err != nil {
			return nil, usageError{fmt.Errorf("%s: %w", name, err)}
		}
		r, err := f.openURL(ctx, url)
		var usage usageError
		if errors.As(err, &usage) {
			return nil, err
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
			continue
		}
		sources = append(sources, restore.Source{Name: name, Repo: r})
	}
	return a.whatIsLeft(sources, failed)
}

// whatIsLeft names the sources that failed, and is an error only when no other is left.
func (a *app) whatIsLeft(sources []restore.Source, failed []error) ([]restore.Source, error) {
	if len(sources) == 0 {
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		fmt.Fprintf(a.err, "drd: note: left out: %v\n", err)
	}
	return sources, nil
}

func (f *repositoryFlags) openURL(ctx context.Context, url string) (*repo.Repository, error) {
	open := targets.OpenURL
	if !f.at.IsZero() {
		open = func(ctx context.Context, url string) (storage.Bucket, error) {
			return targets.OpenURLAsOf(ctx, url, f.at)
		}
	}
	bucket, err := open(ctx, url)
	if err != nil {
		return nil, err
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
	return r, nil
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
		return "", hint.New(fmt.Errorf("%w: %s holds no cluster's snapshots", repo.ErrNothing, b.Location()), "check the bucket and the prefix: the clusters' directories stand directly below it")
	case len(found) == 1:
		return found[0], nil
	}
	return "", usageError{hint.New(errors.New("the repository holds several clusters"), "name one with --cluster: %s", strings.Join(found, ", "))}
}
