package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/preflight"
)

// far asks what lasts. What cannot be found out leaves standing what was known.
func (h *hostWatch) far(ctx context.Context) {
	h.file(metrics.CertificateEtcdClient, "", h.Etcd.CertFile)
	h.file(metrics.CertificateEtcdCA, "", h.Etcd.CAFile)
	h.look("the certificates of etcd's members", func() error { return h.members(ctx) })
	if h.address != "" {
		h.look("the certificate of the metrics", func() error {
			shown, err := shownBy(ctx, h.address, nil)
			if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) {
				return nil // passwords without TLS
			}
			return h.certificate(metrics.CertificateMetrics, "", shown, err)
		})
	}
	for _, t := range h.Targets {
		h.file(metrics.CertificateTargetCA, t.Name, t.CAFile)
		if t.Endpoint != "" {
			h.look("the server of target "+t.Name, func() error { return h.server(ctx, t) })
		}
	}
}

// look asks one question, and logs the first time that it is not answered.
func (h *hostWatch) look(what string, ask func() error) {
	err := ask()
	if err == nil {
		delete(h.failing, what)
		return
	}
	if !h.failing[what] {
		h.log.Warn("what ends, or what the clock is, cannot be found out", problem(err, "of", what)...)
	}
	h.failing[what] = true
}

// file tells of a PEM file; "" is none.
func (h *hostWatch) file(use metrics.CertificateUse, target, path string) {
	if path == "" {
		return
	}
	h.look(path, func() error {
		first, err := preflight.FirstToEnd(path)
		return h.certificate(use, target, first, err)
	})
}

func (h *hostWatch) certificate(use metrics.CertificateUse, target string, c *x509.Certificate, err error) error {
	if err == nil {
		h.metrics.SetCertificate(use, target, c.NotBefore, c.NotAfter)
	}
	return err
}

// members tells of the certificate that ends first among those that etcd's members show.
func (h *hostWatch) members(ctx context.Context) error {
	var own *tls.Certificate
	if h.Etcd.CertFile != "" { // a member logs each client that shows none
		pair, err := tls.LoadX509KeyPair(h.Etcd.CertFile, h.Etcd.KeyFile)
		if err != nil {
			return err
		}
		own = &pair
	}
	var first *x509.Certificate
	var failed []error
	for _, endpoint := range h.Etcd.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "https" {
			continue
		}
		c, err := shownBy(ctx, u.Host, own)
		if failed = append(failed, err); err == nil && (first == nil || c.NotAfter.Before(first.NotAfter)) {
			first = c
		}
	}
	if first != nil {
		failed = append(failed, h.certificate(metrics.CertificateEtcdServer, "", first, nil))
	}
	return errors.Join(failed...)
}

// shownBy is the certificate of the server at host:port. Its dates are all that is read of the answer, and nothing is sent, so it
// need not be trusted: an expired one would otherwise hide when it ended.
func shownBy(ctx context.Context, address string, own *tls.Certificate) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, farTimeout)
	defer cancel()
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if own != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}
