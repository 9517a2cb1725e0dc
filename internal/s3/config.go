package s3

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

// ParseURL reads "s3://bucket/prefix?endpoint=…&region=…". The options are endpoint, region, path_style, ca_file,
// credentials_file, profile, allow_plain_http and as_of (RFC 3339), with the meaning of the Config fields; any other, or one
// given twice, is an error. Secrets are not accepted.
func ParseURL(s string) (Config, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Config{}, fmt.Errorf("parse bucket URL: not a URL") // url.Error repeats the text, which may hold a secret
	}
	switch {
	case u.Scheme != "s3":
		return Config{}, fmt.Errorf("parse bucket URL: the scheme is not s3://")
	case u.User != nil:
		return Config{}, hint.New(fmt.Errorf("parse bucket URL: credentials do not belong in a URL"), "put them in a file and write ?credentials_file=/path")
	case u.Fragment != "" || u.Port() != "":
		return Config{}, fmt.Errorf("parse bucket URL: neither a port nor a fragment can stand in s3://bucket/prefix")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, fmt.Errorf("parse bucket URL: the options after ? are not a valid query")
	}
	cfg := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for name, values := range query {
		if err := cfg.set(name, values); err != nil {
			return Config{}, fmt.Errorf("parse bucket URL: %w", err)
		}
	}
	return cfg, cfg.checkName()
}

// set sets the option of that name in a URL.
func (c *Config) set(name string, values []string) (err error) {
	text := map[string]*string{
		"endpoint": &c.Endpoint, "region": &c.Region, "ca_file": &c.CAFile,
		"credentials_file": &c.CredentialsFile, "profile": &c.Profile,
	}
	truth := map[string]*bool{"path_style": &c.PathStyle, "allow_plain_http": &c.AllowPlainHTTP}
	switch {
	case len(values) != 1:
		return fmt.Errorf("option %s is given %d times", name, len(values))
	case text[name] != nil && values[0] == "":
		return fmt.Errorf("option %s is empty", name)
	case text[name] != nil:
		*text[name] = values[0]
	case truth[name] != nil:
		if *truth[name], err = strconv.ParseBool(values[0]); err != nil {
			return fmt.Errorf("option %s: %q is neither true nor false", name, values[0])
		}
	case name == "as_of":
		if c.AsOf, err = time.Parse(time.RFC3339, values[0]); err != nil {
			return hint.New(fmt.Errorf("option as_of: %q is not a time", oneLine(values[0])), "write it as 2026-11-22T10:00:00Z")
		}
	default:
		return hint.New(fmt.Errorf("unknown option %q", name), "options are endpoint, region, path_style, ca_file, credentials_file, profile, allow_plain_http and as_of")
	}
	return nil
}

func (c *Config) checkName() error {
	if c.Bucket == "" || strings.ContainsAny(c.Bucket, "/ ?#%") {
		return hint.New(fmt.Errorf("invalid bucket name %q", c.Bucket), "write s3://bucket/prefix")
	}
	if c.Prefix == "" {
		return nil
	}
	if len(c.Prefix) > maxPrefix {
		return fmt.Errorf("prefix of %d bytes, %d at most", len(c.Prefix), maxPrefix)
	}
	if err := storage.CheckKey(c.Prefix); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	return nil
}

// complete returns c with its defaults, or what is wrong with it.
func (c Config) complete() (Config, error) {
	c.Prefix = strings.Trim(c.Prefix, "/")
	c.PartSize = cmp.Or(c.PartSize, DefaultPartSize)
	c.Parallel = cmp.Or(c.Parallel, DefaultParallel)
	c.Attempts = cmp.Or(c.Attempts, DefaultAttempts)
	c.StallTimeout = cmp.Or(c.StallTimeout, DefaultStallTimeout)
	return c, errors.Join(c.checkName(), c.checkEndpoint(), c.checkLimits(), c.checkWriting(), c.checkTime())
}

func (c *Config) checkEndpoint() error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return hint.New(errors.New("endpoint is not a URL"), "write it with its scheme: https://minio.example:9000")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return hint.New(errors.New("endpoint has more than a host and a path"), "credentials belong in credentials_file")
	case u.Scheme == "http" && !c.AllowPlainHTTP:
		return hint.New(fmt.Errorf("endpoint %s is not encrypted", c.Endpoint), "use https://, with ca_file for a private CA, or say allow_plain_http: true")
	}
	return nil
}

func (c *Config) checkLimits() error {
	switch {
	case c.PartSize < minPartSize || c.PartSize > maxPartSize:
		return fmt.Errorf("part size of %d bytes, %d to %d are allowed", c.PartSize, minPartSize, maxPartSize)
	case c.Parallel < 1 || c.Parallel > maxParallel:
		return fmt.Errorf("%d parallel parts, 1 to %d are allowed", c.Parallel, maxParallel)
	case c.Attempts < 1 || c.Attempts > maxAttempts:
		return fmt.Errorf("%d attempts, 1 to %d are allowed", c.Attempts, maxAttempts)
	case c.StallTimeout < 0:
		return fmt.Errorf("negative stall timeout %v", c.StallTimeout)
	}
	return nil
}

func (c *Config) checkTime() error {
	if c.AsOf.After(time.Now()) {
		return hint.New(fmt.Errorf("as_of %s is in the future", c.AsOf.Format(time.RFC3339)), "if it is not, set this machine's clock")
	}
	return nil
}

func (c *Config) checkWriting() error {
	switch {
	case !slices.Contains([]string{"", "AES256", "aws:kms", "aws:kms:dsse"}, c.SSE):
		return fmt.Errorf("unknown server-side encryption %q: AES256, aws:kms or aws:kms:dsse", c.SSE)
	case c.KMSKeyID != "" && !strings.HasPrefix(c.SSE, "aws:kms"):
		return fmt.Errorf("a KMS key is given, but sse is not aws:kms")
	case !slices.Contains([]string{ChecksumWhenSupported, ChecksumRequired}, c.ChecksumMode):
		return fmt.Errorf("unknown checksum mode %q: leave it out or say required", c.ChecksumMode)
	case !slices.Contains([]string{"", "governance", "compliance"}, c.ObjectLock.Mode):
		return fmt.Errorf("unknown object lock mode %q: governance or compliance", c.ObjectLock.Mode)
	case (c.ObjectLock.Mode == "") != (c.ObjectLock.Days == 0) || c.ObjectLock.Days < 0:
		return fmt.Errorf("object lock needs both a mode and a positive number of days")
	}
	return nil
}
