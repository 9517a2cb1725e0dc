package servers

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Session returns a credentials file with temporary keys that may do what an IAM policy says, by MinIO's own STS. They are
// good for an hour.
func (m *MinIO) Session(tb testing.TB, policy string) string {
	tb.Helper()
	body := m.assumeRole(tb, policy)
	var answer struct {
		Key    string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		Secret string `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		Token  string `xml:"AssumeRoleResult>Credentials>SessionToken"`
	}
	if err := xml.NewDecoder(bytes.NewReader(body)).Decode(&answer); err != nil || answer.Token == "" {
		tb.Fatalf("assume a role: an answer of %d bytes without keys: %v", len(body), err)
	}
	path := filepath.Join(tb.TempDir(), "credentials")
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", answer.Key, answer.Secret, answer.Token)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatalf("write the credentials of a session: %v", err)
	}
	return path
}

// assumeRole asks for a session with an inline policy, which can take rights away and never add any.
func (m *MinIO) assumeRole(tb testing.TB, policy string) []byte {
	tb.Helper()
	for deadline := time.Now().Add(readyLimit); ; time.Sleep(200 * time.Millisecond) {
		status, body := m.askForRole(tb, policy)
		switch {
		case status == http.StatusOK:
			return body
		// MinIO loads its users after it serves requests.
		case !bytes.Contains(body, []byte("Server not initialized")) || time.Now().After(deadline):
			tb.Fatalf("assume a role: status %d: %s", status, body)
		}
	}
}

func (m *MinIO) askForRole(tb testing.TB, policy string) (status int, body []byte) {
	tb.Helper()
	form := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "DurationSeconds": {"3600"}, "Policy": {policy}}.Encode()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, m.Endpoint+"/", strings.NewReader(form))
	if err != nil {
		tb.Fatalf("assume a role: %v", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(form))
	keys := aws.Credentials{AccessKeyID: m.AccessKey, SecretAccessKey: m.SecretKey}
	if err := v4.NewSigner().SignHTTP(tb.Context(), keys, req, hex.EncodeToString(sum[:]), "sts", m.Region, time.Now()); err != nil {
		tb.Fatalf("sign the request for a role: %v", err)
	}
	transport := &http.Transport{TLSClientConfig: m.ca.clientTLS(tb, "", ""), DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		tb.Fatalf("assume a role: %v", err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		tb.Fatalf("assume a role: %v", err)
	}
	return resp.StatusCode, body
}
