// Package etcd is drd's view of the cluster it protects: one member, and strictly read only.
//
// A backup must come from one member, because a snapshot is the state of one member's disk. So
// Connect picks the first endpoint that answers and stays with it; there is no balancing and no
// silent move to another member.
//
// Everything here asks and nothing changes: the calls are Snapshot, Status, HashKV, MemberList and a
// serializable Range that counts (to learn what was compacted; no key and no value is returned), plus
// Authenticate where the cluster has users. Alarms are read from the status. All of them work without a
// quorum, except Authenticate, which etcd runs through raft; a login that was made before goes on to be good.
// What follows the cluster asks more: Watch, Leases, LeaseTimeToLive and AuthStatus, which want a leader.
//
// Certificates and CA are read again for each new connection, because distributions rotate them
// under a running daemon. Errors name the cause in one line: the file, the date, the certificate.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/drd-project/drd/internal/hint"
)

const (
	// defaultDialTimeout is long enough for a loaded member on the same host, and short enough for
	// a person who waits for `drd check`.
	defaultDialTimeout = 5 * time.Second
	// reconnectWait is how long a call waits for a lost connection to come back before it fails.
	reconnectWait = time.Second
)

// Config says how to reach the cluster.
type Config struct {
	// Endpoints are client URLs, tried in order: http://host:port, https://host:port,
	// or unix:///path. At least one.
	Endpoints []string
	// CAFile is the PEM bundle that signs the servers' certificates; "" trusts the system's.
	CAFile string
	// CertFile and KeyFile are the client certificate in PEM: both or neither.
	CertFile, KeyFile string
	// Username and PasswordFile are for clusters with etcd's own authentication: both or neither.
	// The file must not be accessible to group or others; one trailing newline is not part of the
	// password. It is read by Connect only: after a change of password, connect again.
	Username, PasswordFile string
	// DialTimeout bounds the first answer of each endpoint. 0 means 5 s.
	DialTimeout time.Duration
}

func (cfg Config) tlsFiles() tlsFiles { return tlsFiles{cfg.CAFile, cfg.CertFile, cfg.KeyFile} }

// Client talks to one member. It is safe for concurrent use. A connection that breaks is made
// again, with certificates read afresh, by the next call.
type Client struct {
	cfg      Config
	url      string // as configured
	endpoint endpoint
	login    *login
	conn     *grpc.ClientConn
	watched  *grpc.ClientConn // of watches: see gathering; it connects when there is one
	last     *lastFailure
}

// Connect dials the first endpoint that answers and pins it.
//
// Errors wrap ErrUnreachable, ErrTLS, ErrPermission or ErrNoQuorum; with several endpoints the
// error lists each one and why it was not usable.
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = defaultDialTimeout
	}
	password, err := checkConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	user := newLogin(cfg.Username, password)
	var failed failures
	for _, url := range cfg.Endpoints {
		c, err := dial(ctx, cfg, user, url)
		if err == nil {
			return c, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil || errors.Is(err, ErrPermission) {
			break // another member would say the same
		}
	}
	return nil, fmt.Errorf("connect to etcd: %w", failed)
}

// checkConfig finds what no endpoint could cure, before anything is dialled, and returns the password.
func checkConfig(cfg Config) (password string, err error) {
	if len(cfg.Endpoints) == 0 {
		return "", errors.New("no endpoint given")
	}
	for _, url := range cfg.Endpoints {
		ep, err := parseEndpoint(url)
		if err != nil {
			return "", err
		}
		if !ep.tls {
			continue
		}
		if _, err := cfg.tlsFiles().load(); err != nil {
			return "", err
		}
	}
	return readPassword(cfg.Username, cfg.PasswordFile)
}

// dial connects to one endpoint and waits for its first answer, for cfg.DialTimeout at most.
func dial(ctx context.Context, cfg Config, user *login, url string) (*Client, error) {
	ep, err := parseEndpoint(url)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, url: url, endpoint: ep, login: user, last: &lastFailure{}}
	if c.conn, err = grpc.NewClient(ep.target(), dialOptions(cfg, ep, user, c.last, connect)...); err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if c.watched, err = grpc.NewClient(ep.target(), dialOptions(cfg, ep, user, c.last, connectGathering)...); err == nil {
		err = c.answers(ctx)
	}
	if err != nil {
		_ = c.Close() // the first error is what matters
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return c, nil
}

// answers logs in and waits for the first answer of the member.
func (c *Client) answers(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	_, err := c.login.get(limited, c.conn, "")
	loggedIn := err == nil
	if loggedIn {
		_, err = pb.NewMaintenanceClient(c.conn).Status(limited, &pb.StatusRequest{})
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || (limited.Err() == nil && status.Code(err) != codes.DeadlineExceeded):
		return c.cause(ctx, err)
	case !loggedIn && c.conn.GetState() == connectivity.Ready:
		// The member is there, and to answer a login it needs the others.
		return hint.New(fmt.Errorf("%w: no answer to the login of user %q within %s", ErrNoQuorum, c.cfg.Username, c.cfg.DialTimeout), hintQuorum)
	}
	return c.noAnswer()
}

// Endpoint is the URL of the member the client is pinned to, as given in the configuration.
func (c *Client) Endpoint() string { return c.url }

// Close ends the connections and every stream on them.
func (c *Client) Close() error {
	err := c.conn.Close()
	if c.watched != nil {
		err = errors.Join(err, c.watched.Close())
	}
	if err != nil {
		return fmt.Errorf("close connection to %s: %w", c.url, err)
	}
	return nil
}

// awake returns the connection, having given a failed one a moment to come back: gRPC would
// otherwise answer from the last failure until its backoff is over.
func (c *Client) awake(ctx context.Context) *grpc.ClientConn { return awake(ctx, c.conn) }

func awake(ctx context.Context, conn *grpc.ClientConn) *grpc.ClientConn {
	if conn.GetState() == connectivity.TransientFailure {
		conn.ResetConnectBackoff()
		ctx, cancel := context.WithTimeout(ctx, reconnectWait)
		defer cancel()
		conn.WaitForStateChange(ctx, connectivity.TransientFailure)
	}
	return conn
}
