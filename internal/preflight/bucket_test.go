package preflight_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	readWrite = `"s3:PutObject","s3:PutObjectRetention","s3:GetObject","s3:ListBucket","s3:AbortMultipartUpload","s3:GetBucketObjectLockConfiguration","s3:GetLifecycleConfiguration","s3:GetBucketVersioning"`
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

// wantClock wants the store's clock, which is the test's, to be found right, as exactly as can be known: took is how long its answer took at
// most.
func wantClock(t *testing.T, checks map[string]preflight.Check, took time.Duration) {
	t.Helper()
	const name = "target primary clock"
	wantCheck(t, checks, name, preflight.OK, "within ")
	text, _, _ := strings.Cut(strings.TrimPrefix(checks[name].Detail, "within "), " ")
	if off, err := time.ParseDuration(text); err != nil || off > time.Second+took {
		t.Errorf("%s: %+v, after %s", name, checks[name], took)
	}
}

// TestBucket: what a real store's settings and a real policy come to.
func TestBucket(t *testing.T) {
	server := servers.StartMinIO(t)
	prune := config.Retention{Daily: 7, MinCopies: 3}
	locked := func(days int) []config.Target {
		return []config.Target{{S3: &config.S3{ObjectLock: config.ObjectLock{Mode: "governance", Days: days}}}}
	}
	held := []config.Target{{S3: &config.S3{ObjectLock: config.ObjectLock{Mode: config.LockCompliance, Days: 1}}}}
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
		"locked, and not asked for":  {true, readWrite, config.Config{}, map[string]string{"object lock": "warning: Object Lock without any retention, and that protects nothing"}},
		"may destroy":                {true, `"s3:*"`, config.Config{}, map[string]string{"delete": "warning: may delete versions for good, and no retention holds any"}},
		"may destroy unless it asks": {true, `"s3:*"`, config.Config{Targets: locked(5)}, map[string]string{"delete": "warning: unless the credentials also have s3:BypassGovernanceRetention"}},
		"may destroy later":          {true, `"s3:*"`, config.Config{Targets: held}, map[string]string{"delete": "ok: lets nobody do so for 1 days", "object lock": "ok: compliance for 1 days"}},
		"asked for, and may not ask": {true, `"s3:PutObject","s3:PutObjectRetention","s3:AbortMultipartUpload","s3:GetObject","s3:ListBucket"`, config.Config{Targets: locked(5)},
			map[string]string{"object lock": "warning: object_lock is asked for; what the bucket has is not known"}},
		"locked for too long": {true, hide, config.Config{Retention: prune, Targets: locked(30)}, map[string]string{"object lock": "warning: longer than the 7 days"}},
		"may not ask":         {false, `"s3:PutObject","s3:AbortMultipartUpload","s3:GetObject","s3:ListBucket"`, config.Config{}, map[string]string{"object lock": "ok: not known", "lifecycle": "ok: not known"}},
	} {
		t.Run(name, func(t *testing.T) {
			bucket := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
			server.CreateBucket(t, bucket, c.lock)
			began := time.Now()
			checks := bucketChecks(t, server, bucket, c.actions, c.settings)
			wantClock(t, checks, time.Since(began))
			wantCheck(t, checks, "target primary", preflight.OK, "refuses to overwrite")
			wantCheck(t, checks, "target primary checksum", preflight.OK, "every object is read back")
			wantCheck(t, checks, "certificate target primary server", preflight.OK, "is valid until")
			wantCheck(t, checks, "certificate target primary CA", preflight.OK, "is valid until")
			for check, want := range c.want {
				status, detail, _ := strings.Cut(want, ": ")
				wantCheck(t, checks, "target primary "+check, preflight.Status(status), detail)
			}
		})
	}
}

// TestLeavesNothing: what cannot be taken back is said; a host that only reads tries no deletion, which could leave a marker.
func TestLeavesNothing(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "left", true)
	checks := bucketChecks(t, server, "left", `"s3:PutObject","s3:GetObject","s3:ListBucket"`, config.Config{})
	wantCheck(t, checks, "target primary", preflight.Warn, "could not be taken back")

	server.CreateBucket(t, "read", true)
	b, err := s3.Open(t.Context(), s3.Config{
		Bucket: "read", Endpoint: server.Endpoint, Region: server.Region, CAFile: server.CAFile, PathStyle: true,
		CredentialsFile: server.Session(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[`+hide+`],"Resource":["arn:aws:s3:::*"]}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	preflight.Run(t.Context(), preflight.Config{StateDir: t.TempDir(), Targets: []replicate.Target{target(t, b)}, ReadOnly: true})
	out, err := server.Client(t).ListObjectVersions(t.Context(), &awss3.ListObjectVersionsInput{Bucket: aws.String("read")})
	if err != nil || len(out.Versions)+len(out.DeleteMarkers) > 0 {
		t.Errorf("left: %+v, %v", out, err)
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
	cfg.Settings.Metrics = config.Metrics{Listen: "127.0.0.1:0", HeartbeatURLFile: "/url", Textfile: "/drd.prom"}
	cfg.Outputs = preflight.Outputs{Listen: func(context.Context) error { return nil }, Heartbeat: func() error { return nil }}
	cfg.Connect, cfg.Unit, cfg.AuditFile = connectTo(cfg.Settings.Etcd), "drd.service", filepath.Join(t.TempDir(), "audit.jsonl")
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
		// The runtime directory is looked at and said only where it is wrong; the unit's text, and from inside, only where there is a unit.
		if !made[name] && name != "runtime directory" && name != "unit" && name != "service reach" {
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
	began := time.Now()
	checks := bucketChecks(t, server, "plain", `"s3:*"`, asked)
	wantClock(t, checks, time.Since(began))
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
	// A rotation: the old authority has ended, the new one is not used yet, and what the member shows is between.
	authorities, old, next := filepath.Join(t.TempDir(), "ca.crt"), servers.NewCA(t, servers.NotAfter(time.Now().Add(-time.Hour))), servers.NewCA(t, servers.NotAfter(time.Now().AddDate(1, 0, 0)))
	writeJoined(t, authorities, old.CertFile(), ca.CertFile(), next.CertFile())
	cfg.Settings.Etcd.CAFile = authorities
	own, err := preflight.FirstToEnd(ca.CertFile())
	if err != nil {
		t.Fatal(err)
	}
	if of := found(preflight.Run(t.Context(), cfg), "certificate etcd CA"); len(of) != 1 || of[0].Status != preflight.OK || !strings.Contains(of[0].Detail, own.NotAfter.UTC().Format(time.RFC3339)) {
		t.Errorf("%+v, want the end of %s", of, own.NotAfter)
	}
	if c, err := preflight.Authority(authorities, nil); err != nil || c.NotAfter.Before(time.Now().AddDate(0, 11, 0)) {
		t.Errorf("without a member to ask: %v, %v", c, err)
	}
	writeJoined(t, authorities, old.CertFile())
	if of := found(preflight.Run(t.Context(), cfg), "certificate etcd CA"); len(of) != 1 || of[0].Status != preflight.Fail || !strings.Contains(of[0].Detail, "ended at") {
		t.Errorf("%+v", of)
	}
	if err := os.WriteFile(cfg.Settings.Etcd.CAFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if of := found(preflight.Run(t.Context(), cfg), "certificate etcd CA"); len(of) != 1 || of[0].Status != preflight.Fail {
		t.Errorf("%+v", of)
	}
}

func writeJoined(t *testing.T, path string, parts ...string) {
	t.Helper()
	var all []byte
	for _, part := range parts {
		text, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
}
