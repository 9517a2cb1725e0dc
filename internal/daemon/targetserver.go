package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/drd-project/drd/internal/metrics"
)

// server tells of a target's server: how long its certificate is valid, and what its clock says. It is asked without credentials:
// also a refusal has a date.
func (h *hostWatch) server(ctx context.Context, t HostTarget) error {
	ctx, cancel := context.WithTimeout(ctx, farTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, t.Endpoint, nil)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()                                    // with the proxy of the environment
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} // as in shownBy
	transport.DisableKeepAlives = true
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	took := time.Since(began)
	_ = resp.Body.Close() // of a HEAD, which has none
	if resp.TLS != nil {
		shown := resp.TLS.PeerCertificates[0]
		h.metrics.SetCertificate(metrics.CertificateTargetServer, t.Name, shown.NotBefore, shown.NotAfter)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return fmt.Errorf("the answer has no usable date: %w", err)
	}
	// The date is cut to the second, so that it is half a second old on average; and it was made on the way.
	h.metrics.SetClockSkew(t.Name, h.now().Add(-took/2).Sub(date.Add(time.Second/2)))
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
