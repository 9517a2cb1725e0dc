package daemon

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"time"

	"github.com/drd-project/drd/internal/hello"
	"github.com/drd-project/drd/internal/metrics"
)

// server tells of a target's server: how long its certificate is valid, and what its clock says.
func (h *hostWatch) server(ctx context.Context, t HostTarget) error {
	a, err := hello.Ask(ctx, t.Endpoint, nil, http.ProxyFromEnvironment)
	if err != nil {
		return err
	}
	if c := first(a.Certificates); c != nil {
		h.metrics.SetCertificate(metrics.CertificateTargetServer, t.Name, c.NotBefore, c.NotAfter)
	}
	ahead, err := a.Ahead(h.now())
	if err != nil {
		return err
	}
	h.metrics.SetClockSkew(t.Name, ahead)
	return nil
}

// credentialsUntil is when the keys of a profile expire, as tools that fetch temporary keys write it into the file. Zero: it does not
// say. Nothing but that line is read.
func credentialsUntil(path, profile string) time.Time {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Time{} // reading the target says so
	}
	if profile == "" {
		profile = "default"
	}
	inside := false
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if bytes.HasPrefix(line, []byte("[")) {
			inside = string(bytes.TrimSpace(bytes.Trim(line, "[]"))) == profile
			continue
		}
		key, value, found := bytes.Cut(line, []byte("="))
		if !inside || !found {
			continue
		}
		switch string(bytes.ToLower(bytes.TrimSpace(key))) {
		case "expiration", "x_security_token_expires":
			if until, err := time.Parse(time.RFC3339, string(bytes.TrimSpace(value))); err == nil {
				return until
			}
		}
	}
	return time.Time{}
}
