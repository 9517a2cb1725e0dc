package prune

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/test/servers"
)

// TestMinIO prunes buckets of a real server: a plain one, one with credentials that cannot delete, and one with Object Lock.
func TestMinIO(t *testing.T) {
	server := servers.StartMinIO(t, servers.WithCA(servers.NewCA(t)))
	t.Run("plain", func(t *testing.T) { pruneBucket(t, server) })
	t.Run("credentials that cannot delete", func(t *testing.T) { pruneDenied(t, server, server.Session(t, mayNotDelete)) })
	t.Run("object lock", func(t *testing.T) { pruneLocked(t, server) })
}

func inBucket(t *testing.T, server *servers.S3, bucket, credentials string) *s3.Bucket {
	t.Helper()
	b, err := s3.Open(t.Context(), s3.Config{
		Bucket: bucket, Prefix: "etcd", Region: server.Region, Endpoint: server.Endpoint, CAFile: server.CAFile, PathStyle: true,
		CredentialsFile: credentials, PartSize: 5 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pruneBucket(t *testing.T, server *servers.MinIO) {
	server.CreateBucket(t, "plain", false)
	p := in(t, inBucket(t, server.S3, "plain", server.CredentialsFile))
	ids := p.every(6*time.Hour, 5)
	if results := p.plan(last(2)).Run(t.Context()); results.Err() != nil || results.String() != "3 deleted" {
		t.Errorf("%s, %v", results, results.Err())
	}
	if got := p.restorable(); !sameIDs(got, ids[3:]) || len(p.keys()) != 6 {
		t.Errorf("left are %v, %d objects", got, len(p.keys()))
	}
}

// mayNotDelete is a session policy. An explicit deny wins over whatever its owner may do.
const mayNotDelete = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]},
	{"Effect":"Deny","Action":["s3:DeleteObject","s3:DeleteObjectVersion"],"Resource":["arn:aws:s3:::*"]}]}`

func pruneDenied(t *testing.T, server *servers.MinIO, credentials string) {
	server.CreateBucket(t, "denied", false)
	p := in(t, inBucket(t, server.S3, "denied", credentials))
	ids := p.every(6*time.Hour, 4) // storing needs no permission to delete
	before := p.keys()
	results := p.plan(last(1)).Run(t.Context())
	if diff := cmp.Diff([]string{"failed", "not-tried", "not-tried"}, outcomes(results)); diff != "" {
		t.Error(diff)
	}
	err := results.Err()
	if err == nil || !strings.Contains(err.Error(), "3 of 3 could not be deleted: delete s3://denied/etcd/"+p.repo.ManifestKey(ids[0])+": access denied") {
		t.Errorf("error %v", err)
	}
	if hints := strings.Join(hint.Of(err), "\n"); !strings.Contains(hints, "s3:DeleteObject") || !strings.Contains(hints, "elsewhere") {
		t.Errorf("hints %q", hints)
	}
	if diff := cmp.Diff(before, p.keys()); diff != "" {
		t.Error(diff)
	}

	// Elsewhere, with other credentials, it works.
	p.repo = p.over(inBucket(t, server.S3, "denied", server.CredentialsFile))
	if err := p.plan(last(1)).Run(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	if got := p.restorable(); !sameIDs(got, ids[3:]) {
		t.Errorf("left are %v", got)
	}
}

// pruneLocked: a bucket with Object Lock is versioned, so a deletion there hides an object, and its locked version stays.
func pruneLocked(t *testing.T, server *servers.MinIO) {
	server.CreateBucket(t, "locked", true)
	client := server.Client(t)
	_, err := client.PutObjectLockConfiguration(t.Context(), &awss3.PutObjectLockConfigurationInput{
		Bucket: aws.String("locked"),
		ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(1)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := in(t, inBucket(t, server.S3, "locked", server.CredentialsFile))
	ids := p.every(6*time.Hour, 3)
	if results := p.plan(last(1)).Run(t.Context()); results.Err() != nil || results.String() != "2 deleted" {
		t.Errorf("%s, %v", results, results.Err())
	}
	if got := p.restorable(); !sameIDs(got, ids[2:]) || len(p.keys()) != 3 {
		t.Errorf("left are %v, %d objects", got, len(p.keys()))
	}
	out, err := client.ListObjectVersions(t.Context(), &awss3.ListObjectVersionsInput{Bucket: aws.String("locked")})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Versions) != 9 || len(out.DeleteMarkers) != 6 {
		t.Errorf("%d versions and %d delete markers, want 9 and 6", len(out.Versions), len(out.DeleteMarkers))
	}
	if again := p.plan(last(1)).Deletions(); len(again) != 0 {
		t.Errorf("%d more", len(again))
	}
}

// TestAbandonedUpload: what a writer that died left of a multipart upload goes after a day.
func TestAbandonedUpload(t *testing.T) {
	server := servers.StartVersityGW(t) // MinIO lists uploads by whole keys only, and never these
	server.CreateBucket(t, "uploads", false)
	b := inBucket(t, server.S3, "uploads", server.CredentialsFile)
	p := in(t, b)
	abandoned := repo.ID{Time: p.now.Add(-48 * time.Hour), Revision: 9, Member: 0xb1}
	keys := []string{p.repo.PayloadKey(abandoned, "snapshot.db.zst.age"), p.repo.Prefix() + "somebody/film.mkv"}
	for _, key := range keys {
		_, err := server.Client(t).CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: aws.String("uploads"), Key: aws.String("etcd/" + key)})
		if err != nil {
			t.Fatal(err)
		}
	}
	p.now = p.now.Add(25 * time.Hour) // a day later
	ids := p.every(6*time.Hour, 2)
	results := p.plan(last(2)).Run(t.Context())
	if results.Err() != nil || results.String() != "1 deleted" || results[0].Item.Upload.Key != keys[0] {
		t.Errorf("%s, %v", results, results.Err())
	}
	left, err := b.Incomplete(t.Context(), "")
	if err != nil || len(left) != 1 || left[0].Key != keys[1] {
		t.Errorf("left are %v, %v", left, err)
	}
	if got := p.restorable(); !sameIDs(got, ids) {
		t.Errorf("left are %v", got)
	}
}
