package preflight_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/preflight"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/servers"
)

const (
	readWrite = `"s3:PutObject","s3:PutObjectRetention","s3:GetObject","s3:ListBucket","s3:GetBucketObjectLockConfiguration","s3:GetLifecycleConfiguration","s3:GetBucketVersioning"`
	hide      = readWrite + `,"s3:DeleteObject"`
)

// bucketChecks runs the checks of one bucket with credentials that may do what actions say, and nothing else but them.
func bucketChecks(t *testing.T, server *servers.MinIO, bucket, actions string, settings config.Config) map[string]preflight.Check {
	t.Helper()
	credentials := server.Session(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[`+actions+`],"Resource":["arn:aws:s3:::*"]}]}`)
	var lock config.ObjectLock
	for _, given := range settings.Targets {
		lock = given.S3.ObjectLock
	}
	settings.Targets = []config.Target{{Name: "primary", S3: &config.S3{
		Bucket: bucket, Endpoint: server.Endpoint, Region: server.Region, CAFile: server.CAFile, CredentialsFile: credentials, ObjectLock: lock,
	}}}
	b, err := s3.Open(t.Context(), s3.Config{
		Bucket: bucket, Endpoint: server.Endpoint, Region: server.Region, CAFile: server.CAFile, CredentialsFile: credentials, PathStyle: true,
		ObjectLock: s3.ObjectLock{Mode: lock.Mode, Days: lock.Days},
	})
	if err != nil {
		t.Fatal(err)
	}
	one := target(t, storage.WithRate(b, 1<<30, 0)) // through a decorator, as in the daemon
	one.ReadBack = true
	checks := make(map[string]preflight.Check)
	for _, c := range preflight.Run(t.Context(), preflight.Config{Settings: &settings, StateDir: t.TempDir(), Targets: []replicate.Target{one}}) {
		checks[c.Name] = c
	}
	return checks
}

func wantCheck(t *testing.T, checks map[string]preflight.Check, name string, status preflight.Status, detail string) {
	t.Helper()
	c, there := checks[name]
	if !there || c.Status != status || !strings.Contains(c.Detail, detail) || (status != preflight.OK) != (len(c.Hints) > 0) {
		t.Errorf("%s: %+v, want %s, %q", name, c, status, detail)
	}
}

// TestBucket: what a real store's settings and a real policy come to.
func TestBucket(t *testing.T) {
	server := servers.StartMinIO(t)
	prune := config.Retention{Daily: 7, MinCopies: 3}
	locked := func(days int) []config.Target {
		return []config.Target{{S3: &config.S3{ObjectLock: config.ObjectLock{Mode: "governance", Days: days}}}}
	}
	for name, c := range map[string]struct {
		lock     bool
		actions  string
		settings config.Config
		want     map[string]string // check to "status: part of its detail"
	}{
		"may not delete":             {false, readWrite, config.Config{}, map[string]string{"delete": "ok: cannot delete", "object lock": "ok: none"}},
		"may not delete, and has to": {false, readWrite, config.Config{Retention: prune}, map[string]string{"delete": "warning: retention asks this node to"}},
		"may delete":                 {false, hide, config.Config{}, map[string]string{"delete": "warning: nothing on this node needs that"}},
		"may delete, and has to":     {false, hide, config.Config{Retention: prune}, map[string]string{"delete": "ok: as retention needs"}},
		"may hide":                   {true, hide, config.Config{Retention: prune, Targets: locked(5)}, map[string]string{"delete": "ok: hide objects and not destroy", "object lock": "ok: governance for 5 days (object_lock"}},
		"locked, and not asked for":  {true, readWrite, config.Config{}, map[string]string{"object lock": "warning: nothing asks it to protect"}},
		"locked for too long":        {true, hide, config.Config{Retention: prune, Targets: locked(30)}, map[string]string{"object lock": "warning: longer than the 7 days"}},
		"may not ask":                {false, `"s3:PutObject","s3:GetObject","s3:ListBucket"`, config.Config{}, map[string]string{"object lock": "ok: not known", "lifecycle": "ok: not known"}},
	} {
		t.Run(name, func(t *testing.T) {
			bucket := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
			server.CreateBucket(t, bucket, c.lock)
			checks := bucketChecks(t, server, bucket, c.actions, c.settings)
			wantCheck(t, checks, "target primary", preflight.OK, "refuses to overwrite")
			wantCheck(t, checks, "target primary checksum", preflight.OK, "every object is read back")
			wantCheck(t, checks, "target primary clock", preflight.OK, "within 1s")
			wantCheck(t, checks, "certificate target primary server", preflight.OK, "is valid until")
			wantCheck(t, checks, "certificate target primary CA", preflight.OK, "is valid until")
			for check, want := range c.want {
				status, detail, _ := strings.Cut(want, ": ")
				wantCheck(t, checks, "target primary "+check, preflight.Status(status), detail)
			}
		})
	}
}

// TestDocumented: docs/check.md has every check, and a check for every name.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "check.md"))
	if err != nil {
		t.Fatal(err)
	}
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "documented", false)
	made := make(map[string]bool)
	for name := range bucketChecks(t, server, "documented", readWrite, config.Config{}) {
		made[name] = true
	}
	ca := servers.NewCA(t)
	member := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: ca})
	cert, key := ca.Issue(t, "drd")
	cfg, _ := node(t, "")
	cfg.Settings = &config.Config{
		Etcd: config.Etcd{Endpoints: []string{member.Endpoint()}, CAFile: ca.CertFile(), CertFile: cert, KeyFile: key}, SpoolMaxBytes: 1, Verify: config.Verify{Schedule: "@daily", ScratchDir: t.TempDir()},
	}
	cfg.Connect, cfg.Unit, cfg.Audit = connectTo(cfg.Settings.Etcd), "drd.service", func(context.Context) (string, error) { return "", nil }
	for _, c := range preflight.Run(t.Context(), cfg) {
		made[c.Name] = true
	}
	documented := make(map[string]bool)
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); strings.HasPrefix(line, "| `") {
			for i, name := range strings.Split(cells[1], "`") {
				if i%2 == 1 {
					documented[strings.ReplaceAll(name, "NAME", "primary")] = true
				}
			}
		}
	}
	for name := range made {
		if !documented[name] {
			t.Errorf("docs/check.md does not name %q", name)
		}
	}
	for name := range documented {
		// The runtime directory is looked at and said only where it is wrong; the unit's text only where there is a unit.
		if !made[name] && name != "runtime directory" && name != "unit" {
			t.Errorf("docs/check.md names %q, which was not made", name)
		}
	}
}

// TestLockRefused: a bucket without Object Lock takes no retention, so every upload would fail.
func TestLockRefused(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "plain", false)
	asked := config.Config{Targets: []config.Target{{S3: &config.S3{ObjectLock: config.ObjectLock{Mode: "compliance", Days: 3}}}}}
	wantCheck(t, bucketChecks(t, server, "plain", `"s3:*"`, asked), "target primary", preflight.Fail, "takes no retention")
	// What may be the cause of any failure is looked at all the same.
	wantCheck(t, bucketChecks(t, server, "plain", `"s3:*"`, asked), "target primary clock", preflight.OK, "within 1s")
}

// TestLifecycle: a rule that deletes is found, and one that only tidies is none.
func TestLifecycle(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "ruled", false)
	settings := config.Config{Retention: config.Retention{Daily: 14}}
	for _, c := range []struct {
		days   int32
		status preflight.Status
		detail string
	}{
		{0, preflight.OK, "no rule of the bucket takes backups away"},
		{7, preflight.Fail, `rule "old" deletes objects after 7 days, and retention keeps them for 14`},
		{60, preflight.Warn, "also the last good ones"},
	} {
		rules := []types.LifecycleRule{{
			ID: aws.String("tidy"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")},
			NoncurrentVersionExpiration: &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(90)},
		}}
		if c.days > 0 {
			rules = append(rules, types.LifecycleRule{
				ID: aws.String("old"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")},
				Expiration: &types.LifecycleExpiration{Days: aws.Int32(c.days)},
			})
		}
		_, err := server.Client(t).PutBucketLifecycleConfiguration(t.Context(), &awss3.PutBucketLifecycleConfigurationInput{
			Bucket: aws.String("ruled"), LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: rules},
		})
		if err != nil {
			t.Fatal(err)
		}
		wantCheck(t, bucketChecks(t, server, "ruled", `"s3:*"`, settings), "target primary lifecycle", c.status, c.detail)
	}
}

// TestVerifier: a host without etcd and without keys of its own writes nothing and is checked as far as it goes.
func TestVerifier(t *testing.T) {
	cfg, bucket := node(t, "")
	cfg.Connect, cfg.Recipients, cfg.Keys, cfg.Signer, cfg.ReadOnly = nil, nil, nil, nil, true
	bucket.FailCall(storagetest.OpCreate, 1, storage.ErrDenied)
	checks := preflight.Run(t.Context(), cfg)
	if of := found(checks, "target primary"); preflight.Failed(checks) || len(found(checks, "etcd")) != 0 || len(of) != 1 || !strings.HasSuffix(of[0].Detail, " lists") {
		t.Errorf("%+v", checks)
	}
	bucket.FailCall(storagetest.OpList, 1, storage.ErrDenied)
	if !preflight.Failed(preflight.Run(t.Context(), cfg)) {
		t.Error("a target that does not list is good enough")
	}
}

// TestServers: a real member with TLS tells when its certificate ends and what its clock says, and so do the files.
func TestServers(t *testing.T) {
	ca := servers.NewCA(t)
	server := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: ca})
	cert, key := ca.Issue(t, "drd")
	cfg, _ := node(t, "")
	cfg.Connect = nil
	cfg.Settings = &config.Config{Etcd: config.Etcd{Endpoints: []string{server.Endpoint()}, CAFile: ca.CertFile(), CertFile: cert, KeyFile: key}}
	cfg.Connect = connectTo(cfg.Settings.Etcd)
	checks := preflight.Run(t.Context(), cfg)
	for _, name := range []string{"certificate etcd client", "certificate etcd CA", "certificate etcd server", "clock etcd"} {
		if of := found(checks, name); len(of) != 1 || of[0].Status != preflight.OK {
			t.Errorf("%s: %+v", name, of)
		}
	}
	if err := os.WriteFile(cfg.Settings.Etcd.CAFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if of := found(preflight.Run(t.Context(), cfg), "certificate etcd CA"); len(of) != 1 || of[0].Status != preflight.Fail {
		t.Errorf("%+v", of)
	}
}
