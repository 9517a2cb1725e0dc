package s3_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/test/servers"
)

// proxy stands between a client and a real store, and does what fault says to each request.
type proxy struct {
	server    *httptest.Server
	transport *http.Transport
	upstream  string

	mu       sync.Mutex
	requests []*http.Request
	fault    func(w http.ResponseWriter, answer *http.Response)
	match    func(r *http.Request) bool
	left     int // how many matching requests fault is still for
}

func newProxy(t *testing.T, store *servers.S3) *proxy {
	t.Helper()
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(store.CAFile)
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("CA of the store: %v", err)
	}
	p := &proxy{
		upstream:  store.Endpoint,
		transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableCompression: true},
	}
	p.server = tlsServer(t, p)
	t.Cleanup(p.transport.CloseIdleConnections)
	return p
}

// tlsServer starts a server whose complaints about broken connections are not shown: the tests break them.
func tlsServer(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// caFile returns the server's certificate as a PEM file.
func caFile(t *testing.T, s *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// through returns cfg with the proxy as endpoint.
func (p *proxy) through(t *testing.T, cfg s3.Config) s3.Config {
	cfg.Endpoint, cfg.CAFile = p.server.URL, caFile(t, p.server)
	return cfg
}

// on applies fault to the answers of the next n requests that match.
func (p *proxy) on(n int, match func(r *http.Request) bool, fault func(w http.ResponseWriter, answer *http.Response)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.match, p.fault = n, match, fault
}

// seen returns the requests so far that match.
func (p *proxy) seen(match func(r *http.Request) bool) []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*http.Request
	for _, r := range p.requests {
		if match(r) {
			all = append(all, r)
		}
	}
	return all
}

// take counts a request and returns the fault for it, if any.
func (p *proxy) take(r *http.Request) func(http.ResponseWriter, *http.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r)
	if p.left == 0 || !p.match(r) {
		return nil
	}
	p.left--
	return p.fault
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := p.take(r)
	out := r.Clone(r.Context())
	out.RequestURI = ""
	target, err := http.NewRequest(http.MethodGet, p.upstream, nil)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.URL.Scheme, out.URL.Host = target.URL.Scheme, target.URL.Host // Host stays: it is signed
	answer, err := p.transport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer answer.Body.Close()
	if fault != nil {
		fault(w, answer)
		return
	}
	pass(w, answer)
}

// pass hands the answer on.
func pass(w http.ResponseWriter, answer *http.Response) {
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body) // a client that leaves is its own affair
}

// drop loses the answer: the request was carried out, and the connection breaks.
func drop(_ http.ResponseWriter, answer *http.Response) {
	_, _ = io.Copy(io.Discard, answer.Body)
	panic(http.ErrAbortHandler)
}

// withoutChecksum is how a store answers that does not know checksums.
func withoutChecksum(w http.ResponseWriter, answer *http.Response) {
	for name := range answer.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum") {
			delete(answer.Header, name)
		}
	}
	pass(w, answer)
}

func isPut(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.RawQuery == "x-id=PutObject"
}
func isPart(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber")
}
func isComplete(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}
func isAbort(r *http.Request) bool {
	return r.Method == http.MethodDelete && r.URL.Query().Has("uploadId")
}
func isGet(r *http.Request) bool {
	return r.Method == http.MethodGet && !r.URL.Query().Has("list-type")
}
func isAny(*http.Request) bool { return true }
