package servers

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// EtcdConfig says what kind of member to start. The zero value is a single member of the newest version, without
// TLS, on an empty data directory.
type EtcdConfig struct {
	Version string // "3.4", "3.5", "3.6" or "3.7"; default "3.7"
	Name    string // member name; default "default", as etcd's own

	DataDir         string // default: a new directory that goes with the test
	ExistingDataDir bool   // DataDir holds a member already; without it, finding one there fails the test

	ClientTLS *CA // when set, clients need a certificate of this authority, and the server shows one

	ClientPort, PeerPort int    // on 127.0.0.1; default: free ones
	InitialCluster       string // NAME=URL,…; default: this member alone

	Fsync bool     // write to disk as in production; default: no, which is several times faster
	Args  []string // further flags of etcd; they win over the ones set here
	Env   []string // NAME=value, beside HOME and PATH; nothing else of the tester's environment is passed on
}

// Etcd is one etcd member. Stop, Kill, Start, Pause, Resume, PID and Logs act on its process.
type Etcd struct {
	*process
	CAFile, CertFile, KeyFile string // what a client needs; empty without TLS

	cfg       EtcdConfig
	clientTLS *tls.Config // nil without TLS
	tlsArgs   []string
}

// StartEtcd starts a member and waits until it has a leader and answers. When it does not, the test fails and shows
// the end of its output.
func StartEtcd(tb testing.TB, cfg EtcdConfig) *Etcd {
	tb.Helper()
	e := newEtcd(tb, cfg)
	e.launch(func() { e.setPorts(freePorts(tb, 2)) })
	return e
}

// newEtcd prepares a member: its directory and certificates, not its ports.
func newEtcd(tb testing.TB, cfg EtcdConfig) *Etcd {
	tb.Helper()
	if cfg.Version == "" {
		cfg.Version = "3.7"
	}
	if cfg.Name == "" {
		cfg.Name = "default"
	}
	if cfg.DataDir == "" {
		cfg.DataDir = filepath.Join(tb.TempDir(), "etcd")
	}
	checkDataDir(tb, cfg)

	env := cfg.Env
	if cfg.Version == "3.4" && runtime.GOARCH != "amd64" {
		env = append([]string{"ETCD_UNSUPPORTED_ARCH=" + runtime.GOARCH}, env...)
	}
	e := &Etcd{process: newProcess(tb, "etcd-"+cfg.Version, env...), cfg: cfg}
	if cfg.ClientTLS != nil {
		e.useTLS(tb, cfg.ClientTLS)
	}
	e.ready = e.healthy
	return e
}

// checkDataDir keeps a test from taking a fresh store for a restored one, and the other way round.
func checkDataDir(tb testing.TB, cfg EtcdConfig) {
	tb.Helper()
	_, err := os.Stat(filepath.Join(cfg.DataDir, "member"))
	if cfg.ExistingDataDir && err != nil {
		tb.Fatalf("start etcd on an existing data directory: %v", err)
	}
	if !cfg.ExistingDataDir && err == nil {
		tb.Fatalf("start etcd: %s holds a member already, and ExistingDataDir is not set", cfg.DataDir)
	}
}

func (e *Etcd) useTLS(tb testing.TB, ca *CA) {
	tb.Helper()
	serverCert, serverKey := ca.Issue(tb, "etcd-server")
	e.tlsArgs = []string{
		"--cert-file", serverCert, "--key-file", serverKey,
		"--client-cert-auth", "--trusted-ca-file", ca.CertFile(),
	}
	e.CAFile = ca.CertFile()
	e.CertFile, e.KeyFile = ca.Issue(tb, "etcd-client")
	e.clientTLS = ca.clientTLS(tb, e.CertFile, e.KeyFile)
}

// setPorts takes a client and a peer port, except where the test chose them, and makes the arguments.
func (e *Etcd) setPorts(free []int) {
	client, peer := free[0], free[1]
	if e.cfg.ClientPort != 0 {
		client = e.cfg.ClientPort
	}
	if e.cfg.PeerPort != 0 {
		peer = e.cfg.PeerPort
	}
	e.setArgs(client, peer)
}

func (e *Etcd) setArgs(clientPort, peerPort int) {
	e.cfg.ClientPort, e.cfg.PeerPort = clientPort, peerPort
	cluster := e.cfg.InitialCluster
	if cluster == "" {
		cluster = e.cfg.Name + "=" + e.PeerURL()
	}
	e.args = append([]string{
		"--name", e.cfg.Name, "--data-dir", e.cfg.DataDir,
		"--listen-client-urls", e.Endpoint(), "--advertise-client-urls", e.Endpoint(),
		"--listen-peer-urls", e.PeerURL(), "--initial-advertise-peer-urls", e.PeerURL(),
		"--initial-cluster", cluster,
		"--logger", "zap", // 3.4 has another default
	}, e.tlsArgs...)
	if !e.cfg.Fsync {
		e.args = append(e.args, "--unsafe-no-fsync")
	}
	e.args = append(e.args, e.cfg.Args...)
}

// Endpoint is the URL for clients, https when TLS is on.
func (e *Etcd) Endpoint() string {
	scheme := "http"
	if e.clientTLS != nil {
		scheme = "https"
	}
	return scheme + "://" + address(e.cfg.ClientPort)
}

// PeerURL is the URL for other members.
func (e *Etcd) PeerURL() string { return "http://" + address(e.cfg.PeerPort) }

// Ports are those that it listens on, as for EtcdConfig: another member can take its place.
func (e *Etcd) Ports() (client, peer int) { return e.cfg.ClientPort, e.cfg.PeerPort }

// DataDir is the directory that holds the member, as in etcd's --data-dir.
func (e *Etcd) DataDir() string { return e.cfg.DataDir }

// Name is the member's name.
func (e *Etcd) Name() string { return e.cfg.Name }

// Version is the etcd version as asked for, such as "3.5".
func (e *Etcd) Version() string { return e.cfg.Version }

// Client returns a client of this member alone, closed at the end of the test.
func (e *Etcd) Client(tb testing.TB) *clientv3.Client {
	tb.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{e.Endpoint()},
		DialTimeout: 10 * time.Second,
		TLS:         e.clientTLS,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		tb.Fatalf("make a client for %s: %v", e.Endpoint(), err)
	}
	tb.Cleanup(func() { _ = client.Close() }) // it reports only that the context it ended was ended
	return client
}

// healthy asks etcd's own health page, which does a read that needs a leader. An exceeded quota is a state that
// tests set up on purpose: such a member is up.
func (e *Etcd) healthy(ctx context.Context) error {
	return get(ctx, e.clientTLS, e.Endpoint()+"/health?exclude=NOSPACE")
}

// get succeeds when the URL answers 200 on a connection of its own.
func get(ctx context.Context, config *tls.Config, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s (%v)", url, resp.Status, body, err)
	}
	return nil
}
