package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/drd-project/drd/internal/storage"
)

var (
	opGet    = operation{"get", "s3:GetObject"}
	opStat   = operation{"stat", "s3:GetObject"}
	opDelete = operation{"delete", "s3:DeleteObject"}
)

// Open implements storage.Bucket. The request is retried; the body, once it flows, is not (see storage.Fetch).
func (b *Bucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, key); err != nil {
		return nil, fmt.Errorf("get %s: %w", b.url(key), err)
	}
	if offset < 0 {
		return nil, fmt.Errorf("get %s: negative offset %d", b.url(key), offset)
	}
	if length == 0 { // S3 has no empty range, but a missing object is an error all the same
		_, err := b.Stat(ctx, key)
		return empty(), err
	}
	id, err := b.versionOf(ctx, opGet, key)
	if err != nil {
		return nil, err
	}
	in := &s3.GetObjectInput{Bucket: &b.cfg.Bucket, Key: aws.String(b.path(key)), VersionId: id, Range: byteRange(offset, length)}
	if in.Range == nil {
		in.ChecksumMode = types.ChecksumModeEnabled // the SDK compares it at the end, where the store has one of the whole
	}
	var out *s3.GetObjectOutput
	_, err = b.try(ctx, func(ctx context.Context) (err error) {
		out, err = b.client.GetObject(ctx, in)
		return err
	})
	if statusOf(err) == http.StatusRequestedRangeNotSatisfiable {
		return empty(), nil
	}
	if err != nil {
		return nil, b.explain(ctx, opGet, key, err)
	}
	if err := checkRange(out, offset, length); err != nil {
		out.Body.Close()
		return nil, fmt.Errorf("get %s: %w", b.url(key), err)
	}
	return &body{ReadCloser: out.Body, bucket: b, ctx: ctx, key: key, left: *out.ContentLength}, nil
}

func empty() io.ReadCloser { return io.NopCloser(bytes.NewReader(nil)) }

// byteRange returns nil for the whole object.
func byteRange(offset, length int64) *string {
	switch {
	case length > 0:
		return aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	return nil
}

// checkRange refuses an answer without a length, by which a cut body is known, and one that is another range.
func checkRange(out *s3.GetObjectOutput, offset, length int64) error {
	switch {
	case out.ContentLength == nil || *out.ContentLength < 0:
		return fmt.Errorf("the store does not say how long its answer is")
	case length > 0 && *out.ContentLength > length:
		return fmt.Errorf("the store sends %d bytes, %d were asked for", *out.ContentLength, length)
	case offset > 0 && !strings.HasPrefix(aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-", offset)):
		return fmt.Errorf("the store sends range %q, from byte %d on was asked for", oneLine(aws.ToString(out.ContentRange)), offset)
	}
	return nil
}

// body is an object's content on its way. It knows how much is to come.
type body struct {
	io.ReadCloser
	bucket *Bucket
	ctx    context.Context
	key    string
	left   int64
}

func (r *body) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF && r.left == 0: //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		return n, io.EOF
	case r.ctx.Err() != nil:
		err = context.Cause(r.ctx)
	case r.left == 0:
		return n, fmt.Errorf("get %s: damaged on the way or in the store: %w", r.bucket.url(r.key), innermost(err))
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("get %s: %d bytes missing: %w", r.bucket.url(r.key), r.left, err)
}

// Stat implements storage.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := begin(ctx, key); err != nil {
		return storage.Object{}, fmt.Errorf("stat %s: %w", b.url(key), err)
	}
	head, err := b.head(ctx, key)
	if err != nil {
		return storage.Object{}, err
	}
	return storage.Object{
		Key: key, Size: aws.ToInt64(head.ContentLength), Modified: aws.ToTime(head.LastModified).UTC(), SHA256: wholeHash(head),
	}, nil
}

// head returns what the store says of an object, with its checksum. The error is ready for people.
func (b *Bucket) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	return b.headAs(ctx, opStat, key)
}

func (b *Bucket) headAs(ctx context.Context, op operation, key string) (*s3.HeadObjectOutput, error) {
	id, err := b.versionOf(ctx, op, key)
	if err != nil {
		return nil, err
	}
	in := &s3.HeadObjectInput{Bucket: &b.cfg.Bucket, Key: aws.String(b.path(key)), VersionId: id, ChecksumMode: types.ChecksumModeEnabled}
	var out *s3.HeadObjectOutput
	_, err = b.try(ctx, func(ctx context.Context) (err error) {
		out, err = b.client.HeadObject(ctx, in)
		return err
	})
	return out, b.explain(ctx, op, key, err)
}

// wholeHash returns the hex SHA-256 of the content, "" where the store has none or one of parts.
func wholeHash(head *s3.HeadObjectOutput) string {
	if head.ChecksumType == types.ChecksumTypeComposite {
		return ""
	}
	sum, err := base64.StdEncoding.DecodeString(aws.ToString(head.ChecksumSHA256)) // fails on a composite "…-N"
	if err != nil {
		return ""
	}
	return hex.EncodeToString(sum)
}

// Delete implements storage.Bucket. In a versioned bucket it hides the object under a delete marker and the
// versions remain; a key that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return fmt.Errorf("delete %s: %w", b.url(key), err)
	}
	if err := b.readOnly("delete", key); err != nil {
		return err
	}
	_, err := b.try(ctx, func(ctx context.Context) error {
		_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.cfg.Bucket, Key: aws.String(b.path(key))})
		return err
	})
	return b.explain(ctx, opDelete, key, err)
}
