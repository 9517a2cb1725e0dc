package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"time"
)

// probeTimeout bounds the second look at a server, taken only to explain a failed connection. It has as long as the first.
const probeTimeout = defaultDialTimeout

// probe is a connection for a second look. It ends by itself after probeTimeout, and with the context of who looks.
type probe struct {
	net.Conn
	forget func() bool
}

func (p probe) Close() error {
	p.forget()
	return p.Conn.Close()
}

func dialProbe(ctx context.Context, ep endpoint) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(limited, ep.network, ep.address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(probeTimeout)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return probe{conn, context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })}, nil // nobody waits for an answer then
}

// speaksTLS asks a server whether its port is a TLS one. It trusts nobody, so a TLS server is one
// whose certificate is refused, and nothing is ever sent to it.
func speaksTLS(conn net.Conn) bool {
	err := tls.Client(conn, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "drd-probe", MinVersion: tls.VersionTLS12}).Handshake()
	var refused *tls.CertificateVerificationError
	return errors.As(err, &refused) || remoteAlert(err) != ""
}

// speaksPlain asks a server whether it answers HTTP/2 without TLS: its first frame is SETTINGS
// (RFC 9113, section 3.4).
func speaksPlain(conn net.Conn) bool {
	emptySettings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+emptySettings); err != nil {
		return false
	}
	var header [9]byte
	_, err := io.ReadFull(conn, header[:])
	return err == nil && header[3] == 4
}

// askForAlert connects once more and only listens. With TLS 1.3 the server refuses a client's
// certificate after the handshake, and gRPC, which writes at once, may find the connection broken
// before it reads why.
func (f tlsFiles) askForAlert(ctx context.Context, ep endpoint) string {
	raw, err := dialProbe(ctx, ep)
	if err != nil {
		return ""
	}
	defer func() { _ = raw.Close() }() // nothing was sent that could be lost
	creds := &freshTLS{files: f}
	conn, _, err := creds.ClientHandshake(ctx, ep.address, raw)
	if err != nil {
		return remoteAlert(err)
	}
	_, err = conn.Read(make([]byte, 1))
	return remoteAlert(err)
}

// remoteAlert is the alert the server sent, in the words of crypto/tls ("tls: certificate
// required"), or "". The package has no exported type for it.
func remoteAlert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op.Err.Error()
	}
	return ""
}
