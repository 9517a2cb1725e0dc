package scratch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Main is the body of the child process: an embedded etcd until ctx ends. args are what a Launcher appended. It logs to
// standard error and returns the exit code.
func Main(ctx context.Context, args []string) int {
	if err := serve(ctx, args); err != nil {
		fmt.Fprintf(os.Stderr, "scratch etcd: %v\n", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the settings; got %d arguments", len(args))
	}
	var s settings
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	cfg, err := s.embedded()
	if err != nil {
		return err
	}
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer etcd.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-etcd.Err():
		return err
	case <-etcd.Server.StopNotify():
		return errors.New("the server stopped")
	}
}

// embedded is what flags are for an etcd program, without the socket for peers.
func (s settings) embedded() (*embed.Config, error) {
	peers, err := types.NewURLs([]string{s.PeerURL})
	if err != nil {
		return nil, fmt.Errorf("peer URL: %w", err)
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = s.Name, s.DataDir
	cfg.InitialCluster, cfg.AdvertisePeerUrls = s.InitialCluster, peers
	if s.Token != "" {
		cfg.InitialClusterToken = s.Token
	}
	cfg.ListenPeerUrls = nil
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Host: clientSocket}}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.TickMs, cfg.ElectionMs = tick, election
	cfg.QuotaBackendBytes = s.Quota
	cfg.UnsafeNoFsync = true
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger())
	return cfg, nil
}

// logger writes what the etcd program would. Stack traces are left to panics: a store whose leases are gone has one
// error a key.
func logger() *zap.Logger {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), zapcore.InfoLevel))
}
