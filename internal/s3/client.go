package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/internal/hint"
)

const (
	// dialTimeout covers name lookup and the TCP handshake, and again the TLS handshake.
	dialTimeout = 10 * time.Second
	// expectTimeout is how long a large request waits for the store's "100 Continue", which spares
	// sending a part that will be refused. A store that does not know it costs this much per part.
	expectTimeout = time.Second
	// fallbackRegion is what stores that have no regions expect in a signature.
	fallbackRegion = "us-east-1"
)

func newClient(cfg Config, keys *credentials) (*s3.Client, error) {
	transport, err := newRoundTripper(cfg)
	if err != nil {
		return nil, err
	}
	options := s3.Options{
		Region:       cfg.Region,
		Credentials:  keys,
		UsePathStyle: cfg.PathStyle,
		Retryer:      aws.NopRetryer{}, // see Bucket.try
		HTTPClient:   &http.Client{Transport: transport, CheckRedirect: refuseRedirect},
		// The only checksum is the one this package sends; the SDK's trailing ones are refused by other stores.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if cfg.Endpoint != "" {
		options.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	return s3.New(options), nil
}

// refuseRedirect leaves a redirect to the error text: it means a wrong region, and a signed request cannot follow it.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// identity returns the credentials and the region: cfg's own, else those of the AWS environment.
func identity(ctx context.Context, cfg Config) (provider, string, error) {
	region := cfg.Region
	if region == "" && cfg.Endpoint != "" {
		region = fallbackRegion
	}
	if cfg.CredentialsFile != "" && region != "" {
		file, err := openCredentials(cfg.CredentialsFile, cfg.Profile)
		return file, region, err
	}
	chain, chainRegion, err := openChain(ctx, cfg.Profile)
	if err != nil {
		return nil, "", hint.New(fmt.Errorf("load the AWS environment: %w", err), "check ~/.aws/config and the AWS_ variables, or set credentials_file")
	}
	if region == "" {
		region = chainRegion
	}
	if region == "" {
		return nil, "", hint.New(errors.New("no region is set"), "set region, or endpoint for a store that is not AWS")
	}
	if cfg.CredentialsFile != "" {
		file, err := openCredentials(cfg.CredentialsFile, cfg.Profile)
		return file, region, err
	}
	return chain, region, nil
}

func newTransport(cfg Config) (*http.Transport, error) {
	roots, err := certificates(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watchedConn{Conn: conn, limit: cfg.StallTimeout}, nil
		},
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   dialTimeout,
		ExpectContinueTimeout: expectTimeout,
		IdleConnTimeout:       cfg.StallTimeout / 2, // before watchedConn ends it
		MaxIdleConnsPerHost:   2 * cfg.Parallel,     // one upload and one download at the same time keep theirs
		DisableCompression:    true,                 // an object is handed out as it is stored
	}, nil
}

// certificates returns the system's pool and file's certificates; nil is the system's alone.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, hint.New(fmt.Errorf("ca_file %s holds no certificate", file), "it must be PEM: -----BEGIN CERTIFICATE-----")
	}
	return pool, nil
}

// watchedConn ends a connection on which nothing moves for limit: the request on it fails and is made again on
// another. A limit for a whole request would have to know the link's speed.
type watchedConn struct {
	net.Conn
	limit time.Duration
}

func (c *watchedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write extends the deadline of the Read under way too: while a request is sent, no answer is due.
func (c *watchedConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
