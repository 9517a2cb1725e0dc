package etcd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/drd-project/drd/internal/hint"
)

const (
	// A member whose host vanished is noticed after these two; etcd refuses pings that come more
	// often than every 5 s.
	keepAliveTime    = 15 * time.Second
	keepAliveTimeout = 5 * time.Second
	// maxBackoff is short: the member is on this host, and its way back is what we wait for.
	maxBackoff = 2 * time.Second

	// One snapshot is one big stream. Larger windows and reads than gRPC's own (64 KiB growing, 32 KiB)
	// make it about a fifth faster on loopback, at the same CPU time; see BenchmarkSnapshotStream.
	streamWindow = 4 << 20
	readBuffer   = 128 << 10

	// maxMessage bounds one answer. The pieces of a snapshot have 32 KiB and a list of members a few; etcd's own client
	// takes 2 GiB, which a server that is not etcd could have us allocate.
	maxMessage = 16 << 20
)

type endpoint struct {
	network, address string // as net.Dial wants them
	tls              bool
}

func parseEndpoint(s string) (endpoint, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "":
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.Port() != "" && strings.Trim(u.Path, "/") == "":
		return endpoint{network: "tcp", address: u.Host, tls: u.Scheme == "https"}, nil
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return endpoint{network: "unix", address: u.Path}, nil
	}
	shown := s[strings.LastIndex(s, "@")+1:] // a password before it is not ours to print
	return endpoint{}, hint.New(fmt.Errorf("endpoint %q is not a client URL", shown),
		"write endpoints as https://host:port, http://host:port or unix:///path")
}

// target names the endpoint to gRPC, which takes from it the name to find in a certificate.
func (e endpoint) target() string {
	if e.network == "unix" {
		return "passthrough:///localhost"
	}
	return "passthrough:///" + e.address
}

// connectFunc makes a connection to an endpoint.
type connectFunc func(ctx context.Context, ep endpoint) (net.Conn, error)

func connect(ctx context.Context, ep endpoint) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, ep.network, ep.address)
}

func connectGathering(ctx context.Context, ep endpoint) (net.Conn, error) {
	conn, err := connect(ctx, ep)
	if err != nil {
		return nil, err
	}
	return newGathering(conn)
}

// dialOptions connect directly: a proxy that the environment names is for the object store, and
// must not come between drd and etcd.
func dialOptions(cfg Config, ep endpoint, user *login, last *lastFailure, connect connectFunc) []grpc.DialOption {
	inner := insecure.NewCredentials()
	if ep.tls {
		inner = &freshTLS{files: cfg.tlsFiles()}
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(&observed{TransportCredentials: inner, last: last}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := connect(ctx, ep)
			if err != nil {
				last.set(err)
			}
			return conn, err
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  100 * time.Millisecond,
				Multiplier: backoff.DefaultConfig.Multiplier,
				Jitter:     backoff.DefaultConfig.Jitter,
				MaxDelay:   maxBackoff,
			},
			// Later than the callers' own limit, so that what they see does not depend on a race.
			MinConnectTimeout: cfg.DialTimeout + time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(streamWindow),
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepAliveTime, Timeout: keepAliveTimeout}),
		grpc.WithUnaryInterceptor(user.unary),
	}
}

// lastFailure keeps why the newest attempt to connect failed, nil once the server has said something. gRPC reports it
// as text; the cause is needed as a value, to name the certificate and the file.
type lastFailure struct {
	mu  sync.Mutex
	err error
}

func (l *lastFailure) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *lastFailure) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// observed notes how a connection begins: the handshake, and the first bytes after it, because
// with TLS 1.3 a server refuses a client's certificate only then.
type observed struct {
	credentials.TransportCredentials
	last *lastFailure
}

func (o *observed) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := o.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		o.last.set(err)
		return nil, nil, err
	}
	o.last.set(io.EOF) // gRPC writes at once, and may find the connection broken before it has read
	return &firstRead{Conn: conn, last: o.last}, info, nil
}

func (o *observed) Clone() credentials.TransportCredentials {
	return &observed{TransportCredentials: o.TransportCredentials.Clone(), last: o.last}
}

// firstRead reports the outcome of the first Read. gRPC reads from one goroutine.
type firstRead struct {
	net.Conn
	last *lastFailure
	done bool
}

func (f *firstRead) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if !f.done {
		f.done = true
		if n > 0 {
			f.last.set(nil)
		} else {
			f.last.set(err)
		}
	}
	return n, err
}
