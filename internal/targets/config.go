package targets

import (
	"context"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

// Open opens the bucket of a configured target, with its limits. It asks nothing of the network, so a target that is
// down can be opened. A directory must exist: a share that is not mounted must not become a
// directory of the root file system.
func Open(ctx context.Context, t config.Target) (storage.Bucket, error) {
	return open(ctx, t, time.Time{})
}

// OpenAsOf opens a configured target read-only, as it was at that time. It must be a bucket that keeps versions: a
// directory has no past.
func OpenAsOf(ctx context.Context, t config.Target, at time.Time) (storage.Bucket, error) {
	if t.S3 == nil {
		return nil, hint.New(fmt.Errorf("open target %s: the directory %s keeps no versions", t.Name, t.Dir), "leave out the time, or use a versioned bucket")
	}
	return open(ctx, t, at)
}

func open(ctx context.Context, t config.Target, asOf time.Time) (storage.Bucket, error) {
	b, err := openPlain(ctx, t, asOf)
	if err != nil {
		return nil, err
	}
	return storage.WithRate(b, t.UploadLimit, t.DownloadLimit), nil
}

func openPlain(ctx context.Context, t config.Target, asOf time.Time) (storage.Bucket, error) {
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
		ChecksumMode: mode, PartSize: c.PartSize, AllowPlainHTTP: c.AllowPlainHTTP, AsOf: asOf,
	}))
}
