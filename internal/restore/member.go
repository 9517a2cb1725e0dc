package restore

import (
	"fmt"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/config"
	"go.uber.org/zap"

	"github.com/drd-project/drd/internal/hint"
)

// checkMember asks etcd itself whether a member could be started with the flags of r, so that a
// wrong flag is found before anything is downloaded. Host names are resolved only when the URLs of
// the member differ in writing.
func checkMember(r Request) error {
	err := verifyBootstrap(r)
	if err == nil {
		return nil
	}
	return hint.New(fmt.Errorf("member flags of %q: %w", r.Name, err),
		"--name must be in --initial-cluster, with the URLs of --initial-advertise-peer-urls")
}

func verifyBootstrap(r Request) error {
	peers, err := types.NewURLs(r.PeerURLs)
	if err != nil {
		return fmt.Errorf("peer urls %v: %w", r.PeerURLs, err)
	}
	cluster, err := types.NewURLsMap(r.InitialCluster)
	if err != nil {
		return fmt.Errorf("initial cluster %q: %w", r.InitialCluster, err)
	}
	cfg := config.ServerConfig{
		Logger:              zap.NewNop(),
		Name:                r.Name,
		PeerURLs:            peers,
		InitialPeerURLsMap:  cluster,
		InitialClusterToken: r.InitialClusterToken,
	}
	return cfg.VerifyBootstrap()
}
