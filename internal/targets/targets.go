// Package targets opens the bucket that a URL names, whatever its kind.
package targets

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

// openers has one line for each kind of bucket.
func openers() map[string]func(ctx context.Context, url string) (storage.Bucket, error) {
	return map[string]func(context.Context, string) (storage.Bucket, error){
		"file": openDir,
		"s3":   openS3,
	}
}

// OpenURL opens "file:///abs/path" (which must exist) or
// "s3://bucket/prefix?endpoint=…&region=…" (see s3.ParseURL). It asks nothing of the network.
func OpenURL(ctx context.Context, url string) (storage.Bucket, error) {
	scheme, _, found := strings.Cut(url, "://")
	open, known := openers()[scheme]
	if !found || !known {
		return nil, errNoTarget()
	}
	return open(ctx, url)
}

// CheckURL finds what is wrong with the text of a URL, whether or not something is there.
func CheckURL(url string) error {
	scheme, _, _ := strings.Cut(url, "://")
	switch scheme {
	case "file":
		_, err := dir.ParseURL(url)
		return err
	case "s3":
		_, err := s3.ParseURL(url)
		return err
	}
	return errNoTarget()
}

func errNoTarget() error {
	return hint.New(fmt.Errorf("open target: not the URL of a bucket or a directory"), "write s3://bucket/prefix?region=… or file:///absolute/path")
}

// OpenURLAsOf opens the bucket of an s3:// URL read-only, as it was at that time, like the option as_of in the URL.
func OpenURLAsOf(ctx context.Context, url string, at time.Time) (storage.Bucket, error) {
	if !strings.HasPrefix(url, "s3://") {
		return nil, hint.New(fmt.Errorf("open target: only a bucket keeps versions"), "leave out the time, or give an s3:// URL")
	}
	cfg, err := s3.ParseURL(url)
	if err != nil {
		return nil, err
	}
	cfg.AsOf = at
	return bucket(s3.Open(ctx, cfg))
}

func openDir(_ context.Context, url string) (storage.Bucket, error) {
	path, err := dir.ParseURL(url)
	if err != nil {
		return nil, err
	}
	return bucket(dir.Open(path, dir.Options{}))
}

func openS3(ctx context.Context, url string) (storage.Bucket, error) {
	cfg, err := s3.ParseURL(url)
	if err != nil {
		return nil, err
	}
	return bucket(s3.Open(ctx, cfg))
}

// bucket keeps the nil of a failed open from becoming a Bucket that is not nil.
func bucket[B storage.Bucket](b B, err error) (storage.Bucket, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}
