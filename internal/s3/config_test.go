package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/test/servers"
)

func TestParseURL(t *testing.T) {
	got, err := ParseURL("s3://bucket/some/prefix/?endpoint=https%3A%2F%2Fminio.example:9000&region=r-1&path_style=true&ca_file=/ca.pem&credentials_file=/keys&profile=p&allow_plain_http=false")
	want := Config{
		Bucket: "bucket", Prefix: "some/prefix", Endpoint: "https://minio.example:9000", Region: "r-1", PathStyle: true,
		CAFile: "/ca.pem", CredentialsFile: "/keys", Profile: "p",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, url := range []string{"s3://bucket", "s3://bucket/", "s3://bucket?endpoint=https://e"} {
		if got, err := ParseURL(url); err != nil || got.Bucket != "bucket" || got.Prefix != "" {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
	}
	for url, want := range map[string]string{
		"https://bucket/prefix": "scheme", "s3://": "bucket name", "s3:///prefix": "bucket name", "s3://b/../c": "prefix", "s3://b/a//b": "prefix",
		"s3://b/" + strings.Repeat("p", maxPrefix+1): "prefix of 124 bytes", "s3://b?endpiont=x": `unknown option "endpiont"`, "s3://b?region=a&region=b": "2 times",
		"s3://b?region=": "empty", "s3://b?path_style=yes": "neither true nor false", "s3://b#x": "fragment", "s3://b:80/": "port",
		"s3://key:planted-secret@b": "credentials do not belong", "s3://key:planted-secret@b:port": "not a URL", "s3://b?secret_access_key=planted-secret": "unknown option",
		"s3://b?a=%zz": "valid query", "s3://b?a;b": "valid query",
	} {
		_, err := ParseURL(url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted-secret") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

// FuzzParseURL: what is accepted is a bucket that can be named, and nothing of a refused URL's password is repeated.
func FuzzParseURL(f *testing.F) {
	f.Add("s3://bucket/prefix?endpoint=https://e&region=r")
	f.Add("s3://user:password@bucket")
	f.Fuzz(func(t *testing.T, s string) {
		cfg, err := ParseURL(s)
		if err == nil && (cfg.checkName() != nil || cfg.Bucket == "") {
			t.Errorf("%q gives %+v", s, cfg)
		}
	})
}

// good is a configuration that Open takes.
func good(t *testing.T) Config {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id=a\naws_secret_access_key=planted-secret\n[other]\naws_access_key_id=b\naws_secret_access_key=c\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	return Config{Bucket: "b", Region: "r-1", CredentialsFile: keys}
}

func TestOpenRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(c *Config)
		want   string // "" is accepted
	}{
		{"as it is", func(*Config) {}, ""},
		{"other profile", func(c *Config) { c.Profile = "other" }, ""},
		{"everything", func(c *Config) {
			*c = Config{Bucket: "b", Prefix: "p/", Region: "r", Endpoint: "https://e:1", PathStyle: true, CredentialsFile: c.CredentialsFile, SSE: "aws:kms",
				KMSKeyID: "k", StorageClass: "STANDARD_IA", ObjectLock: ObjectLock{"compliance", 30}, ChecksumMode: "required", PartSize: 5 << 20, Parallel: 1, Attempts: 1}
		}, ""},
		{"no bucket", func(c *Config) { c.Bucket = "" }, "bucket name"},
		{"prefix", func(c *Config) { c.Prefix = "a/../b" }, "prefix"},
		{"endpoint without scheme", func(c *Config) { c.Endpoint = "minio:9000" }, "endpoint is not a URL"},
		{"endpoint with password", func(c *Config) { c.Endpoint = "https://u:planted-secret@h" }, "more than a host"},
		{"plain endpoint", func(c *Config) { c.Endpoint = "http://h" }, "not encrypted"},
		{"plain endpoint, allowed", func(c *Config) { c.Endpoint, c.AllowPlainHTTP = "http://h", true }, ""},
		{"small parts", func(c *Config) { c.PartSize = 5<<20 - 1 }, "part size"},
		{"large parts", func(c *Config) { c.PartSize = 1<<30 + 1 }, "part size"},
		{"parallel", func(c *Config) { c.Parallel = -1 }, "parallel"},
		{"attempts", func(c *Config) { c.Attempts = 21 }, "attempts"},
		{"stall", func(c *Config) { c.StallTimeout = -1 }, "stall"},
		{"sse", func(c *Config) { c.SSE = "aes256" }, "server-side encryption"},
		{"kms key alone", func(c *Config) { c.KMSKeyID = "k" }, "KMS"},
		{"checksum mode", func(c *Config) { c.ChecksumMode = "off" }, "checksum mode"},
		{"lock mode", func(c *Config) { c.ObjectLock = ObjectLock{"GOVERNANCE", 1} }, "object lock mode"},
		{"lock without days", func(c *Config) { c.ObjectLock = ObjectLock{"governance", 0} }, "days"},
		{"days without lock", func(c *Config) { c.ObjectLock = ObjectLock{"", 5} }, "days"},
		{"negative days", func(c *Config) { c.ObjectLock = ObjectLock{"governance", -5} }, "days"},
		{"no CA file", func(c *Config) { c.CAFile = empty + "x" }, "ca_file"},
		{"empty CA file", func(c *Config) { c.CAFile = empty }, "no certificate"},
		{"no credentials file", func(c *Config) { c.CredentialsFile = empty + "x" }, "credentials_file"},
		{"empty credentials file", func(c *Config) { c.CredentialsFile = empty }, "no keys for profile"},
		{"unknown profile", func(c *Config) { c.Profile = "third" }, `no keys for profile "third"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := good(t)
			test.change(&cfg)
			_, err := Open(t.Context(), cfg)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want %q", err, test.want)
			case err != nil && strings.Contains(err.Error(), "planted-secret"):
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

func TestOpenWithoutRegion(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	t.Setenv("AWS_PROFILE", "")
	nothing := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", nothing)
	cfg := good(t)
	cfg.Region = ""
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "no region") || len(hint.Of(err)) == 0 {
		t.Errorf("AWS without a region: %v", err)
	}
	t.Setenv("AWS_REGION", "r-env")
	if b, err := Open(t.Context(), cfg); err != nil || b.Location() != "s3://b in r-env" || !b.Properties().VerifiesContent {
		t.Errorf("region of the environment: %v, %v", b, err)
	}
	cfg.Endpoint, cfg.Prefix = "https://e", "p"
	if b, err := Open(t.Context(), cfg); err != nil || b.Location() != "s3://b/p at https://e" || b.Properties().VerifiesContent {
		t.Errorf("other store: %v, %v", b, err)
	}
}

func TestDefaults(t *testing.T) {
	b, err := Open(t.Context(), good(t))
	if err != nil {
		t.Fatal(err)
	}
	if b.Properties().Parallel != 4 || b.cfg.PartSize != 8<<20 || b.cfg.Attempts != 5 {
		t.Errorf("%+v", b.cfg)
	}
}

func TestReadPart(t *testing.T) {
	own := errors.New("own")
	for _, size := range []int{0, 1, firstRead, firstRead + 1, 1 << 20} {
		data := strings.Repeat("x", size)
		got, err := readPart(t.Context(), strings.NewReader(data), nil, 1<<20)
		if err != nil || string(got) != data || cap(got) > 1<<20 {
			t.Errorf("%d bytes: %d, room for %d, %v", size, len(got), cap(got), err)
		}
		if _, err := readPart(t.Context(), io.MultiReader(strings.NewReader(data), failing{own}), nil, 1<<20+1); !errors.Is(err, own) {
			t.Errorf("%d bytes and an error: %v", size, err)
		}
	}
	got, err := readPart(t.Context(), strings.NewReader("abcdef"), make([]byte, 10), 4)
	if err != nil || string(got) != "abcd" {
		t.Errorf("into a buffer in use: %q, %v", got, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestTooManyParts: the limit is an error before the store makes it one, and the upload is not left behind.
func TestTooManyParts(t *testing.T) {
	server := servers.StartVersityGW(t)
	server.CreateBucket(t, "parts", false)
	b, err := Open(t.Context(), Config{Bucket: "parts", Endpoint: server.Endpoint, CAFile: server.CAFile, PathStyle: true, CredentialsFile: server.CredentialsFile, PartSize: minPartSize})
	if err != nil {
		t.Fatal(err)
	}
	b.maxParts = 3
	for size, want := range map[int]bool{3 * minPartSize: true, 3*minPartSize + 1: false} {
		key := fmt.Sprint(size)
		_, err := b.Create(t.Context(), key, bytes.NewReader(make([]byte, size)))
		if want != (err == nil) || !want && (!strings.Contains(err.Error(), "more than 3 parts") || len(hint.Of(err)) == 0) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if left, err := b.Incomplete(t.Context(), ""); err != nil || len(left) != 0 {
			t.Errorf("%d bytes: left behind: %v, %v", size, left, err)
		}
	}
}
