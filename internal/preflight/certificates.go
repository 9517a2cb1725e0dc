package preflight

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
)

// soonest is the longest time before its end at which a certificate or key is worth a warning: four weeks. Of one that lives
// for less than ten times that it is a tenth of its life: one for a day must not warn all its life. The alert
// DrdCertificateExpires goes by the same rule.
const soonest = 28 * 24 * time.Hour

// checkCertificateFiles looks at those that the configuration names. A server's own are seen when it is asked.
func checkCertificateFiles(cfg *config.Config) []Check {
	files := []struct{ name, path string }{
		{"certificate etcd client", cfg.Etcd.CertFile},
		{"certificate etcd CA", cfg.Etcd.CAFile},
	}
	for _, t := range cfg.Targets {
		if t.S3 != nil {
			files = append(files, struct{ name, path string }{"certificate target " + t.Name + " CA", t.S3.CAFile})
		}
	}
	var checks []Check
	for _, f := range files {
		if f.path == "" {
			continue
		}
		first, err := FirstToEnd(f.path)
		if err != nil {
			checks = append(checks, fail(f.name, err))
			continue
		}
		checks = append(checks, checkValidity(f.name, f.path, first, time.Now()))
	}
	return checks
}

// FirstToEnd is the certificate of a PEM file that ends before the others: a chain breaks there. Keys beside it are not looked at.
func FirstToEnd(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	var first *x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue // the key may stand beside it
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read a certificate in %s: %w", path, err)
		}
		if first == nil || c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	if first == nil {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return first, nil
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

// errNoDate is for an answer without a usable Date.
var errNoDate = errors.New("the answer has no usable date")
