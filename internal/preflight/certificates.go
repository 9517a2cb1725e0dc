package preflight

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
)

// soonest is the longest time before its end at which a certificate or key is worth a warning: four weeks. Of one that lives
// for less than ten times that it is a tenth of its life: one for a day must not warn all its life. The alert
// DrdCertificateExpires goes by the same rule.
const soonest = 28 * 24 * time.Hour

// certificateFile has the certificate whose dates count.
type certificateFile struct {
	name, path string
	read       func(path string) (*x509.Certificate, error)
}

// checkCertificateFiles looks at those that the configuration names. etcdShows are the certificates that each of etcd's members showed,
// its own first.
func checkCertificateFiles(cfg *config.Config, etcdShows [][]*x509.Certificate) []Check {
	files := []certificateFile{
		{"certificate etcd client", cfg.Etcd.CertFile, FirstToEnd},
		{"certificate etcd CA", cfg.Etcd.CAFile, func(path string) (*x509.Certificate, error) { return Authority(path, etcdShows) }},
	}
	for _, t := range cfg.Targets {
		if t.S3 != nil {
			files = append(files, certificateFile{"certificate target " + t.Name + " CA", t.S3.CAFile, func(path string) (*x509.Certificate, error) { return Authority(path, nil) }})
		}
	}
	var checks []Check
	for _, f := range files {
		if f.path == "" {
			continue
		}
		c, err := f.read(f.path)
		if err != nil {
			checks = append(checks, fail(f.name, err))
			continue
		}
		checks = append(checks, checkValidity(f.name, f.path, c, time.Now()))
	}
	return checks
}

// FirstToEnd is the certificate of a PEM file that ends before the others: a chain breaks there. Keys beside it are not looked at.
func FirstToEnd(path string) (*x509.Certificate, error) {
	all, err := certificatesIn(path)
	if err != nil {
		return nil, err
	}
	return slices.MinFunc(all, byEnd), nil
}

// Authority is the certificate of a PEM file of authorities whose end matters: the last to end of those that vouch for what a server
// shows, and of several servers the first of these. During a rotation the old one and the new one stand side by side, and one that has
// ended and that nobody needs is no harm. Where none of them vouches for anything shown, it is the last to end of all.
func Authority(path string, shown [][]*x509.Certificate) (*x509.Certificate, error) {
	all, err := certificatesIn(path)
	if err != nil {
		return nil, err
	}
	var needed []*x509.Certificate
	for _, chain := range shown {
		vouching := slices.DeleteFunc(slices.Clone(all), func(authority *x509.Certificate) bool {
			return !slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return c.CheckSignatureFrom(authority) == nil })
		})
		if len(vouching) > 0 {
			needed = append(needed, slices.MaxFunc(vouching, byEnd))
		}
	}
	if len(needed) > 0 {
		return slices.MinFunc(needed, byEnd), nil
	}
	return slices.MaxFunc(all, byEnd), nil
}

func byEnd(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }

// certificatesIn are those of a PEM file, one at least.
func certificatesIn(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue // the key may stand beside it
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read a certificate in %s: %w", path, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return all, nil
}

// checkValidity compares the dates of a certificate, which where names, with now.
func checkValidity(name, where string, c *x509.Certificate, now time.Time) Check {
	left := c.NotAfter.Sub(now)
	ends := c.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case left <= 0:
		return fail(name, hint.New(fmt.Errorf("%s ended at %s", where, ends), "renew it; files are read again by themselves"))
	case now.Before(c.NotBefore):
		return fail(name, hint.New(fmt.Errorf("%s is not valid before %s", where, c.NotBefore.UTC().Format(time.RFC3339)), "set this machine's clock, or wait"))
	case left < min(soonest, c.NotAfter.Sub(c.NotBefore)/10):
		return warn(name, hint.New(fmt.Errorf("%s ends at %s, in %s", where, ends, span(left)), "renew it in time; files are read again by themselves"))
	}
	return ok(name, "%s is valid until %s, for %s", where, ends, span(left))
}

// span writes a time for people: "12 days", "5h0m0s".
func span(d time.Duration) string {
	if days := int(d / (24 * time.Hour)); days >= 2 {
		return fmt.Sprintf("%d days", days)
	}
	return d.Round(time.Minute).String()
}
