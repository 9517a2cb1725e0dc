package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/internal/storage"
)

var (
	opList       = operation{"list", "s3:ListBucket"}
	opIncomplete = operation{"list unfinished uploads of", "s3:ListBucketMultipartUploads"}
)

// List implements storage.Bucket. Keys that are not valid in this package's sense (such as the "folders"
// that web consoles make) are passed over.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := b.list(ctx, prefix, yield); err != nil {
			yield(storage.Object{}, err)
		}
	}
}

// list yields page after page. It returns nil when yield asked for the end.
func (b *Bucket) list(ctx context.Context, prefix string, yield func(storage.Object, error) bool) error {
	if err := storage.CheckPrefix(prefix); err != nil {
		return fmt.Errorf("list %s: %w", b.url(prefix), err)
	}
	in := &s3.ListObjectsV2Input{Bucket: &b.cfg.Bucket, Prefix: aws.String(b.listPrefix(prefix))}
	last := ""
	for {
		page, err := b.page(ctx, in)
		if err != nil {
			return b.explain(ctx, opList, prefix, err)
		}
		for _, o := range page.Contents {
			key := b.key(aws.ToString(o.Key))
			if storage.CheckKey(key) != nil {
				continue
			}
			if key <= last {
				return fmt.Errorf("list %s: the store lists %s after %s, which is not in byte order", b.url(prefix), key, last)
			}
			last = key
			if !yield(storage.Object{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified).UTC()}, nil) {
				return nil
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if aws.ToString(page.NextContinuationToken) == "" {
			return fmt.Errorf("list %s: the store says there is more, but not how to go on", b.url(prefix))
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

func (b *Bucket) page(ctx context.Context, in *s3.ListObjectsV2Input) (page *s3.ListObjectsV2Output, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, err = b.try(ctx, func(ctx context.Context) (err error) {
		page, err = b.client.ListObjectsV2(ctx, in)
		return err
	})
	return page, err
}

// listPrefix is the prefix as the store sees it: unlike path it keeps the slash before an empty one.
func (b *Bucket) listPrefix(prefix string) string {
	if b.cfg.Prefix == "" {
		return prefix
	}
	return b.cfg.Prefix + "/" + prefix
}

// key is the reverse of path.
func (b *Bucket) key(path string) string { return strings.TrimPrefix(path, b.listPrefix("")) }

// Incomplete implements storage.Incompleter: multipart uploads that run or were abandoned. MinIO lists them only where
// prefix is a whole key.
func (b *Bucket) Incomplete(ctx context.Context, prefix string) ([]storage.Upload, error) {
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("list unfinished uploads of %s: %w", b.url(prefix), err)
	}
	in := &s3.ListMultipartUploadsInput{Bucket: &b.cfg.Bucket, Prefix: aws.String(b.listPrefix(prefix))}
	var found []storage.Upload
	for {
		var page *s3.ListMultipartUploadsOutput
		_, err := b.try(ctx, func(ctx context.Context) (err error) {
			page, err = b.client.ListMultipartUploads(ctx, in)
			return err
		})
		if err != nil {
			return nil, b.explain(ctx, opIncomplete, prefix, err)
		}
		for _, u := range page.Uploads {
			found = append(found, storage.Upload{Key: b.key(aws.ToString(u.Key)), ID: aws.ToString(u.UploadId), Started: aws.ToTime(u.Initiated).UTC()})
		}
		if !aws.ToBool(page.IsTruncated) {
			return found, nil
		}
		if aws.ToString(page.NextKeyMarker) == "" {
			return nil, fmt.Errorf("list unfinished uploads of %s: the store says there is more, but not how to go on", b.url(prefix))
		}
		in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
}
