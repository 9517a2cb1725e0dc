package s3

import (
	"net/http"
	"os"
	"sync"
	"time"
)

// freshRoots is a transport that trusts what ca_file holds now: when the file was changed the next request is made with another
// transport, and so on other connections. A file that cannot be read, such as one that is just being replaced, leaves the one before
// in force: whom it trusts was good a moment ago.
type freshRoots struct {
	cfg Config

	mu       sync.Mutex
	current  *http.Transport
	modified time.Time
	size     int64
}

// newRoundTripper reads ca_file once, so that a bad one is found at start. Without one, a transport is all it takes.
func newRoundTripper(cfg Config) (http.RoundTripper, error) {
	if cfg.CAFile == "" {
		return newTransport(cfg)
	}
	f := &freshRoots{cfg: cfg}
	if err := f.renew(); err != nil {
		return nil, err
	}
	return f, nil
}

// RoundTrip implements http.RoundTripper.
func (f *freshRoots) RoundTrip(r *http.Request) (*http.Response, error) {
	return f.transport().RoundTrip(r)
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (f *freshRoots) CloseIdleConnections() { f.transport().CloseIdleConnections() }

func (f *freshRoots) transport() *http.Transport {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.current
	if err := f.renew(); err == nil && f.current != before {
		before.CloseIdleConnections()
	}
	return f.current
}

// renew makes another transport if the file has changed. The time is read before the file: a change in between is seen next time.
func (f *freshRoots) renew() error {
	info, err := os.Stat(f.cfg.CAFile)
	if err == nil && f.current != nil && info.ModTime().Equal(f.modified) && info.Size() == f.size {
		return nil
	}
	next, readErr := newTransport(f.cfg) // names the file in its error
	if readErr != nil {
		return readErr
	}
	if err != nil {
		return err
	}
	f.current, f.modified, f.size = next, info.ModTime(), info.Size()
	return nil
}
