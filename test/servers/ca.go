package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is a throw-away certificate authority with an ECDSA P-256 key. Nothing it signs is trusted outside the test.
type CA struct {
	certFile string
	cert     *x509.Certificate
	key      *ecdsa.PrivateKey
}

// NewCA makes an authority that is valid for a day, from an hour ago.
func NewCA(tb testing.TB, opts ...CertOption) *CA {
	tb.Helper()
	template := certTemplate(tb, "drd test CA")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	for _, change := range opts {
		change(template)
	}

	key := newKey(tb)
	der := sign(tb, template, template, key, key)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("read back the certificate of the test CA: %v", err)
	}
	file := filepath.Join(tb.TempDir(), "ca.crt")
	writePEM(tb, file, "CERTIFICATE", der, 0o644)
	return &CA{certFile: file, cert: cert, key: key}
}

// CertFile is the path of the authority's own certificate, PEM.
func (ca *CA) CertFile() string { return ca.certFile }

// Pool trusts this authority and no other.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// CertOption changes a certificate before it is signed.
type CertOption func(*x509.Certificate)

// NotAfter sets when the certificate expires. A time in the past gives an expired certificate.
func NotAfter(t time.Time) CertOption {
	return func(c *x509.Certificate) {
		c.NotAfter = t
		if c.NotBefore.After(t) {
			c.NotBefore = t.Add(-time.Hour)
		}
	}
}

// Organization sets the subject's organizations, which Kubernetes reads as groups.
func Organization(names ...string) CertOption {
	return func(c *x509.Certificate) { c.Subject.Organization = names }
}

// Issue signs a certificate for localhost, 127.0.0.1 and ::1, good for servers and clients, and returns the PEM
// files of the certificate (mode 0644) and of its key (mode 0600). Each call makes a new key.
func (ca *CA) Issue(tb testing.TB, cn string, opts ...CertOption) (certFile, keyFile string) {
	tb.Helper()
	template := certTemplate(tb, cn)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, opt := range opts {
		opt(template)
	}

	key := newKey(tb)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatalf("encode the key of %s: %v", cn, err)
	}
	dir := tb.TempDir()
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	writePEM(tb, certFile, "CERTIFICATE", sign(tb, template, ca.cert, key, ca.key), 0o644)
	writePEM(tb, keyFile, "PRIVATE KEY", keyDER, 0o600)
	return certFile, keyFile
}

// clientTLS trusts the authority and shows the certificate, if there is one.
func (ca *CA) clientTLS(tb testing.TB, certFile, keyFile string) *tls.Config {
	tb.Helper()
	cfg := &tls.Config{RootCAs: ca.Pool()}
	if certFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			tb.Fatalf("load client certificate: %v", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg
}

func certTemplate(tb testing.TB, cn string) *x509.Certificate {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatalf("draw a serial number: %v", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: cn},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("generate key: %v", err)
	}
	return key
}

func sign(tb testing.TB, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		tb.Fatalf("sign certificate of %s: %v", template.Subject.CommonName, err)
	}
	return der
}

func writePEM(tb testing.TB, path, kind string, der []byte, mode os.FileMode) {
	tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		tb.Fatalf("write certificate file: %v", err)
	}
}
