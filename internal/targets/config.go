package targets

import (
	"context"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

// Open opens the bucket of a configured target. It asks nothing of the network, so a target that is
// down can be opened. A directory must exist: a share that is not mounted must not become a
// directory of the root file system.
func Open(ctx context.Context, t config.Target) (storage.Bucket, error) {
	if t.S3 == nil {
		return bucket(dir.Open(t.Dir, dir.Options{}))
	}
	c := t.S3
	mode := s3.ChecksumWhenSupported
	if c.Checksum == config.ChecksumRequired {
		mode = s3.ChecksumRequired
	}
	return bucket(s3.Open(ctx, s3.Config{
		Bucket: c.Bucket, Prefix: c.Prefix, Region: c.Region, Endpoint: c.Endpoint, CAFile: c.CAFile, PathStyle: c.PathStyle,
		CredentialsFile: c.CredentialsFile, Profile: c.Profile,
		SSE: c.SSE, KMSKeyID: c.KMSKeyID, StorageClass: c.StorageClass,
		ObjectLock:   s3.ObjectLock{Mode: c.ObjectLock.Mode, Days: c.ObjectLock.Days},
		ChecksumMode: mode, PartSize: c.PartSize, AllowPlainHTTP: c.AllowPlainHTTP,
	}))
}
