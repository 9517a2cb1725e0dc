package etcd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/test/servers"
)

// failure is what the operator must get to read.
type failure struct {
	name string
	cfg  etcd.Config
	is   error    // the sentinel
	says []string // in the error, each
	hint string   // in one of its hints
}

func check(t *testing.T, f failure) {
	t.Helper()
	if f.cfg.DialTimeout == 0 {
		f.cfg.DialTimeout = patience
	}
	c, err := etcd.Connect(t.Context(), f.cfg)
	if err == nil {
		t.Fatalf("connected to %s", c.Endpoint())
	}
	checkError(t, f, err)
}

func checkError(t *testing.T, f failure, err error) {
	t.Helper()
	if f.is != nil && !errors.Is(err, f.is) {
		t.Errorf("%q does not wrap %q", err, f.is)
	}
	for _, text := range f.says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "rpc error") {
		t.Errorf("not one plain line: %q", err)
	}
	if hints := strings.Join(hint.Of(err), "\n"); !strings.Contains(hints, f.hint) || (f.hint == "" && hints != "") {
		t.Errorf("the hint of %q is %q, want one with %q", err, hints, f.hint)
	}
}

func validFrom(start time.Time) servers.CertOption {
	return func(c *x509.Certificate) { c.NotBefore = start }
}

// TestRefusedByEtcd has a real server with mutual TLS, and clients with something wrong.
func TestRefusedByEtcd(t *testing.T) {
	ca, otherCA := servers.NewCA(t), servers.NewCA(t)
	member := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: ca})
	good := configOf(member)
	past := time.Now().Add(-25 * time.Hour).UTC().Truncate(time.Second)
	future := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	issue := func(from *servers.CA, opts ...servers.CertOption) func(*etcd.Config) {
		cert, key := from.Issue(t, "drd-client", opts...)
		return func(c *etcd.Config) { c.CertFile, c.KeyFile = cert, key }
	}
	expired, early, foreign := issue(ca, servers.NotAfter(past)), issue(ca, validFrom(future)), issue(otherCA)

	for _, tc := range []struct {
		failure
		change func(*etcd.Config)
	}{
		{failure{"wrong CA", good, etcd.ErrTLS, []string{`signed by "CN=drd test CA"`, "not in " + otherCA.CertFile()}, "etcd.ca_file"},
			func(c *etcd.Config) { c.CAFile = otherCA.CertFile() }},
		{failure{"no CA", good, etcd.ErrTLS, []string{`signed by "CN=drd test CA"`, "system's trust store"}, "etcd.ca_file"},
			func(c *etcd.Config) { c.CAFile = "" }},
		{failure{"no client certificate", good, etcd.ErrTLS, []string{"requires a client certificate"}, "etcd.cert_file and etcd.key_file"},
			func(c *etcd.Config) { c.CertFile, c.KeyFile = "", "" }},
		{failure{"expired client certificate", good, etcd.ErrTLS, []string{"client certificate /", "tls.crt (CN=drd-client) expired at " + past.Format(time.RFC3339)}, "renew"}, expired},
		{failure{"client certificate of tomorrow", good, etcd.ErrTLS, []string{"client certificate /", "not valid before " + future.Format(time.RFC3339)}, "clock"}, early},
		{failure{"client certificate of another CA", good, etcd.ErrTLS, []string{"the server refused client certificate /", "unknown certificate authority"}, "--trusted-ca-file"}, foreign},
		{failure{"http to a TLS port", good, etcd.ErrTLS, []string{"the port speaks TLS only"}, "https://"},
			func(c *etcd.Config) { c.Endpoints = []string{strings.Replace(member.Endpoint(), "https", "http", 1)} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.change(&tc.cfg)
			tc.says = append(tc.says, "connect to etcd: "+tc.cfg.Endpoints[0]+": tls: ")
			check(t, tc.failure)
		})
	}
}

func TestTLSToAPlainPort(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version})
			cfg := etcd.Config{Endpoints: []string{strings.Replace(member.Endpoint(), "http", "https", 1)}}
			check(t, failure{cfg: cfg, is: etcd.ErrTLS, says: []string{"the port does not speak TLS"}, hint: "http://"})
		})
	}
}

func TestUnusableFiles(t *testing.T) {
	ca := servers.NewCA(t)
	cert, key := ca.Issue(t, "a")
	_, otherKey := ca.Issue(t, "b")
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent")
	for _, tc := range []failure{
		{"no CA file", etcd.Config{CAFile: absent}, etcd.ErrTLS, []string{"CA file", absent, "no such file"}, "etcd.ca_file"},
		{"CA is a directory", etcd.Config{CAFile: dir}, etcd.ErrTLS, []string{"CA file", dir, "is a directory"}, "etcd.ca_file"},
		{"CA is no PEM", etcd.Config{CAFile: text}, etcd.ErrTLS, []string{text + " holds no PEM certificate"}, ""},
		{"no certificate file", etcd.Config{CertFile: absent, KeyFile: key}, etcd.ErrTLS, []string{"client certificate", absent}, "etcd.cert_file"},
		{"no key file", etcd.Config{CertFile: cert, KeyFile: absent}, etcd.ErrTLS, []string{"client key", absent}, "etcd.key_file"},
		{"certificate is no PEM", etcd.Config{CertFile: text, KeyFile: key}, etcd.ErrTLS, []string{text + " holds no PEM certificate"}, ""},
		{"key is no PEM", etcd.Config{CertFile: cert, KeyFile: text}, etcd.ErrTLS, []string{text + " holds no PEM private key"}, ""},
		{"key and certificate swapped", etcd.Config{CertFile: key, KeyFile: cert}, etcd.ErrTLS, []string{key + " holds no PEM certificate"}, ""},
		{"key of another", etcd.Config{CertFile: cert, KeyFile: otherKey}, etcd.ErrTLS, []string{otherKey + " does not belong to certificate " + cert}, "etcd.key_file"},
		{"certificate alone", etcd.Config{CertFile: cert}, etcd.ErrTLS, []string{"got only " + cert}, "both"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// Nothing listens there: the files must be found unusable before anything is dialled.
			tc.cfg.Endpoints = []string{fmt.Sprintf("https://127.0.0.1:%d", servers.FreePort(t))}
			check(t, tc)
		})
	}
}

func TestUnusableEndpoints(t *testing.T) {
	for _, tc := range []struct {
		endpoints []string
		says      string
		hint      string
	}{
		{nil, "no endpoint given", ""},
		{[]string{"127.0.0.1:2379"}, `endpoint "127.0.0.1:2379" is not a client URL`, "https://host:port"},
		{[]string{"https://localhost"}, `endpoint "https://localhost" is not a`, "https://host:port"},
		{[]string{"ftp://localhost:2379"}, `endpoint "ftp://localhost:2379" is not a`, "https://host:port"},
		{[]string{"unixs:///path"}, `endpoint "unixs:///path" is not a`, "unix:///path"},
		{[]string{"unix://relative/path"}, `endpoint "unix://relative/path" is not a`, "unix:///path"},
		{[]string{"http://127.0.0.1:2379/v3"}, `endpoint "http://127.0.0.1:2379/v3" is not a`, "https://host:port"},
		{[]string{"http://user:secret@127.0.0.1:2379"}, `endpoint "127.0.0.1:2379" is not a client URL`, "https://host:port"},
	} {
		t.Run(fmt.Sprint(tc.endpoints), func(t *testing.T) {
			_, err := etcd.Connect(t.Context(), etcd.Config{Endpoints: tc.endpoints})
			if err == nil {
				t.Fatal("connected")
			}
			checkError(t, failure{says: []string{tc.says}, hint: tc.hint}, err)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells a password: %v", err)
			}
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	const short = 300 * time.Millisecond // of what is silent; who answers has longer than the test waits
	unknown := strings.Repeat("x", 64)   // no name has so long a part, and no server need be asked for it
	silent := listen(t, func(conn net.Conn) { <-t.Context().Done() })
	rude := listen(t, func(net.Conn) {})
	absent := fmt.Sprintf("127.0.0.1:%d", servers.FreePort(t))
	socket := filepath.Join(t.TempDir(), "etcd.sock")
	for _, tc := range []failure{
		{"refused", etcd.Config{Endpoints: []string{"http://" + absent}}, etcd.ErrUnreachable, []string{"http://" + absent + ": unreachable: connection refused"}, "etcd is up"},
		{"silent", etcd.Config{Endpoints: []string{"http://" + silent}, DialTimeout: short}, etcd.ErrUnreachable, []string{"no answer within 300ms"}, "etcd.endpoints"},
		{"silent with TLS", etcd.Config{Endpoints: []string{"https://" + silent}, DialTimeout: short}, etcd.ErrUnreachable, []string{"no answer within 300ms"}, "etcd.endpoints"},
		{"hangs up", etcd.Config{Endpoints: []string{"http://" + rude}}, etcd.ErrUnreachable, []string{"http://" + rude + ": unreachable: the port gave no HTTP/2 answer"}, "etcd.endpoints"},
		{"hangs up with TLS", etcd.Config{Endpoints: []string{"https://" + rude}}, etcd.ErrUnreachable, []string{"https://" + rude + ": unreachable: the port gave no HTTP/2 answer"}, "etcd.endpoints"},
		{"unknown host", etcd.Config{Endpoints: []string{"http://" + unknown + ":2379"}}, etcd.ErrUnreachable, []string{"http://" + unknown, "no such host"}, ""},
		{"no socket", etcd.Config{Endpoints: []string{"unix://" + socket}}, etcd.ErrUnreachable, []string{"no such file"}, ""},
		{"two", etcd.Config{Endpoints: []string{"http://" + silent, "http://" + absent}, DialTimeout: 5 * time.Second}, etcd.ErrUnreachable,
			[]string{silent + ": unreachable: no answer within 5s; http://" + absent + ": unreachable: connection refused"}, "etcd is up"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := time.Now()
			check(t, tc)
			if took := time.Since(start); took > patience/2 {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	silent := listen(t, func(conn net.Conn) { <-t.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := etcd.Connect(ctx, etcd.Config{Endpoints: []string{"http://" + silent, "http://" + silent}, DialTimeout: patience})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, etcd.ErrUnreachable) {
		t.Errorf("got %v, want only context.DeadlineExceeded", err)
	}
	if took := time.Since(start); took > patience/2 {
		t.Errorf("took %s", took)
	}
}

// TestServerCertificates has what a healthy etcd cannot be made to show: a server that ends the
// handshake and nothing more.
func TestServerCertificates(t *testing.T) {
	ca := servers.NewCA(t)
	past := time.Now().Add(-25 * time.Hour).UTC().Truncate(time.Second)
	future := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	named := func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"etcd.example"}, nil }
	for _, tc := range []struct {
		failure
		option servers.CertOption
		change func(*tls.Config)
	}{
		{failure{name: "expired", says: []string{"the server's certificate (CN=server) expired at " + past.Format(time.RFC3339)}, hint: "renew the server's"}, servers.NotAfter(past), nil},
		{failure{name: "not yet valid", says: []string{"the server's certificate (CN=server) is not valid before " + future.Format(time.RFC3339)}, hint: "clock"}, validFrom(future), nil},
		{failure{name: "other name", says: []string{"is for etcd.example, not for 127.0.0.1"}, hint: "etcd.endpoints"}, named, nil},
		{failure{name: "client certificate wanted in TLS 1.2", says: []string{"requires a client certificate"}, hint: "etcd.cert_file"}, nil,
			func(c *tls.Config) { c.MaxVersion, c.ClientAuth = tls.VersionTLS12, tls.RequireAnyClientCert }},
		{failure{name: "too old", says: []string{"protocol version"}, hint: ""}, nil,
			func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var opts []servers.CertOption
			if tc.option != nil {
				opts = append(opts, tc.option)
			}
			certFile, keyFile := ca.Issue(t, "server", opts...)
			pair, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil {
				t.Fatal(err)
			}
			config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
			if tc.change != nil {
				tc.change(config)
			}
			address := listen(t, func(conn net.Conn) {
				_ = tls.Server(conn, config).HandshakeContext(t.Context()) // it fails, that is the test
			})
			tc.cfg = etcd.Config{Endpoints: []string{"https://" + address}, CAFile: ca.CertFile()}
			tc.is = etcd.ErrTLS
			check(t, tc.failure)
		})
	}
}

// listen answers each connection with serve, and waits for all of them at the end of the test.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close() // ends Accept
		running.Wait()
	})
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }() // nothing is owed to the client
				serve(conn)
			})
		}
	})
	return l.Addr().String()
}
