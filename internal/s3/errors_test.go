package s3_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/servers"
)

// secretKey must never be seen in an error.
const secretKey = "Planted0Secret-key"

// credentials writes a credentials file.
func credentials(t *testing.T, access, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	writeCredentials(t, path, access, secret)
	return path
}

func writeCredentials(t *testing.T, path, access, secret string) {
	t.Helper()
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", access, secret)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// scripted returns the configuration for a bucket on s.
func scripted(t *testing.T, s *httptest.Server) s3.Config {
	return s3.Config{
		Bucket: "b", Region: "r-1", Endpoint: s.URL, CAFile: caFile(t, s), PathStyle: true,
		CredentialsFile: credentials(t, "access", secretKey), Attempts: 2,
	}
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

// answer is an S3 error.
func answer(status int, code, message string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("X-Amz-Request-Id", "REQ1")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message><RequestId>REQ1</RequestId></Error>", code, message)
		}
	}
}

func doPut(t *testing.T, b *s3.Bucket) error {
	return put(t, b, "k", []byte("x"))
}
func doGet(t *testing.T, b *s3.Bucket) error  { _, err := b.Open(t.Context(), "k", 0, -1); return err }
func doStat(t *testing.T, b *s3.Bucket) error { _, err := b.Stat(t.Context(), "k"); return err }
func doDelete(t *testing.T, b *s3.Bucket) error {
	return b.Delete(t.Context(), "k")
}
func doList(t *testing.T, b *s3.Bucket) error {
	var last error
	for _, err := range b.List(t.Context(), "k") {
		last = err
	}
	return last
}

func TestErrorsForPeople(t *testing.T) {
	for _, test := range []struct {
		name   string
		do     func(*testing.T, *s3.Bucket) error
		answer http.HandlerFunc
		want   string
		is     error
		hint   string // is part of it
		tries  int
	}{
		{"denied put", doPut, answer(403, "AccessDenied", "Access Denied."), "put s3://b/k: access denied (403 AccessDenied: Access Denied, request id REQ1)", storage.ErrDenied, "s3:PutObject", 1},
		{"denied get", doGet, answer(403, "AccessDenied", "Access Denied"), "get s3://b/k: access denied (403 AccessDenied: Access Denied, request id REQ1)", storage.ErrDenied, "s3:GetObject", 1},
		{"denied stat", doStat, answer(403, "", ""), "stat s3://b/k: access denied (403 Forbidden, request id REQ1)", storage.ErrDenied, "s3:ListBucket", 1},
		{"denied list", doList, answer(403, "AccessDenied", "no"), "list s3://b/k: access denied (403 AccessDenied: no, request id REQ1)", storage.ErrDenied, "s3:ListBucket", 1},
		{"denied delete", doDelete, answer(403, "AccessDenied", "no"), "delete s3://b/k: access denied (403 AccessDenied: no, request id REQ1)", storage.ErrDenied, "s3:DeleteObject", 1},
		{"locked, AWS", doDelete, answer(403, "AccessDenied", "Access Denied because object protected by object lock."), "delete s3://b/k: object is locked (403 AccessDenied: Access Denied because object protected by object lock, request id REQ1)", storage.ErrLocked, "retention", 1},
		{"locked, MinIO", doDelete, answer(400, "ObjectLocked", "Object is WORM protected and cannot be overwritten"), "delete s3://b/k: object is locked (400 ObjectLocked: Object is WORM protected and cannot be overwritten, request id REQ1)", storage.ErrLocked, "retention", 1},
		{"bad key", doPut, answer(403, "InvalidAccessKeyId", "unknown"), "put s3://b/k: access denied: the store does not accept these credentials (403 InvalidAccessKeyId: unknown, request id REQ1)", storage.ErrDenied, "credentials_file", 1},
		{"expired", doPut, answer(400, "ExpiredToken", "expired"), "put s3://b/k: access denied: the store does not accept these credentials (400 ExpiredToken: expired, request id REQ1)", storage.ErrDenied, "credentials_file", 1},
		{"no bucket", doPut, answer(404, "NoSuchBucket", "none"), "put s3://b/k: the bucket does not exist (404 NoSuchBucket: none, request id REQ1)", nil, "name", 1},
		{"no key", doGet, answer(404, "NoSuchKey", "none"), "get s3://b/k: object does not exist (404 NoSuchKey: none, request id REQ1)", storage.ErrNotExist, "", 1},
		{"no key, head", doStat, answer(404, "", ""), "stat s3://b/k: object does not exist (404 NotFound, request id REQ1)", storage.ErrNotExist, "", 1},
		{"redirect", doPut, answer(301, "PermanentRedirect", "elsewhere", "X-Amz-Bucket-Region", "r-2", "Location", "https://elsewhere.invalid/"), "put s3://b/k: the bucket is in another region than r-1 (301 PermanentRedirect: elsewhere, request id REQ1)", nil, "set region: r-2", 1},
		{"region", doPut, answer(400, "AuthorizationHeaderMalformed", "the region 'r-1' is wrong; expecting 'r-2'"), "put s3://b/k: the bucket is in another region than r-1 (400 AuthorizationHeaderMalformed: the region 'r-1' is wrong; expecting 'r-2', request id REQ1)", nil, "set region", 1},
		{"clock", doPut, answer(403, "RequestTimeTooSkewed", "late"), "put s3://b/k: this machine's clock differs too much from the store's (403 RequestTimeTooSkewed: late, request id REQ1)", nil, "timedatectl", 2},
		{"taken", doPut, answer(412, "PreconditionFailed", "there"), "put s3://b/k: object exists already", storage.ErrExists, "", 1},
		{"slow down", doPut, answer(503, "SlowDown", "slow"), "put s3://b/k: the store asks for less traffic (503 SlowDown: slow, request id REQ1)", nil, "", 2},
		{"too many", doList, answer(429, "TooManyRequests", "slow"), "list s3://b/k: the store asks for less traffic (429 TooManyRequests: slow, request id REQ1)", nil, "", 2},
		{"full", doPut, answer(507, "XMinioStorageFull", "full"), "put s3://b/k: the store is full (507 XMinioStorageFull: full, request id REQ1)", nil, "free space", 2},
		{"full disk", doPut, answer(500, "InternalError", "cause(no space left on device)"), "put s3://b/k: the store is full (500 InternalError: cause(no space left on device), request id REQ1)", nil, "free space", 2},
		{"quota", doPut, answer(400, "XMinioAdminBucketQuotaExceeded", "quota"), "put s3://b/k: the store is full (400 XMinioAdminBucketQuotaExceeded: quota, request id REQ1)", nil, "quota", 1},
		{"internal", doGet, answer(500, "InternalError", "oops"), "get s3://b/k: the store refused (500 InternalError: oops, request id REQ1)", nil, "", 2},
		{"timeout", doPut, answer(400, "RequestTimeout", "slow"), "put s3://b/k: the store refused (400 RequestTimeout: slow, request id REQ1)", nil, "", 2},
		{"damaged", doPut, answer(400, "BadDigest", "damaged"), "put s3://b/k: the store refused (400 BadDigest: damaged, request id REQ1)", nil, "", 2},
		{"not implemented", doPut, answer(501, "NotImplemented", "no"), "put s3://b/k: the store cannot do this (501 NotImplemented: no, request id REQ1)", nil, "If-None-Match", 1},
		{"no lock", doPut, answer(400, "InvalidRequest", "Bucket is missing ObjectLockConfiguration"), "put s3://b/k: the bucket takes no retention (400 InvalidRequest: Bucket is missing ObjectLockConfiguration, request id REQ1)", nil, "Object Lock", 1},
		{"rude", doPut, answer(400, "Odd", "two\nlines \x7f "+strings.Repeat("long ", 100)), "put s3://b/k: the store refused (400 Odd: two lines long " + strings.Repeat("long ", 35), nil, "", 1},
		{"not XML", doList, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello") }, "list s3://b/k: the store's answer is not understood (200)", nil, "", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			var tries atomic.Int32
			b := open(t, scripted(t, tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tries.Add(1)
				test.answer(w, r)
			}))))
			err := test.do(t, b)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || len(err.Error()) > len(test.want)+30 || strings.ContainsAny(err.Error(), "\n\x7f") {
				t.Errorf("error\n%v\nwant\n%s", err, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
			if got := strings.Join(hint.Of(err), "\n"); !strings.Contains(got, test.hint) || (test.hint == "") != (got == "") {
				t.Errorf("hint %q, want one with %q", got, test.hint)
			}
			if n := int(tries.Load()); n != test.tries {
				t.Errorf("%d tries, want %d", n, test.tries)
			}
		})
	}
}

// TestConflict: another writer's request for the key is under way. Who comes second learns it from the next try.
func TestConflict(t *testing.T) {
	conflict := answer(409, "ConditionalRequestConflict", "busy")
	done := func(w http.ResponseWriter, _ *http.Request) {}
	for name, test := range map[string]struct {
		puts []http.HandlerFunc
		head http.HandlerFunc
		want string
	}{
		"the other failed":              {[]http.HandlerFunc{conflict, done}, answer(404, "", ""), ""},
		"the other won":                 {[]http.HandlerFunc{conflict, answer(412, "PreconditionFailed", "there")}, done, "put s3://b/k: object exists already"},
		"the other won, conflicts last": {[]http.HandlerFunc{conflict, conflict}, done, "put s3://b/k: object exists already"},
		"no end of it":                  {[]http.HandlerFunc{conflict, conflict}, answer(404, "", ""), "put s3://b/k: the store refused (409 ConditionalRequestConflict: busy, request id REQ1)"},
	} {
		t.Run(name, func(t *testing.T) {
			var puts atomic.Int32
			b := open(t, scripted(t, tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					test.head(w, r)
					return
				}
				test.puts[puts.Add(1)-1](w, r)
			}))))
			err := doPut(t, b)
			if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if errors.Is(err, storage.ErrExists) != strings.Contains(test.want, "exists already") {
				t.Errorf("%v: is it %v?", err, storage.ErrExists)
			}
		})
	}
}

func TestLockHints(t *testing.T) {
	cfg := scripted(t, tlsServer(t, answer(403, "AccessDenied", "no")))
	cfg.ObjectLock, cfg.SSE = s3.ObjectLock{Mode: "governance", Days: 1}, "aws:kms"
	if got := strings.Join(hint.Of(doPut(t, open(t, cfg))), ""); got != "the credentials need s3:PutObject, s3:PutObjectRetention, kms:GenerateDataKey, kms:Decrypt" {
		t.Errorf("hint %q", got)
	}
}

// TestTroubles are failures without an answer.
func TestTroubles(t *testing.T) {
	store := tlsServer(t, answer(500, "InternalError", "not reached"))
	plain := httptest.NewServer(answer(400, "NotTLS", "no"))
	t.Cleanup(plain.Close)
	port := silentPort(t)
	other := servers.NewCA(t).CertFile()
	for _, test := range []struct {
		name       string
		change     func(c *s3.Config)
		want, hint string
	}{
		{"unknown CA", func(c *s3.Config) { c.CAFile = other }, "put s3://b/k: connect to " + store.URL + ": x509: certificate signed by unknown authority", "ca_file"},
		{"nothing listens", func(c *s3.Config) { c.Endpoint = fmt.Sprintf("https://127.0.0.1:%d", port) }, fmt.Sprintf("put s3://b/k: connect to https://127.0.0.1:%d: connection refused", port), "port"},
		{"no such name", func(c *s3.Config) { c.Endpoint = "https://nowhere.invalid" }, "put s3://b/k: connect to https://nowhere.invalid: no address for nowhere.invalid: ", "endpoint"},
		{"other name", func(c *s3.Config) { c.Endpoint = strings.Replace(store.URL, "127.0.0.1", "localhost", 1) }, "put s3://b/k: connect to " + strings.Replace(store.URL, "127.0.0.1", "localhost", 1) + ": x509: certificate is valid for", "path_style"},
		{"no TLS", func(c *s3.Config) { c.Endpoint = strings.Replace(plain.URL, "http:", "https:", 1) }, "put s3://b/k: connect to " + strings.Replace(plain.URL, "http:", "https:", 1) + ": the server does not speak TLS", "port"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := scripted(t, store)
			test.change(&cfg)
			err := doPut(t, open(t, cfg))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error\n%v\nwant\n%s", err, test.want)
			}
			if got := strings.Join(hint.Of(err), "\n"); !strings.Contains(got, test.hint) || got == "" {
				t.Errorf("hint %q, want one with %q", got, test.hint)
			}
		})
	}
}

// silentPort is a port on 127.0.0.1 that nothing listens on and nobody else can take until the end of the test.
func silentPort(t *testing.T) int {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return address.(*unix.SockaddrInet4).Port
}

// TestBrokenConnection: the end of a connection is never taken for the end of an object.
func TestBrokenConnection(t *testing.T) {
	b := open(t, scripted(t, tlsServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))))
	for op, err := range map[string]error{"put": doPut(t, b), "get": doGet(t, b), "stat": doStat(t, b), "list": doList(t, b), "delete": doDelete(t, b)} {
		if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "the connection broke") {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestNoCredentials(t *testing.T) {
	noEnvironment(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	var asked atomic.Int32
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(metadata.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)

	cfg := scripted(t, tlsServer(t, answer(500, "InternalError", "not reached")))
	cfg.CredentialsFile = ""
	err := doPut(t, open(t, cfg))
	if err == nil || !strings.HasPrefix(err.Error(), "put s3://b/k: no credentials in the AWS environment: ") || strings.Contains(err.Error(), "\n") || len(hint.Of(err)) != 1 {
		t.Errorf("error %v, hints %q", err, hint.Of(err))
	}
	if asked.Load() == 0 {
		t.Error("the instance's metadata service was not asked")
	}
}

// TestStalledConnection: a store that stops in the middle costs one stall time per attempt, and the next attempt succeeds.
func TestStalledConnection(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var tries atomic.Int32
	server := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		answer(404, "NoSuchKey", "none")(w, r)
	}))
	t.Cleanup(func() { close(release) })
	cfg := scripted(t, server)
	cfg.StallTimeout = standstill
	start := time.Now()
	if err := doGet(t, open(t, cfg)); !errors.Is(err, storage.ErrNotExist) || time.Since(start) < standstill {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	tries.Store(0)
	cfg.Attempts = 1
	if err := doGet(t, open(t, cfg)); !errors.Is(err, storage.ErrStalled) || !strings.Contains(err.Error(), "no byte moved for 5s") {
		t.Errorf("without a second attempt: %v", err)
	}
}

// TestSlowIsNotStalled: an answer that takes many stall times in all, and a body that does, are fine while they move.
func TestSlowIsNotStalled(t *testing.T) {
	t.Parallel()
	const pieces = 8
	server := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(pieces))
		for range pieces {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(standstill / 4)
		}
	}))
	cfg := scripted(t, server)
	cfg.StallTimeout, cfg.Attempts = standstill, 1
	if got := get(t, open(t, cfg), "k"); len(got) != pieces {
		t.Errorf("%d bytes", len(got))
	}
}

// TestStalledUpload: a store that reads nothing more of a part. The storage decorator's view of it is that nothing moves.
func TestStalledUpload(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "stalled", false)
	p, cfg := before(t, server.S3, "stalled")
	p.Script(faults.Step{On: faults.Part, Times: faults.Always, Do: faults.Stall(100_000)})
	b := storage.WithStallTimeout(open(t, cfg), 500*time.Millisecond)
	start := time.Now() // by itself the bucket gives a connection up after a minute
	if err := put(t, b, "k", random(3*storagetest.PartSize)); !errors.Is(err, storage.ErrStalled) || time.Since(start) > 50*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func TestCredentialsRotate(t *testing.T) {
	var seen atomic.Value
	server := tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
		answer(404, "NoSuchKey", "none")(w, r)
	}))
	cfg := scripted(t, server)
	b := open(t, cfg)
	usedKey := func() string {
		t.Helper()
		if err := doGet(t, b); !errors.Is(err, storage.ErrNotExist) {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(seen.Load().(string), "Credential=")
		key, _, _ := strings.Cut(rest, "/")
		return key
	}
	if key := usedKey(); key != "access" {
		t.Errorf("first key is %q", key)
	}
	writeCredentials(t, cfg.CredentialsFile, "rotated", secretKey)
	if key := usedKey(); key != "rotated" {
		t.Errorf("key after rotation is %q", key)
	}
	if err := os.WriteFile(cfg.CredentialsFile, []byte("aws_secret_access_key = "+secretKey+" broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := doGet(t, b); err == nil || strings.Contains(err.Error(), secretKey) || !strings.Contains(err.Error(), `no keys for profile "default"`) || len(hint.Of(err)) == 0 {
		t.Errorf("a broken file: %v", err)
	}
	if err := os.Chmod(cfg.CredentialsFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := doGet(t, b); err == nil || !strings.Contains(err.Error(), "open to every user (mode 0644)") || len(hint.Of(err)) == 0 {
		t.Errorf("an open file: %v, hints %q", err, hint.Of(err))
	}
	if err := os.Remove(cfg.CredentialsFile); err != nil {
		t.Fatal(err)
	}
	if err := doGet(t, b); err == nil || !errors.Is(err, os.ErrNotExist) || errors.Is(err, storage.ErrNotExist) || len(hint.Of(err)) == 0 {
		t.Errorf("no file: %v", err)
	}
}

func TestCancelWhileRetrying(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := scripted(t, tlsServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		answer(503, "SlowDown", "slow")(w, r)
	})))
	cfg.Attempts = 20
	if _, err := open(t, cfg).Stat(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
