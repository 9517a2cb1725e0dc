package servers

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

func TestMinIO(t *testing.T) {
	s := StartMinIO(t)
	testS3(t, s.S3)

	s.CreateBucket(t, "encrypted", false)
	_, err := s.Client(t).PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("encrypted"), Key: aws.String("key"), Body: bytes.NewReader([]byte("x")),
		ServerSideEncryption: types.ServerSideEncryptionAwsKms,
	})
	if err != nil {
		t.Errorf("put an object with SSE-KMS: %v", err)
	}
}

func TestVersityGW(t *testing.T) {
	testS3(t, StartVersityGW(t).S3)
}

func TestTwoS3ServersOfOneAuthority(t *testing.T) {
	ca := NewCA(t)
	a, b := StartVersityGW(t, WithCA(ca)), StartVersityGW(t, WithCA(ca))
	if a.CAFile != ca.CertFile() || b.CAFile != ca.CertFile() {
		t.Errorf("authorities are %s and %s, want %s", a.CAFile, b.CAFile, ca.CertFile())
	}
	if a.Endpoint == b.Endpoint || a.SecretKey == b.SecretKey {
		t.Error("two servers share an address or a secret")
	}
}

// TestSmallDrive: a server whose drive is full says so, and can be freed.
func TestSmallDrive(t *testing.T) {
	s := StartMinIO(t, WithDrive(32<<20))
	s.CreateBucket(t, "plain", false)
	client, large := s.Client(t), bytes.Repeat([]byte("x"), 40<<20)
	put := func(body []byte) error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("plain"), Key: aws.String("key"), Body: bytes.NewReader(body)})
		return err
	}
	var api smithy.APIError
	err := put(large)
	for tries := 1; err != nil && !errors.As(err, &api) && tries < 10; tries++ {
		err = put(large) // it answers before it has read all, and closes: the answer may be lost to who still writes
	}
	if !errors.As(err, &api) {
		t.Errorf("put more than there is room for: %v", err)
	}
	if err := put(large[:1<<20]); err != nil {
		t.Errorf("put what there is room for: %v", err)
	}
}

// TestRekey: the keys before are refused, those after do, and the data stays.
func TestRekey(t *testing.T) {
	s := StartMinIO(t)
	s.CreateBucket(t, "plain", false)
	before := s.Client(t)
	if err := putOnce(t, before, "plain", "first"); err != nil {
		t.Fatal(err)
	}
	s.Rekey()
	var api smithy.APIError
	if _, err := before.ListBuckets(t.Context(), &s3.ListBucketsInput{}); !errors.As(err, &api) || api.ErrorCode() != "InvalidAccessKeyId" {
		t.Errorf("the keys before: %v", err)
	}
	if got := read(t, s.Client(t), "plain"); got != "first" {
		t.Errorf("the object is %q", got)
	}
	s.WriteCredentials(t)
	testCredentialsFile(t, s.S3)
}

// testS3 checks what tests of drd count on: buckets, writing once, Object Lock, data that survives a restart.
func testS3(t *testing.T, s *S3) {
	client := s.Client(t)
	s.CreateBucket(t, "plain", false)
	s.CreateBucket(t, "locked", true)

	for _, bucket := range []string{"plain", "locked"} {
		if err := putOnce(t, client, bucket, "first"); err != nil {
			t.Fatalf("put into %s: %v", bucket, err)
		}
		var api smithy.APIError
		if err := putOnce(t, client, bucket, "second"); !errors.As(err, &api) || api.ErrorCode() != "PreconditionFailed" {
			t.Errorf("put again into %s: %v, want PreconditionFailed", bucket, err)
		}
	}
	lock, err := client.GetObjectLockConfiguration(t.Context(), &s3.GetObjectLockConfigurationInput{Bucket: aws.String("locked")})
	if err != nil || lock.ObjectLockConfiguration.ObjectLockEnabled != types.ObjectLockEnabledEnabled {
		t.Errorf("object lock of the bucket: %v, %v", lock, err)
	}

	s.Stop()
	s.Start()
	if got := read(t, s.Client(t), "plain"); got != "first" {
		t.Errorf("after a restart the object is %q", got)
	}
	testCredentialsFile(t, s)
}

func testCredentialsFile(t *testing.T, s *S3) {
	t.Helper()
	info, err := os.Stat(s.CredentialsFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("credentials file: %v, %v, want mode 0600", info, err)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "") // these would win over the file
	}
	cfg, err := config.LoadDefaultConfig(t.Context(),
		config.WithSharedCredentialsFiles([]string{s.CredentialsFile}), config.WithSharedConfigFiles(nil))
	if err != nil {
		t.Fatal(err)
	}
	creds, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil || creds.AccessKeyID != s.AccessKey || creds.SecretAccessKey != s.SecretKey {
		t.Errorf("the credentials file does not give the server's keys: %v", err)
	}
}

func putOnce(t *testing.T, client *s3.Client, bucket, body string) error {
	t.Helper()
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String("a/b"), Body: bytes.NewReader([]byte(body)), IfNoneMatch: aws.String("*"),
	})
	return err
}

func read(t *testing.T, client *s3.Client, bucket string) string {
	t.Helper()
	resp, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("a/b")})
	if err != nil {
		t.Fatalf("get from %s: %v", bucket, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("get from %s: %v", bucket, err)
	}
	return string(body)
}
