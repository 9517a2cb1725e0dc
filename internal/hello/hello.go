// Package hello asks a server what it tells everybody: which certificates it shows, and what time it has. Nothing is sent that it would have
// to believe, and nothing else is read, so neither side needs to trust the other: a certificate that has ended, or a refusal, would
// otherwise hide what is wanted.
package hello

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// limit bounds one question.
const limit = 10 * time.Second

// ErrNoTime is for an answer without a usable Date.
var ErrNoTime = errors.New("the answer has no usable date")

// Answer is what a server tells of itself, whatever it says.
type Answer struct {
	Certificates []*x509.Certificate // its own first; none: no TLS
	date         time.Time           // zero: none
	took         time.Duration
}

// Ask sends a HEAD without credentials to a URL: also a refusal has a date. own is shown to a server that asks for a certificate; own and
// proxy may be nil.
func Ask(ctx context.Context, address string, own *tls.Certificate, proxy func(*http.Request) (*url.URL, error)) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return Answer{}, err
	}
	transport := &http.Transport{Proxy: proxy, TLSClientConfig: settings(own), DisableKeepAlives: true}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{took: time.Since(began)}
	_ = resp.Body.Close() // of a HEAD, which has none
	if resp.TLS != nil {
		a.Certificates = resp.TLS.PeerCertificates
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		a.date = date
	}
	return a, nil
}

// Ahead is by how much a clock is ahead of the server's that says now, right after the answer has come. An error is ErrNoTime.
func (a Answer) Ahead(now time.Time) (time.Duration, error) {
	if a.date.IsZero() {
		return 0, ErrNoTime
	}
	// The date is cut to the second, so that it is half a second old on average; and it was made on the way.
	return now.Add(-a.took / 2).Sub(a.date.Add(time.Second / 2)), nil
}

// Certificates are what the server at host:port shows, its own first, whatever it speaks within TLS. own is as in Ask.
func Certificates(ctx context.Context, address string, own *tls.Certificate) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := (&tls.Dialer{Config: settings(own)}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates, nil
}

func settings(own *tls.Certificate) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if own != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return c
}
