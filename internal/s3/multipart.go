package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

var opAbort = operation{"abort upload of", "s3:AbortMultipartUpload"}

// upload is one multipart upload. Buffers go round: read into, sent, read into again; there are
// Parallel+1 of them at most, one of which is being filled while the others are on the way.
type upload struct {
	bucket *Bucket
	key    string
	id     string
	free   chan []byte
	made   int // buffers

	there     map[int32]types.Part // parts that an earlier Create has left, by number
	resumable bool                 // what is left of this upload will be found and can be checked

	mu    sync.Mutex
	parts []types.CompletedPart
	sent  content
}

// createParts uploads first, second and what r still has.
func (b *Bucket) createParts(ctx context.Context, key string, first, second []byte, r io.Reader) (storage.Object, error) {
	if err := b.vacant(ctx, key); err != nil {
		return storage.Object{}, err
	}
	turn, leave := b.uploads.enter(key)
	defer leave()
	u := &upload{bucket: b, key: key, made: 2, free: make(chan []byte, b.cfg.Parallel+1)}
	var others bool
	u.id, u.there, u.resumable, others = b.unfinished(ctx, key, turn)
	if u.id == "" {
		lost, err := u.start(ctx)
		if err != nil {
			return storage.Object{}, b.explain(ctx, opPut, key, err)
		}
		others = others || lost
	}
	if err := u.send(ctx, first, second, r); err != nil {
		return storage.Object{}, u.end(ctx, err, abortTries)
	}
	if err := u.complete(ctx); err != nil {
		return storage.Object{}, u.end(ctx, err, 1)
	}
	if others && b.uploads.alone(turn) {
		b.sweep(ctx, key)
	}
	return storage.Object{Key: key, Size: u.sent.size}, nil
}

// vacant spares sending a large object whose key is taken, as it is when the answer to the last request of an earlier
// Create was lost. Where credentials may not look, the last request will tell.
func (b *Bucket) vacant(ctx context.Context, key string) error {
	_, err := b.headAs(ctx, opPut, key)
	switch {
	case err == nil:
		return fmt.Errorf("put %s: %w", b.url(key), storage.ErrExists)
	case errors.Is(err, storage.ErrNotExist) || errors.Is(err, storage.ErrDenied):
		return nil
	}
	return err
}

// start begins an upload. lost says that the store may have begun others before, whose answers did not arrive.
func (u *upload) start(ctx context.Context) (lost bool, err error) {
	put := u.bucket.putInput(u.key)
	in := &s3.CreateMultipartUploadInput{
		Bucket: put.Bucket, Key: put.Key, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		ServerSideEncryption: put.ServerSideEncryption, SSEKMSKeyId: put.SSEKMSKeyId, StorageClass: put.StorageClass,
		ObjectLockMode: put.ObjectLockMode, ObjectLockRetainUntilDate: put.ObjectLockRetainUntilDate,
	}
	return u.bucket.try(ctx, func(ctx context.Context) error {
		out, err := u.bucket.client.CreateMultipartUpload(ctx, in)
		if err == nil {
			u.id = aws.ToString(out.UploadId)
		}
		return err
	})
}

// send uploads all parts. Its errors are ready for people.
func (u *upload) send(ctx context.Context, first, second []byte, r io.Reader) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(u.bucket.cfg.Parallel)
	readErr := u.dispatch(groupCtx, group, first, second, r)
	if err := group.Wait(); err != nil {
		return err // when a part fails, reading stops because of it
	}
	return readErr
}

// dispatch gives each part to the group until r ends or a part fails.
func (u *upload) dispatch(ctx context.Context, group *errgroup.Group, first, second []byte, r io.Reader) error {
	part := func(data []byte) {
		number := u.add(data)
		group.Go(func() error {
			err := u.sendPart(ctx, number, data)
			u.free <- data
			return err
		})
	}
	part(first)
	part(second)
	full := len(second) == len(first) // a short part is the last one
	for full && ctx.Err() == nil {
		data, err := readPart(ctx, r, u.buffer(), u.bucket.cfg.PartSize)
		switch {
		case err != nil:
			return fmt.Errorf("put %s: read the content: %w", u.bucket.url(u.key), err)
		case len(data) == 0:
			return nil
		case len(u.parts) == u.bucket.maxParts:
			return hint.New(fmt.Errorf("put %s: more than %d parts of %d bytes", u.bucket.url(u.key), u.bucket.maxParts, u.bucket.cfg.PartSize), "raise part_size")
		}
		full = int64(len(data)) == u.bucket.cfg.PartSize
		part(data)
	}
	return nil
}

// buffer returns one that is free, or a new one while there may be more. It does not wait for ever: when all
// are on the way, each comes back however its request ends.
func (u *upload) buffer() []byte {
	select {
	case buf := <-u.free:
		return buf
	default:
	}
	if u.made <= u.bucket.cfg.Parallel {
		u.made++
		return make([]byte, 0, u.bucket.cfg.PartSize)
	}
	return <-u.free
}

// add registers a part and returns its number, from 1.
func (u *upload) add(data []byte) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, types.CompletedPart{PartNumber: aws.Int32(int32(len(u.parts) + 1))})
	u.sent.parts = append(u.sent.parts, [sha256.Size]byte{})
	u.sent.size += int64(len(data))
	return len(u.parts)
}

func (u *upload) sendPart(ctx context.Context, number int, data []byte) error {
	hash := sha256.Sum256(data)
	sum := base64.StdEncoding.EncodeToString(hash[:])
	u.setHash(number, hash)
	if u.has(number, int64(len(data)), sum) {
		storage.Moved(ctx)
		return nil
	}
	in := &s3.UploadPartInput{
		Bucket: &u.bucket.cfg.Bucket, Key: aws.String(u.bucket.path(u.key)), UploadId: &u.id,
		PartNumber: aws.Int32(int32(number)), ContentLength: aws.Int64(int64(len(data))), ChecksumSHA256: &sum,
	}
	var out *s3.UploadPartOutput
	_, err := u.bucket.try(ctx, func(ctx context.Context) (err error) {
		in.Body = newPayload(ctx, data)
		out, err = u.bucket.client.UploadPart(ctx, in, signedWith(hash))
		return err
	})
	if err != nil {
		return u.bucket.settle(ctx, opPut, u.key, content{}, false, err)
	}
	if err := u.bucket.confirm(out.ChecksumSHA256, sum); err != nil {
		return fmt.Errorf("put %s: part %d: %w", u.bucket.url(u.key), number, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.resumable = u.resumable && out.ChecksumSHA256 != nil // else it could not be checked
	u.parts[number-1].ETag = out.ETag
	u.parts[number-1].ChecksumSHA256 = &sum
	return nil
}

func (u *upload) setHash(number int, hash [sha256.Size]byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent.parts[number-1] = hash
}

// complete makes the object visible. The store joins the parts only if each has the checksum listed here.
func (u *upload) complete(ctx context.Context) error {
	u.sent.checksum = composite(u.sent.parts)
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &u.bucket.cfg.Bucket, Key: aws.String(u.bucket.path(u.key)), UploadId: &u.id, IfNoneMatch: aws.String(anyObject),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	}
	var out *s3.CompleteMultipartUploadOutput
	lost, err := u.bucket.try(ctx, func(ctx context.Context) (err error) {
		out, err = u.bucket.client.CompleteMultipartUpload(ctx, in)
		storage.Moved(ctx)
		return err
	})
	if err != nil {
		return u.bucket.settle(ctx, opPut, u.key, u.sent, lost, err)
	}
	return u.bucket.accept(ctx, u.key, out.ChecksumSHA256, u.sent, lost)
}

// composite is S3's checksum of a multipart object: of the concatenated part checksums, and their number.
func composite(parts [][sha256.Size]byte) string {
	all := sha256.New()
	for _, hash := range parts {
		all.Write(hash[:])
	}
	return fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(all.Sum(nil)), len(parts))
}

// A part that the store is still taking in while its upload is aborted can outlive it. So when parts may be on the way
// the abort is repeated, until the store no longer knows the upload; some say yes each time.
const (
	abortTries = 3
	abortPause = 200 * time.Millisecond
)

// abort frees what was uploaded and returns why. The caller's context may have ended, so it has its own.
func (u *upload) abort(ctx context.Context, why error, tries int) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	in := &s3.AbortMultipartUploadInput{Bucket: &u.bucket.cfg.Bucket, Key: aws.String(u.bucket.path(u.key)), UploadId: &u.id}
	for n := range tries {
		if n > 0 {
			pause(ctx, abortPause)
		}
		_, err := u.bucket.try(ctx, func(ctx context.Context) error {
			_, err := u.bucket.client.AbortMultipartUpload(ctx, in)
			return err
		})
		if codeOf(err) == "NoSuchUpload" {
			break
		}
		if err != nil {
			return fmt.Errorf("%w (and its parts are left in the store: %w)", why, u.bucket.explain(ctx, opAbort, u.key, err))
		}
	}
	return why
}
