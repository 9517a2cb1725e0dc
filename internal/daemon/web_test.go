package daemon

import (
	"crypto/tls"
	"net/http"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/drd-project/drd/test/servers"
)

// webPassword is what the web configurations of tests want.
const webPassword = "Planted0Secret open sesame"

func bcryptOf(t *testing.T, password string) string {
	t.Helper()
	b, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// clientOf is an HTTP client with connections of its own.
func clientOf(ca *servers.CA) *http.Client {
	return &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, DisableKeepAlives: true},
	}
}

// serial asks with the password and returns the serial number of the server's certificate.
func serial(t *testing.T, client *http.Client, url string, want int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("prometheus", webPassword)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		t.Errorf("status %d, want %d", resp.StatusCode, want)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.String()
}
