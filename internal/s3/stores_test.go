package s3_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/servers"
)

// TestObjectLock: whole objects and those in parts get the retention asked for, their versions cannot be removed, and
// Delete hides them as it does in any versioned bucket.
func TestObjectLock(t *testing.T) {
	for store, server := range map[string]*servers.S3{"MinIO": servers.StartMinIO(t).S3, "versitygw": servers.StartVersityGW(t).S3} {
		server.CreateBucket(t, "locked", true)
		for _, mode := range []string{"governance", "compliance"} {
			cfg := config(server, "locked")
			cfg.Prefix, cfg.ObjectLock = mode, s3.ObjectLock{Mode: mode, Days: 3}
			b := open(t, cfg)
			for kind, k := range kinds {
				t.Run(store+"/"+mode+"/"+kind, func(t *testing.T) {
					if err := put(t, b, kind, random(k.size)); err != nil {
						t.Fatal(err)
					}
					checkRetention(t, server.Client(t), mode, kind)
					if err := b.Delete(t.Context(), kind); err != nil {
						t.Errorf("Delete in a versioned bucket: %v", err)
					}
					if _, err := b.Stat(t.Context(), kind); !errors.Is(err, storage.ErrNotExist) {
						t.Errorf("Stat after Delete: %v", err)
					}
				})
			}
		}
	}
}

func checkRetention(t *testing.T, client *awss3.Client, mode, kind string) {
	t.Helper()
	bucket, key := aws.String("locked"), aws.String(mode+"/"+kind)
	head, err := client.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	until := time.Until(aws.ToTime(head.ObjectLockRetainUntilDate))
	if !strings.EqualFold(string(head.ObjectLockMode), mode) || until < 71*time.Hour || until > 73*time.Hour {
		t.Errorf("retention is %s for %v, want %s for 72h", head.ObjectLockMode, until, mode)
	}
	if _, err = client.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: head.VersionId}); err == nil {
		t.Error("the locked version could be removed")
	}
}

// TestNoRetentionInPlainBucket: a bucket without Object Lock refuses the retention, and nothing is stored without it.
func TestNoRetentionInPlainBucket(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "plain", false)
	cfg := config(server.S3, "plain")
	cfg.ObjectLock = s3.ObjectLock{Mode: "governance", Days: 1}
	b := open(t, cfg)
	for kind, k := range kinds {
		if err := put(t, b, kind, random(k.size)); err == nil || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v, hints %q", kind, err, hint.Of(err))
		}
		if _, err := b.Stat(t.Context(), kind); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestEncryptionAndClass(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "encrypted", false)
	for _, test := range []struct{ sse, key string }{{"AES256", ""}, {"aws:kms", ""}, {"aws:kms", "drd-test"}} {
		cfg := config(server.S3, "encrypted")
		cfg.Prefix = strings.ReplaceAll("sse-"+test.sse+test.key, ":", "-")
		cfg.SSE, cfg.KMSKeyID, cfg.StorageClass = test.sse, test.key, "REDUCED_REDUNDANCY"
		b := open(t, cfg)
		for kind, k := range kinds {
			data := random(k.size)
			if err := put(t, b, kind, data); err != nil {
				t.Errorf("%s, %s: %v", test.sse, kind, err)
				continue
			}
			if !bytes.Equal(get(t, b, kind), data) {
				t.Errorf("%s, %s: the content differs", test.sse, kind)
			}
			head, err := server.Client(t).HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: aws.String("encrypted"), Key: aws.String(cfg.Prefix + "/" + kind)})
			if err != nil {
				t.Fatal(err)
			}
			if string(head.ServerSideEncryption) != test.sse || !strings.HasSuffix(aws.ToString(head.SSEKMSKeyId), test.key) || head.StorageClass != types.StorageClassReducedRedundancy {
				t.Errorf("%s, %s: encryption %s, key %s, class %s", test.sse, kind, head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId), head.StorageClass)
			}
		}
	}
}

// TestRealRefusals are errors as real stores make them.
func TestRealRefusals(t *testing.T) {
	for store, server := range map[string]*servers.S3{"MinIO": servers.StartMinIO(t).S3, "versitygw": servers.StartVersityGW(t).S3} {
		server.CreateBucket(t, "there", false)
		missing := open(t, config(server, "missing"))
		if err := doPut(t, missing); err == nil || !strings.Contains(err.Error(), "the bucket does not exist") || errors.Is(err, storage.ErrNotExist) {
			t.Errorf("%s: put into a missing bucket: %v", store, err)
		}
		if err := doList(t, missing); err == nil || !strings.Contains(err.Error(), "the bucket does not exist") {
			t.Errorf("%s: list of a missing bucket: %v", store, err)
		}
		cfg := config(server, "there")
		cfg.CredentialsFile = credentials(t, server.AccessKey, secretKey)
		wrong := open(t, cfg)
		for op, err := range map[string]error{"put": doPut(t, wrong), "get": doGet(t, wrong), "stat": doStat(t, wrong), "list": doList(t, wrong), "delete": doDelete(t, wrong)} {
			if !errors.Is(err, storage.ErrDenied) || len(hint.Of(err)) == 0 || strings.Contains(err.Error(), secretKey) {
				t.Errorf("%s: %s with a wrong secret: %v", store, op, err)
			}
		}
	}
}

// TestStoreComesBack: a Create that begins while the store is down succeeds when it is back in time.
func TestStoreComesBack(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "flapping", false)
	cfg := config(server.S3, "flapping")
	cfg.Attempts = 20
	b := open(t, cfg)
	started := make(chan struct{})
	source := io.MultiReader(bytes.NewReader(random(storagetest.PartSize)), readerFunc(func([]byte) (int, error) {
		server.Kill()
		close(started)
		return 0, io.EOF
	}), bytes.NewReader(random(storagetest.PartSize+1)))
	done := make(chan error)
	go func() {
		_, err := b.Create(t.Context(), "key", source)
		done <- err
	}()
	<-started
	server.Start()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := get(t, b, "key"); len(got) != 2*storagetest.PartSize+1 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestFoldersAreNotListed: web consoles make objects whose key ends with a slash.
func TestFoldersAreNotListed(t *testing.T) {
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "console", false)
	cfg := config(server.S3, "console")
	cfg.Prefix = ""
	b := open(t, cfg)
	if err := put(t, b, "folder/key", nil); err != nil {
		t.Fatal(err)
	}
	_, err := server.Client(t).PutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String("console"), Key: aws.String("folder2/")})
	if err != nil {
		t.Fatal(err)
	}
	for obj, err := range b.List(t.Context(), "") {
		if err != nil || obj.Key != "folder/key" {
			t.Errorf("listed: %+v, %v", obj, err)
		}
	}
}

// TestUploadLimit: the limit holds on the wire, and waiting for it is no stall, though each part takes twice the stall time.
func TestUploadLimit(t *testing.T) {
	t.Parallel()
	server := servers.StartMinIO(t)
	server.CreateBucket(t, "limited", false)
	cfg := config(server.S3, "limited")
	cfg.StallTimeout, cfg.Attempts = standstill, 1
	const limit = 1 << 20
	data := random(2 * storagetest.PartSize)
	least := time.Duration(len(data)-limit/4) * time.Second / limit // a quarter of a second's bytes may pass at once
	b := storage.WithStallTimeout(storage.WithRate(open(t, cfg), limit, 0), standstill)
	start := time.Now()
	if err := put(t, b, "key", data); err != nil || time.Since(start) < least || time.Since(start) > 3*least {
		t.Errorf("after %v, want %v: %v", time.Since(start), least, err)
	}
	if !bytes.Equal(get(t, b, "key"), data) {
		t.Error("the content differs")
	}
}
