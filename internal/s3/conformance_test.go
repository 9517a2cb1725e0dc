package s3_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/storagetest"
	"github.com/drd-project/drd/test/servers"
)

// config is for a bucket on a test server, with parts of the size that the suite expects.
func config(s *servers.S3, bucket string) s3.Config {
	return s3.Config{
		Bucket: bucket, Prefix: "some/prefix", Region: s.Region, Endpoint: s.Endpoint, CAFile: s.CAFile, PathStyle: true,
		CredentialsFile: s.CredentialsFile, PartSize: storagetest.PartSize, ChecksumMode: s3.ChecksumRequired,
	}
}

func open(t *testing.T, cfg s3.Config) *s3.Bucket {
	t.Helper()
	b, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformanceMinIO(t *testing.T)     { conformance(t, servers.StartMinIO(t).S3) }
func TestConformanceVersityGW(t *testing.T) { conformance(t, servers.StartVersityGW(t).S3) }

// conformance gives each test a bucket of its own.
func conformance(t *testing.T, s *servers.S3) {
	var n atomic.Int32
	storagetest.Conformance(t, func(t *testing.T) storage.Bucket {
		name := fmt.Sprintf("conformance-%d", n.Add(1))
		s.CreateBucket(t, name, strings.Contains(t.Name(), "once"))
		return open(t, config(s, name))
	})
}
