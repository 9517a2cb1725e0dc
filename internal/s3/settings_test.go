package s3_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/test/servers"
)

// TestSettings: what real stores say of a bucket with Object Lock and of one without, and that a store which does not know
// the question counts as one without.
func TestSettings(t *testing.T) {
	for store, server := range map[string]*servers.S3{"MinIO": servers.StartMinIO(t).S3, "versitygw": servers.StartVersityGW(t).S3} {
		t.Run(store, func(t *testing.T) {
			server.CreateBucket(t, "plain", false)
			server.CreateBucket(t, "locked", true)
			plain, locked := open(t, config(server, "plain")), open(t, config(server, "locked"))
			if lock, err := plain.Lock(t.Context()); err != nil || lock != (s3.Lock{}) {
				t.Errorf("plain: %+v, %v", lock, err)
			}
			if versioned, err := plain.Versioned(t.Context()); err != nil || versioned {
				t.Errorf("plain: versioned %v, %v", versioned, err)
			}
			if lock, err := locked.Lock(t.Context()); err != nil || !lock.Enabled || lock.Default != (s3.ObjectLock{}) {
				t.Errorf("locked: %+v, %v", lock, err)
			}
			if versioned, err := locked.Versioned(t.Context()); err != nil || !versioned {
				t.Errorf("locked: versioned %v, %v", versioned, err)
			}
			setDefaultRetention(t, server, "locked")
			if lock, err := locked.Lock(t.Context()); err != nil || lock.Default != (s3.ObjectLock{Mode: "governance", Days: 12}) {
				t.Errorf("locked, with a default: %+v, %v", lock, err)
			}
			if rules, err := plain.Rules(t.Context()); err != nil || len(rules) != 0 {
				t.Errorf("plain: rules %+v, %v", rules, err)
			}
		})
	}
}

func setDefaultRetention(t *testing.T, server *servers.S3, bucket string) {
	t.Helper()
	_, err := server.Client(t).PutObjectLockConfiguration(t.Context(), &awss3.PutObjectLockConfigurationInput{
		Bucket: aws.String(bucket),
		ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeGovernance, Days: aws.Int32(12)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRules: only what is switched on, touches the prefix and takes objects away.
func TestRules(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "ruled", false)
	on, off := types.ExpirationStatusEnabled, types.ExpirationStatusDisabled
	prefix := func(p string) *types.LifecycleRuleFilter { return &types.LifecycleRuleFilter{Prefix: aws.String(p)} }
	days := func(n int32) *types.LifecycleExpiration { return &types.LifecycleExpiration{Days: aws.Int32(n)} }
	_, err := server.Client(t).PutBucketLifecycleConfiguration(t.Context(), &awss3.PutBucketLifecycleConfigurationInput{
		Bucket: aws.String("ruled"),
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{
			{ID: aws.String("whole"), Status: on, Filter: prefix("some/"), Expiration: days(30)},
			{ID: aws.String("part"), Status: on, Filter: prefix("some/prefix/prod/archive/"), Expiration: days(3)},
			{ID: aws.String("tagged"), Status: on, Filter: &types.LifecycleRuleFilter{Tag: &types.Tag{Key: aws.String("k"), Value: aws.String("v")}}, Expiration: days(5)},
			{ID: aws.String("versions"), Status: on, Filter: prefix(""), NoncurrentVersionExpiration: &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(7)}},
			{ID: aws.String("elsewhere"), Status: on, Filter: prefix("other/"), Expiration: days(1)},
			{ID: aws.String("off"), Status: off, Filter: prefix("some/"), Expiration: days(1)},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := open(t, config(server.S3, "ruled")).Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []s3.Rule{
		{ID: "whole", Days: 30, Whole: true}, {ID: "part", Days: 3}, {ID: "tagged", Days: 5}, {ID: "versions", NoncurrentDays: 7, Whole: true},
	}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestMayDelete: the answer is the policy's, and no object and no version is touched.
func TestMayDelete(t *testing.T) {
	server := servers.StartMinIO(t)
	for _, c := range []struct {
		bucket  string
		actions string
		want    s3.Deletes
	}{
		{"plain-none", `"s3:PutObject", "s3:GetObject", "s3:ListBucket"`, s3.Deletes{}},
		{"plain-all", `"s3:*"`, s3.Deletes{Objects: true, Versions: true}},
		{"locked-none", `"s3:PutObject", "s3:GetObject", "s3:ListBucket"`, s3.Deletes{}},
		{"locked-hide", `"s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject"`, s3.Deletes{Objects: true}},
		{"locked-all", `"s3:*"`, s3.Deletes{Objects: true, Versions: true}},
	} {
		t.Run(c.bucket, func(t *testing.T) {
			server.CreateBucket(t, c.bucket, c.bucket[:6] == "locked")
			cfg := config(server.S3, c.bucket)
			if err := put(t, open(t, cfg), "key", []byte("content")); err != nil {
				t.Fatal(err)
			}
			cfg.CredentialsFile = server.Session(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[`+c.actions+`],"Resource":["arn:aws:s3:::*"]}]}`)
			may, err := open(t, cfg).MayDelete(t.Context(), "prod/delete-check")
			if err != nil || may != c.want {
				t.Errorf("%+v, %v, want %+v", may, err, c.want)
			}
			out, err := server.Client(t).ListObjectVersions(t.Context(), &awss3.ListObjectVersionsInput{Bucket: aws.String(c.bucket)})
			if err != nil || len(out.Versions) != 1 {
				t.Errorf("%d versions are left, %v", len(out.Versions), err)
			}
			if markers := len(out.DeleteMarkers); markers > 0 && c.bucket != "locked-hide" {
				t.Errorf("%d delete markers are left", markers)
			}
		})
	}
	if _, err := open(t, config(server.S3, "missing")).MayDelete(t.Context(), "prod/delete-check"); !errors.Is(err, storage.ErrNoBucket) {
		t.Errorf("missing bucket: %v", err)
	}
}
