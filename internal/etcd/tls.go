package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"

	"github.com/drd-project/drd/internal/hint"
)

// tlsFiles are the PEM files of one side of the connection; "" is absent.
type tlsFiles struct{ ca, cert, key string }

// load reads the files as they are now.
func (f tlsFiles) load() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pool, err := loadCA(f.ca)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = pool
	}
	own, err := f.certificate()
	if err != nil {
		return nil, err
	}
	if own != nil {
		// Given through the callback the certificate is always sent. Through Certificates it would be
		// held back when the server names other authorities, and the server would complain of none.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return cfg, nil
}

func loadCA(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError("CA file", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%w: CA file %s holds no PEM certificate", ErrTLS, path)
	}
	return pool, nil
}

// certificate is the client certificate, or nil when none is configured.
func (f tlsFiles) certificate() (*tls.Certificate, error) {
	if f.cert == "" && f.key == "" {
		return nil, nil
	}
	if f.cert == "" || f.key == "" {
		return nil, hint.New(fmt.Errorf("%w: a client certificate needs both its files, got only %s", ErrTLS, f.cert+f.key),
			"set both etcd.cert_file and etcd.key_file, or none")
	}
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return nil, fileError("client certificate", err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return nil, fileError("client key", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, f.pairError(cert, key, err)
	}
	return &pair, nil
}

// pairError says which of the two files is at fault. No word of a key gets into it.
func (f tlsFiles) pairError(cert, key []byte, err error) error {
	switch {
	case !holdsPEM(cert, "CERTIFICATE"):
		return fmt.Errorf("%w: client certificate %s holds no PEM certificate", ErrTLS, f.cert)
	case !holdsPEM(key, "PRIVATE KEY"):
		return fmt.Errorf("%w: client key %s holds no PEM private key", ErrTLS, f.key)
	case strings.Contains(err.Error(), "does not match"):
		return hint.New(fmt.Errorf("%w: client key %s does not belong to certificate %s", ErrTLS, f.key, f.cert),
			"set etcd.cert_file and etcd.key_file to a pair; while they are being rotated, try again")
	}
	return fmt.Errorf("%w: client certificate %s with key %s: %w", ErrTLS, f.cert, f.key, err)
}

// holdsPEM looks for a block whose type ends in kind: "EC PRIVATE KEY" is a "PRIVATE KEY".
func holdsPEM(text []byte, kind string) bool {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
	}
	return false
}

// fileError names a file that cannot be read; the path is in err.
func fileError(what string, err error) error {
	err = fmt.Errorf("%w: %s: %w", ErrTLS, what, err)
	if errors.Is(err, os.ErrPermission) {
		return hint.New(err, "commands need root; drd.service has nothing of root's power and needs a file of root's, or the drop-in /usr/share/doc/drd/examples/etcd-owned-keys.conf")
	}
	return hint.New(err, "check etcd.ca_file, etcd.cert_file and etcd.key_file")
}

// freshTLS is gRPC's TLS with one difference: the files are read again for each handshake.
// Everything that decides about trust is left to crypto/tls.
type freshTLS struct{ files tlsFiles }

func (t *freshTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := t.files.load()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, authority, raw)
}

func (t *freshTLS) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for clients only")
}

func (t *freshTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (t *freshTLS) Clone() credentials.TransportCredentials { return &freshTLS{files: t.files} }

// OverrideServerName is part of the interface and deprecated there: the name is the endpoint's.
func (t *freshTLS) OverrideServerName(string) error {
	return errors.New("the server name is that of the endpoint")
}
