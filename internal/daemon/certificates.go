package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"

	"github.com/drd-project/drd/internal/hello"
	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/preflight"
)

// far asks what lasts. What cannot be found out leaves standing what was known.
func (h *hostWatch) far(ctx context.Context) {
	h.file(metrics.CertificateEtcdClient, "", h.Etcd.CertFile, preflight.FirstToEnd)
	h.look("the certificates of etcd's members", func() error { return h.members(ctx) })
	h.file(metrics.CertificateEtcdCA, "", h.Etcd.CAFile, authority(h.shown))
	if h.address != "" {
		h.look("the certificate of the metrics", func() error {
			shown, err := hello.Certificates(ctx, h.address, nil)
			if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) {
				return nil // passwords without TLS
			}
			return h.certificate(metrics.CertificateMetrics, "", first(shown), err)
		})
	}
	for _, t := range h.Targets {
		h.file(metrics.CertificateTargetCA, t.Name, t.CAFile, authority(nil))
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

// file tells of the certificate that read finds in a PEM file; "" is none.
func (h *hostWatch) file(use metrics.CertificateUse, target, path string, read func(path string) (*x509.Certificate, error)) {
	if path == "" {
		return
	}
	h.look(path, func() error {
		c, err := read(path)
		return h.certificate(use, target, c, err)
	})
}

func authority(shown [][]*x509.Certificate) func(path string) (*x509.Certificate, error) {
	return func(path string) (*x509.Certificate, error) { return preflight.Authority(path, shown) }
}

func (h *hostWatch) certificate(use metrics.CertificateUse, target string, c *x509.Certificate, err error) error {
	if err == nil {
		h.metrics.SetCertificate(use, target, c.NotBefore, c.NotAfter)
	}
	return err
}

// first is a server's own certificate among those that it shows; nil where it showed none.
func first(shown []*x509.Certificate) *x509.Certificate {
	if len(shown) == 0 {
		return nil
	}
	return shown[0]
}

// members tells of the certificate that ends first among those of etcd's members, and remembers with what they prove it.
func (h *hostWatch) members(ctx context.Context) error {
	var own *tls.Certificate
	if h.Etcd.CertFile != "" { // a member logs each client that shows none
		pair, err := tls.LoadX509KeyPair(h.Etcd.CertFile, h.Etcd.KeyFile)
		if err != nil {
			return err
		}
		own = &pair
	}
	var all [][]*x509.Certificate
	var soonest *x509.Certificate
	var failed []error
	for _, endpoint := range h.Etcd.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "https" {
			continue
		}
		shown, err := hello.Certificates(ctx, u.Host, own)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		all = append(all, shown)
		if c := first(shown); soonest == nil || c.NotAfter.Before(soonest.NotAfter) {
			soonest = c
		}
	}
	if soonest != nil {
		h.shown = all
		failed = append(failed, h.certificate(metrics.CertificateEtcdServer, "", soonest, nil))
	}
	return errors.Join(failed...)
}
