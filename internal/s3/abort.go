package s3

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/internal/storage"
)

// Abort implements storage.Incompleter: it frees the parts of a multipart upload. Parts that a writer sends at this
// moment may outlive it; then Incomplete returns the upload again.
func (b *Bucket) Abort(ctx context.Context, u storage.Upload) error {
	if err := begin(ctx, u.Key); err != nil {
		return fmt.Errorf("abort upload of %s: %w", b.url(u.Key), err)
	}
	if u.ID == "" { // a request without the ID would delete the object
		return fmt.Errorf("abort upload of %s: %w: it has no upload ID", b.url(u.Key), storage.ErrInvalidKey)
	}
	if err := b.readOnly("abort upload of", u.Key); err != nil {
		return err
	}
	_, err := b.try(ctx, func(ctx context.Context) error {
		_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
			Bucket: &b.cfg.Bucket, Key: aws.String(b.path(u.Key)), UploadId: &u.ID,
		})
		return err
	})
	if codeOf(err) == "NoSuchUpload" {
		return fmt.Errorf("abort upload of %s: %w %s", b.url(u.Key), storage.ErrNotExist, inParentheses(err))
	}
	return b.explain(ctx, opAbort, u.Key, err)
}
