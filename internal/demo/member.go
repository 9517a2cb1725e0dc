package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/drd-project/drd/internal/hint"
)

const (
	memberName = "cp-1"
	// startTimeout bounds how long the etcd may take until it serves. On an idle machine it takes a second,
	// most of which is the election.
	startTimeout = 30 * time.Second
	// Ports are drawn from below those that Linux gives to connections which go out (net.ipv4.ip_local_port_range, from 32768 on): one
	// of these could take it before it is listened on.
	firstPort, lastPort = 10000, 19999
	// portTries is how many are tried: a machine with so many of them taken has other trouble.
	portTries = 1000
)

// member is the one etcd of the cluster, in this process, and a client of it.
type member struct {
	dir    string  // data directory, in the demo's place
	url    url.URL // for clients
	etcd   *embed.Etcd
	client *clientv3.Client
	log    *os.File
}

// startMember starts etcd on a data directory of the place and waits until it serves.
func startMember(ctx context.Context, p place, dir string) (*member, error) {
	log, err := os.OpenFile(p.path("etcd.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	m := &member{dir: dir, log: log, url: url.URL{Scheme: "http"}}
	if m.url.Host, err = freeAddress(); err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd: %w", err), m.stop())
	}
	if err := m.start(ctx, p); err != nil {
		return nil, errors.Join(hint.New(fmt.Errorf("start etcd: %w", err), "its log is etcd.log in the directory that drd demo --keep leaves"), m.stop())
	}
	return m, nil
}

func (m *member) start(ctx context.Context, p place) error {
	var err error
	if m.etcd, err = embed.StartEtcd(m.config(p)); err != nil {
		return err
	}
	select {
	case <-m.etcd.Server.ReadyNotify():
	case err := <-m.etcd.Err():
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(startTimeout):
		return fmt.Errorf("it does not serve after %s", startTimeout)
	}
	m.client, err = clientv3.New(clientv3.Config{Endpoints: []string{m.url.String()}, DialTimeout: startTimeout, Logger: zap.NewNop()})
	return err
}

// freeAddress is one of this machine's that nobody listens on. etcd must know it before it listens, because
// it tells it to clients.
func freeAddress() (string, error) {
	var failed error
	for range portTries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort+1)))
		l, err := net.Listen("tcp", address)
		if err == nil {
			return address, l.Close()
		}
		failed = err
	}
	return "", failed
}

// command is what an operator would type to start it with these settings.
func (m *member) command() string {
	return fmt.Sprintf("etcd --name %[1]s --data-dir %[3]s --listen-peer-urls unix://$PWD/peer.sock \\\n--listen-client-urls %[2]s --advertise-client-urls %[2]s", memberName, m.url.String(), m.dir)
}

// config is etcd's own but for the addresses: no other machine can reach the member. The peer URL that it advertises
// is etcd's default and is never dialled, because there is no other member.
func (m *member) config(p place) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = memberName
	cfg.Dir = p.path(m.dir)
	cfg.ListenClientUrls = []url.URL{m.url}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.ListenPeerUrls = []url.URL{{Scheme: "unix", Path: p.path("peer.sock")}}
	cfg.InitialCluster = cfg.InitialClusterFromName(memberName)
	cfg.EnableGRPCGateway = false // HTTP over JSON, which nobody asks for here
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(m.logger())
	return cfg
}

// logger writes to the log file. What cannot be written there, such as what a stopped etcd still says, is nobody's loss.
func (m *member) logger() *zap.Logger {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	core := zapcore.NewCore(encoder, zapcore.Lock(m.log), zapcore.InfoLevel)
	return zap.New(core, zap.ErrorOutput(zapcore.AddSync(io.Discard)))
}

// stop ends the etcd. Its data directory can be removed or replaced then.
func (m *member) stop() error {
	var err error
	if m.client != nil {
		err = m.client.Close()
	}
	if m.etcd != nil {
		m.etcd.Close()
	}
	if err = errors.Join(err, m.log.Close()); err != nil {
		return fmt.Errorf("stop etcd: %w", err)
	}
	return nil
}
