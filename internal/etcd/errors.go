package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/drd-project/drd/internal/hint"
)

var (
	// ErrUnreachable is wrapped when no connection to the member comes about, or it breaks.
	ErrUnreachable = errors.New("unreachable")
	// ErrTLS is wrapped when certificates stand in the way: a file, a date, a name, an authority.
	ErrTLS = errors.New("tls")
	// ErrPermission is wrapped when etcd refuses the user: none, unknown, or without the root role.
	ErrPermission = errors.New("permission denied")
	// ErrLearner is wrapped when a learner is asked for what only a voting member answers.
	ErrLearner = errors.New("the member is a learner")
	// ErrNoQuorum is wrapped when the member answers but its cluster has no leader.
	ErrNoQuorum = errors.New("the cluster has no quorum")
)

// failures are what each endpoint in turn answered.
type failures []error

func (f failures) Error() string {
	lines := make([]string, len(f))
	for i, err := range f {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "; ")
}

func (f failures) Unwrap() []error { return f }

// Hints that are given in more than one place.
const (
	hintEndpoint = "check that etcd is up, and that etcd.endpoints names the address it listens on"
	hintQuorum   = "run `etcdctl endpoint status --cluster` to see which members are up"
	hintPair     = "set etcd.cert_file and etcd.key_file"
)

// explain turns a failed call into one line that names the operation, the member and the cause.
func (c *Client) explain(ctx context.Context, operation string, err error) error {
	return fmt.Errorf("%s: %s: %w", operation, c.url, c.cause(ctx, err))
}

func (c *Client) cause(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	var refused rpctypes.EtcdError
	if errors.As(rpctypes.Error(etcdForm(err)), &refused) {
		return c.refusal(refused)
	}
	switch s, isStatus := status.FromError(err); {
	case !isStatus:
		return err
	case s.Code() == codes.Unavailable:
		return c.connectionFailure(ctx, err)
	case s.Code() == codes.DeadlineExceeded: // the server's clock was a little faster than ctx
		return context.DeadlineExceeded
	default:
		return fmt.Errorf("%s (%s)", s.Message(), s.Code())
	}
}

// refusal says what etcd's own errors mean for drd.
func (c *Client) refusal(err rpctypes.EtcdError) error {
	switch {
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return hint.New(fmt.Errorf("%w: the cluster has users and no user was given", ErrPermission),
			"set etcd.username and etcd.password_file to a user with the root role, or use a client certificate whose common name is one")
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return hint.New(fmt.Errorf("%w: user %q does not exist or its password is wrong", ErrPermission, c.cfg.Username),
			"check etcd.username and the content of %s", c.cfg.PasswordFile)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return c.lacksRole()
	case errors.Is(err, rpctypes.ErrInvalidAuthToken), errors.Is(err, rpctypes.ErrAuthOldRevision):
		return fmt.Errorf("%w: the login expired: %w", ErrPermission, err)
	case errors.Is(err, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)):
		return hint.New(fmt.Errorf("%w and does not answer this", ErrLearner), "ask a voting member, or promote this one with `etcdctl member promote`")
	case isNoQuorum(err):
		return hint.New(fmt.Errorf("%w: %w", ErrNoQuorum, err), hintQuorum)
	case err.Code() == codes.Unavailable:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

func (c *Client) lacksRole() error {
	user, grantee := fmt.Sprintf("user %q", c.cfg.Username), c.cfg.Username
	if c.cfg.Username == "" {
		user, grantee = "the user named by the client certificate", "USER"
	}
	return hint.New(fmt.Errorf("%w for %s", ErrPermission, user),
		"snapshots and hashes need the root role: run `etcdctl user grant-role %s root`", grantee)
}

func isNoQuorum(err error) bool {
	for _, quorum := range []error{
		rpctypes.ErrNoLeader, rpctypes.ErrLeaderChanged, rpctypes.ErrUnhealthy, rpctypes.ErrTimeout,
		rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost,
	} {
		if errors.Is(err, quorum) {
			return true
		}
	}
	return false
}

// noAnswer is the error of a member that is silent.
func (c *Client) noAnswer() error {
	return hint.New(fmt.Errorf("%w: no answer within %s", ErrUnreachable, c.cfg.DialTimeout), hintEndpoint)
}

// errNoHTTP2 is all that is certain of a connection that ended before it was one: whether gRPC read
// the end first, or found that it could not write, is chance.
func errNoHTTP2() error {
	return hint.New(fmt.Errorf("%w: the port gave no HTTP/2 answer", ErrUnreachable), hintEndpoint)
}

// connectionFailure finds the cause behind gRPC's "unavailable".
func (c *Client) connectionFailure(ctx context.Context, err error) error {
	failure := c.last.get()
	var network net.Error
	var operation *net.OpError
	switch {
	case failure == nil: // it was connected
		return fmt.Errorf("%w: %s", ErrUnreachable, status.Convert(err).Message())
	case errors.As(failure, &network) && network.Timeout():
		return c.noAnswer()
	case errors.As(failure, &operation) && operation.Op == "dial":
		return unreachable(operation.Err)
	case c.endpoint.tls:
		return c.handshakeFailure(ctx, failure)
	}
	return c.wrongProtocol(ctx, errNoHTTP2())
}

func unreachable(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return hint.New(fmt.Errorf("%w: connection refused", ErrUnreachable), hintEndpoint)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// wrongProtocol looks whether the port speaks the other of http and https, and returns otherwise
// when it does not.
func (c *Client) wrongProtocol(ctx context.Context, otherwise error) error {
	conn, err := dialProbe(ctx, c.endpoint)
	if err != nil {
		return otherwise
	}
	defer func() { _ = conn.Close() }() // nothing was sent that could be lost
	switch {
	case c.endpoint.tls && speaksPlain(conn):
		return hint.New(fmt.Errorf("%w: the port does not speak TLS", ErrTLS), "write the endpoint with http://")
	case !c.endpoint.tls && speaksTLS(conn):
		return hint.New(fmt.Errorf("%w: the port speaks TLS only", ErrTLS), "write the endpoint with https://, and set etcd.ca_file, etcd.cert_file and etcd.key_file")
	}
	return otherwise
}

// handshakeFailure says whose certificate is at fault.
func (c *Client) handshakeFailure(ctx context.Context, failure error) error {
	if errors.Is(failure, ErrTLS) {
		return failure // a file of ours, named already
	}
	files := c.cfg.tlsFiles()
	var refused *tls.CertificateVerificationError
	if errors.As(failure, &refused) && len(refused.UnverifiedCertificates) > 0 {
		return files.serverRefused(refused)
	}
	alert := remoteAlert(failure)
	if alert == "" && brokenOff(failure) {
		alert = files.askForAlert(ctx, c.endpoint)
	}
	if alert != "" {
		return files.clientRefused(alert)
	}
	var record tls.RecordHeaderError
	if errors.As(failure, &record) || brokenOff(failure) {
		return c.wrongProtocol(ctx, errNoHTTP2())
	}
	return fmt.Errorf("%w: %w", ErrTLS, failure)
}

// brokenOff is true of a connection that ended without a word.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// serverRefused is why we did not trust the server.
func (f tlsFiles) serverRefused(refused *tls.CertificateVerificationError) error {
	cert := refused.UnverifiedCertificates[0]
	if err := outOfDate("the server's certificate", cert); err != nil {
		return hint.New(err, "renew the server's certificate, and check this machine's clock")
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(refused, &unknown) {
		trusted := "the system's trust store (no etcd.ca_file is set)"
		if f.ca != "" {
			trusted = f.ca
		}
		return hint.New(fmt.Errorf("%w: the server's certificate is signed by %q, which is not in %s", ErrTLS, cert.Issuer, trusted),
			"set etcd.ca_file to the CA that signs etcd's server certificates")
	}
	var name x509.HostnameError
	if errors.As(refused, &name) {
		return hint.New(fmt.Errorf("%w: the server's certificate is for %s, not for %s", ErrTLS, subjectNames(cert), name.Host),
			"use a name or address of the certificate in etcd.endpoints")
	}
	return fmt.Errorf("%w: the server's certificate (%s): %w", ErrTLS, cert.Subject, refused.Err)
}

// clientRefused is why the server did not trust us. Servers often say only "bad certificate", so
// what is plainly wrong with our own comes first.
func (f tlsFiles) clientRefused(alert string) error {
	own, err := f.certificate()
	switch {
	case err != nil:
		return err
	case own == nil && (strings.Contains(alert, "certificate required") || strings.Contains(alert, "bad certificate")):
		return hint.New(fmt.Errorf("%w: the server requires a client certificate", ErrTLS), hintPair)
	case own == nil && strings.Contains(alert, "handshake failure"):
		// TLS 1.2 says the same of a missing certificate and of ciphers that do not meet.
		return hint.New(fmt.Errorf("%w: the server ended the handshake, as it does when it requires a client certificate", ErrTLS), hintPair)
	case own == nil:
		return fmt.Errorf("%w: the server refused the connection: %s", ErrTLS, alert)
	}
	if err := outOfDate("client certificate "+f.cert, own.Leaf); err != nil {
		return hint.New(err, "renew %s, and check this machine's clock", f.cert)
	}
	return hint.New(fmt.Errorf("%w: the server refused client certificate %s (signed by %q): %s", ErrTLS, f.cert, own.Leaf.Issuer, strings.TrimPrefix(alert, "tls: ")),
		"set etcd.cert_file to a certificate for client authentication, signed by etcd's --trusted-ca-file")
}

// outOfDate is nil for a certificate that is valid now.
func outOfDate(whose string, cert *x509.Certificate) error {
	now := time.Now()
	if now.After(cert.NotAfter) {
		return fmt.Errorf("%w: %s (%s) expired at %s", ErrTLS, whose, cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(cert.NotBefore) {
		return fmt.Errorf("%w: %s (%s) is not valid before %s", ErrTLS, whose, cert.Subject, cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

func subjectNames(cert *x509.Certificate) string {
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host"
	}
	return strings.Join(names, ", ")
}
