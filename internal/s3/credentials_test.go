package s3_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/servers"
)

// admin runs an administrator's command of versitygw.
func admin(t *testing.T, server *servers.VersityGW, args ...string) {
	t.Helper()
	all := append([]string{"admin", "--access", server.AccessKey, "--secret", server.SecretKey, "--region", server.Region, "--endpoint-url", server.Endpoint, "--allow-insecure"}, args...)
	if out, err := exec.Command(servers.Tool(t, "versitygw"), all...).CombinedOutput(); err != nil {
		t.Fatalf("versitygw %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestKeysRotate: the key that a running Bucket uses is revoked at a real store and its file replaced: the next call works.
func TestKeysRotate(t *testing.T) {
	iam := t.TempDir()
	server := servers.StartVersityGW(t, servers.WithEnv("VGW_IAM_DIR="+iam))
	server.CreateBucket(t, "rotate", false)
	for _, user := range []string{"first", "second"} {
		admin(t, server, "create-user", "--access", user, "--secret", user+"-secret", "--role", "admin")
	}
	for name, change := range map[string]func(t *testing.T, cfg *s3.Config, file string){
		"credentials_file": func(_ *testing.T, cfg *s3.Config, file string) { cfg.CredentialsFile = file },
		"AWS environment": func(t *testing.T, cfg *s3.Config, file string) {
			cfg.CredentialsFile = ""
			noEnvironment(t)
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(server.S3, "rotate")
			cfg.Prefix = strings.ReplaceAll(name, " ", "-")
			file := credentials(t, "first", "first-secret")
			change(t, &cfg, file)
			b := open(t, cfg)
			if err := put(t, b, "before", []byte("x")); err != nil {
				t.Fatal(err)
			}
			admin(t, server, "delete-user", "--access", "first")
			defer admin(t, server, "create-user", "--access", "first", "--secret", "first-secret", "--role", "admin")
			if err := put(t, b, "revoked", []byte("x")); !errors.Is(err, storage.ErrDenied) || len(hint.Of(err)) == 0 {
				t.Errorf("with a revoked key: %v, hints %q", err, hint.Of(err))
			}
			writeCredentials(t, file, "second", "second-secret")
			if err := put(t, b, "after", random(kinds["parts"].size)); err != nil {
				t.Errorf("after the file was replaced: %v", err)
			}
		})
	}
}

// noEnvironment keeps what this machine has for AWS out of a test.
func noEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"} {
		t.Setenv(name, "")
	}
	nothing := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", nothing)
	t.Setenv("AWS_CONFIG_FILE", nothing)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// tokens is an STS endpoint that gives a session for the web identity token "token-N": the access key "key-N".
type tokens struct {
	asked atomic.Int32
	life  time.Duration
}

func (s *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	token := r.FormValue("WebIdentityToken")
	number, ok := strings.CutPrefix(token, "token-")
	if !ok || r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("RoleArn") != "arn:aws:iam::1:role/backup" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
		return
	}
	type credentials struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string } //nolint:revive // STS's spelling
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name    `xml:"AssumeRoleWithWebIdentityResponse"`
		Keys    credentials `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}{Keys: credentials{"key-" + number, secretKey, "session-" + number, time.Now().Add(s.life).UTC().Format(time.RFC3339)}})
}

// TestWebIdentity: a role taken by a token file, as Kubernetes gives it. The session is kept while it is good, and when the store
// refuses it the token file is read again, once per call.
func TestWebIdentity(t *testing.T) {
	noEnvironment(t)
	sts := &tokens{life: time.Hour}
	endpoint := httptest.NewServer(sts)
	t.Cleanup(endpoint.Close)
	file := filepath.Join(t.TempDir(), "token")
	token := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	token("token-1")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup")
	t.Setenv("AWS_ENDPOINT_URL_STS", endpoint.URL)

	var accepted atomic.Value
	accepted.Store("key-1")
	store := faults.Alone(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+accepted.Load().(string)+"/") || r.Header.Get("X-Amz-Security-Token") == "" {
			answer(400, "ExpiredToken", "the token has expired")(w, r)
			return
		}
		answer(404, "NoSuchKey", "none")(w, r)
	}))
	b := open(t, s3.Config{Bucket: "b", Region: "r-1", Endpoint: store.Endpoint, CAFile: store.CAFile, PathStyle: true})
	want := func(what string, err, kind error, asked int32, requests int) {
		t.Helper()
		if !errors.Is(err, kind) || sts.asked.Load() != asked || len(store.Seen(faults.Get)) != requests {
			t.Errorf("%s: %v; STS was asked %d times, the store %d times; want %v, %d, %d", what, err, sts.asked.Load(), len(store.Seen(faults.Get)), kind, asked, requests)
		}
	}
	want("the first request", doGet(t, b), storage.ErrNotExist, 1, 1)
	want("the second request", doGet(t, b), storage.ErrNotExist, 1, 2)

	accepted.Store("key-2")
	err := doGet(t, b)
	want("expired, no new token", err, storage.ErrDenied, 2, 3) // the same session again is not tried
	if !strings.Contains(err.Error(), "ExpiredToken") || !strings.Contains(strings.Join(hint.Of(err), ""), "token file") {
		t.Errorf("expired: %v, hints %q", err, hint.Of(err))
	}
	token("token-2")
	want("expired, a new token", doGet(t, b), storage.ErrNotExist, 3, 5)
	token("nonsense")
	accepted.Store("key-3")
	want("expired, a bad token", doGet(t, b), storage.ErrDenied, 4, 6)
	token("token-3")
	want("a good token again", doGet(t, b), storage.ErrNotExist, 5, 7)
}

// TestShortSessions: a session is renewed before it ends.
func TestShortSessions(t *testing.T) {
	noEnvironment(t)
	sts := &tokens{life: time.Second}
	endpoint := httptest.NewServer(sts)
	t.Cleanup(endpoint.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("token-1"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup")
	t.Setenv("AWS_ENDPOINT_URL_STS", endpoint.URL)
	store := faults.Alone(t, answer(404, "NoSuchKey", "none"))
	b := open(t, s3.Config{Bucket: "b", Region: "r-1", Endpoint: store.Endpoint, CAFile: store.CAFile, PathStyle: true})
	for range 2 {
		if err := doGet(t, b); !errors.Is(err, storage.ErrNotExist) {
			t.Fatal(err)
		}
		time.Sleep(sts.life + 100*time.Millisecond)
	}
	if sts.asked.Load() < 2 {
		t.Error("a session that has ended was used again")
	}
}
