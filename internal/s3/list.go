package s3

import (
	"context"
	"errors"
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
	return b.listFrom(ctx, prefix, "")
}

// ListAfter implements storage.AfterLister. A store that does not know how to begin there lists more, which is left out. The past
// is listed from its beginning.
func (b *Bucket) ListAfter(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return storage.Behind(b.listFrom(ctx, prefix, after), after)
}

func (b *Bucket) listFrom(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := b.list(ctx, prefix, after, yield); err != nil {
			yield(storage.Object{}, err)
		}
	}
}

// list yields page after page. It returns nil when yield asked for the end.
func (b *Bucket) list(ctx context.Context, prefix, after string, yield func(storage.Object, error) bool) error {
	if err := storage.CheckPrefix(prefix); err != nil {
		return fmt.Errorf("list %s: %w", b.url(prefix), err)
	}
	if b.past != nil {
		return b.listPast(ctx, prefix, yield)
	}
	in := &s3.ListObjectsV2Input{Bucket: &b.cfg.Bucket, Prefix: aws.String(b.listPrefix(prefix))}
	if after != "" {
		in.StartAfter = aws.String(b.listPrefix(after))
	}
	at := progress{within: *in.Prefix}
	for {
		page, err := b.page(ctx, in)
		if err != nil {
			return b.explain(ctx, opList, prefix, err)
		}
		for _, o := range page.Contents {
			if err := at.next(aws.ToString(o.Key), o.Size); err != nil {
				return fmt.Errorf("list %s: %w", b.url(prefix), err)
			}
			key := b.key(*o.Key)
			if storage.CheckKey(key) != nil {
				continue
			}
			if !yield(storage.Object{Key: key, Size: *o.Size, Modified: aws.ToTime(o.LastModified).UTC()}, nil) {
				return nil
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if err := at.more(aws.ToString(page.NextContinuationToken)); err != nil {
			return fmt.Errorf("list %s: %w", b.url(prefix), err)
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

// maxEmptyPages is how many pages in a row may list nothing: stores make some when much was just deleted.
const maxEmptyPages = 100

// progress checks that a listing is one: within the prefix, in ascending order, and with an end. A listing
// that is wrong would have the newest backup missing, or never return.
type progress struct {
	within string // what every key begins with
	last   string // key as the store sees it
	token  string // how the last page said to go on
	listed bool   // something on this page
	empty  int    // pages in a row
}

// next takes the next key and size of the listing.
func (p *progress) next(key string, size *int64) error {
	switch {
	case !strings.HasPrefix(key, p.within):
		return fmt.Errorf("the store lists %q, which does not begin with %q", oneLine(key), p.within)
	case p.last != "" && key <= p.last:
		return fmt.Errorf("the store lists %q after %q, which is not in byte order", oneLine(key), oneLine(p.last))
	case size == nil || *size < 0:
		return fmt.Errorf("the store lists %q without a size", oneLine(key))
	}
	p.last, p.listed = key, true
	return nil
}

// more is the end of a page that is not the last one.
func (p *progress) more(token string) error {
	p.empty++
	if p.listed {
		p.empty = 0
	}
	switch {
	case token == "":
		return errors.New("the store says there is more, but not how to go on")
	case token == p.token:
		return errors.New("the store goes in circles: the same continuation token again")
	case p.empty == maxEmptyPages:
		return fmt.Errorf("the store lists nothing on %d pages in a row, and no end", maxEmptyPages)
	}
	p.token, p.listed = token, false
	return nil
}

// errNoListing is a good status with another document, or none: a page of some proxy's. Read as a listing, it would say
// that the bucket is empty.
var errNoListing = errors.New("the store's answer is not a listing")

// listing is an error unless an answer has one of the two elements that every listing has.
func listing(bucket *string, truncated *bool) error {
	if bucket == nil && truncated == nil {
		return errNoListing
	}
	return nil
}

func (b *Bucket) page(ctx context.Context, in *s3.ListObjectsV2Input) (page *s3.ListObjectsV2Output, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, err = b.try(ctx, func(ctx context.Context) (err error) {
		if page, err = b.client.ListObjectsV2(ctx, in); err != nil {
			return err
		}
		return listing(page.Name, page.IsTruncated)
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
	if b.past != nil {
		return nil, nil // what is under way now was not there then
	}
	in := &s3.ListMultipartUploadsInput{Bucket: &b.cfg.Bucket, Prefix: aws.String(b.listPrefix(prefix))}
	var found []storage.Upload
	var at progress
	for {
		var page *s3.ListMultipartUploadsOutput
		_, err := b.try(ctx, func(ctx context.Context) (err error) {
			if page, err = b.client.ListMultipartUploads(ctx, in); err != nil {
				return err
			}
			return listing(page.Bucket, page.IsTruncated)
		})
		if err != nil {
			return nil, b.explain(ctx, opIncomplete, prefix, err)
		}
		for _, u := range page.Uploads {
			if !strings.HasPrefix(aws.ToString(u.Key), *in.Prefix) {
				return nil, fmt.Errorf("list unfinished uploads of %s: the store lists %q, which does not begin with %q", b.url(prefix), oneLine(aws.ToString(u.Key)), *in.Prefix)
			}
			found = append(found, storage.Upload{Key: b.key(aws.ToString(u.Key)), ID: aws.ToString(u.UploadId), Started: aws.ToTime(u.Initiated).UTC()})
		}
		if !aws.ToBool(page.IsTruncated) {
			return found, nil
		}
		token := aws.ToString(page.NextKeyMarker)
		if token != "" {
			token += "\n" + aws.ToString(page.NextUploadIdMarker)
		}
		at.listed = len(page.Uploads) > 0
		if err := at.more(token); err != nil {
			return nil, fmt.Errorf("list unfinished uploads of %s: %w", b.url(prefix), err)
		}
		in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
}
