//go:build bench

package bench

import (
	"context"
	"io"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// partSize is that of the AWS command line tool.
const partSize = 8 << 20

// upload does what `aws s3 cp` does, without the start of an interpreter: multipart, ten parts at a time.
func (b *bench) upload(path, key string) {
	if err := b.tryUpload(path, key); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) tryUpload(path, key string) error {
	ctx, client := context.Background(), b.store.Client(b.t)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	begun, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		return err
	}
	parts := make([]types.CompletedPart, (st.Size()+partSize-1)/partSize)
	var g errgroup.Group
	g.SetLimit(10)
	for i := range parts {
		g.Go(func() error {
			at := int64(i) * partSize
			out, err := client.UploadPart(ctx, &s3.UploadPartInput{
				Bucket: aws.String(bucket), Key: aws.String(key), UploadId: begun.UploadId, PartNumber: aws.Int32(int32(i + 1)),
				Body: io.NewSectionReader(f, at, min(partSize, st.Size()-at)),
			})
			if err != nil {
				return err
			}
			parts[i] = types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(int32(i + 1)), ChecksumCRC32: out.ChecksumCRC32}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(bucket), Key: aws.String(key), UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}

// download does what `aws s3 cp` does, in one stream.
func (b *bench) download(key, path string) {
	out, err := b.store.Client(b.t).GetObject(context.Background(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Body.Close()
	f, err := os.Create(path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, out.Body); err != nil {
		b.t.Fatal(err)
	}
}
