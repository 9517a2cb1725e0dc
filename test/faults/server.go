package faults

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drd-project/drd/test/servers"
)

// Server listens with TLS on 127.0.0.1 until the end of the test.
type Server struct {
	Endpoint string // https://127.0.0.1:PORT
	CAFile   string // PEM file of its certificate

	pass func(*Exchange) *http.Response
	done chan struct{} // closed at the end, for what stalls

	mu       sync.Mutex
	steps    []Step
	requests []*Request
}

// Request is one that the server got. Its body is gone.
type Request struct {
	*http.Request
	received atomic.Int64
}

// Received is how many bytes of the body arrived.
func (r *Request) Received() int64 { return r.received.Load() }

// Before starts a server that passes requests on to store.
func Before(tb testing.TB, store *servers.S3) *Server {
	tb.Helper()
	pem, err := os.ReadFile(store.CAFile)
	if err != nil {
		tb.Fatalf("read the CA of the store: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		tb.Fatalf("no certificate in %s", store.CAFile)
	}
	target, err := url.Parse(store.Endpoint)
	if err != nil {
		tb.Fatalf("endpoint of the store: %v", err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, DisableCompression: true,
		ExpectContinueTimeout: time.Second,     // a store refuses a large request before its body
		IdleConnTimeout:       5 * time.Second, // before the store closes them: MinIO after 30 s, at the moment of the next request perhaps
	}
	tb.Cleanup(transport.CloseIdleConnections)
	return start(tb, func(x *Exchange) *http.Response {
		out := x.Request.Clone(x.Request.Context())
		out.RequestURI, out.Body = "", x.Request.Body
		out.URL.Scheme, out.URL.Host = target.Scheme, target.Host // Host stays: it is signed
		answer, err := transport.RoundTrip(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		return answer
	})
}

// Alone starts a server that has handler answer what the script leaves alone.
func Alone(tb testing.TB, handler http.Handler) *Server {
	tb.Helper()
	return start(tb, func(x *Exchange) *http.Response {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, x.Request.Request)
		return answer.Result()
	})
}

func start(tb testing.TB, pass func(*Exchange) *http.Response) *Server {
	tb.Helper()
	s := &Server{pass: pass, done: make(chan struct{})}
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // full of the connections that scripts break
	server.StartTLS()
	tb.Cleanup(server.Close)
	tb.Cleanup(func() { close(s.done) }) // before Close, which waits for the stalled

	s.Endpoint, s.CAFile = server.URL, filepath.Join(tb.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(s.CAFile, block, 0o600); err != nil {
		tb.Fatalf("write the certificate of the fault server: %v", err)
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := &Request{Request: r}
	r.Body = &countedBody{ReadCloser: r.Body, n: &request.received}
	x := &Exchange{Request: request, w: w, server: s}
	fault := s.take(request)
	if fault == nil {
		fault = func(x *Exchange) { x.Answer(x.Forward()) }
	}
	fault(x)
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// Seen returns the requests so far that match, in the order of their arrival.
func (s *Server) Seen(match Match) []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Request
	for _, r := range s.requests {
		if match(r.Request) {
			all = append(all, r)
		}
	}
	return all
}

// Received is how many bytes the bodies of the matching requests had so far.
func (s *Server) Received(match Match) int64 {
	var sum int64
	for _, r := range s.Seen(match) {
		sum += r.Received()
	}
	return sum
}

// Forget clears what Seen and Received report, and not the script.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}
