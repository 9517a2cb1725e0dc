package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/drd-project/drd/internal/storage"
)

var opPut = operation{"put", "s3:PutObject"}

// anyObject in If-None-Match makes a write fail when the key is taken.
const anyObject = "*"

// Create implements storage.Bucket. What fits into one part is one request, which leaves the store with
// a checksum of the whole; anything larger is a multipart upload.
func (b *Bucket) Create(ctx context.Context, key string, r io.Reader) (storage.Object, error) {
	if err := begin(ctx, key); err != nil {
		return storage.Object{}, fmt.Errorf("put %s: %w", b.url(key), err)
	}
	if err := b.readOnly("put", key); err != nil {
		return storage.Object{}, err
	}
	first, err := readPart(ctx, r, nil, b.cfg.PartSize)
	var second []byte
	if err == nil && int64(len(first)) == b.cfg.PartSize {
		second, err = readPart(ctx, r, nil, b.cfg.PartSize)
	}
	if err != nil {
		return storage.Object{}, fmt.Errorf("put %s: read the content: %w", b.url(key), err)
	}
	if len(second) > 0 {
		return b.createParts(ctx, key, first, second, r)
	}
	return b.createWhole(ctx, key, first)
}

// firstRead is what a part's buffer begins with. Most objects are manifests and segments far below a part.
const firstRead = 64 << 10

// readPart reads size bytes, or as many as there are, into buf, which grows as needed.
func readPart(ctx context.Context, r io.Reader, buf []byte, size int64) ([]byte, error) {
	buf = buf[:0]
	for int64(len(buf)) < size {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(size, max(firstRead, 4*int64(cap(buf)))))
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):min(int64(cap(buf)), size)])
		buf = buf[:len(buf)+n]
		if err == io.EOF { //nolint:errorlint // io.Reader's contract: a wrapped EOF is an error
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, nil
}

func (b *Bucket) createWhole(ctx context.Context, key string, data []byte) (storage.Object, error) {
	hash := sha256.Sum256(data)
	sum := base64.StdEncoding.EncodeToString(hash[:])
	in := b.putInput(key)
	in.ContentLength, in.ChecksumSHA256 = aws.Int64(int64(len(data))), &sum
	var out *s3.PutObjectOutput
	lost, err := b.try(ctx, func(ctx context.Context) (err error) {
		in.Body = newPayload(ctx, data)
		out, err = b.client.PutObject(ctx, in, signedWith(hash))
		return err
	})
	written := content{size: int64(len(data)), checksum: sum, parts: [][sha256.Size]byte{hash}}
	if err == nil {
		err = b.accept(ctx, key, out.ChecksumSHA256, written, lost)
	} else {
		err = b.settle(ctx, opPut, key, written, lost, err)
	}
	if err != nil {
		return storage.Object{}, err
	}
	obj := storage.Object{Key: key, Size: written.size}
	if b.confirmed { // else the store may not know it
		obj.SHA256 = hex.EncodeToString(hash[:])
	}
	return obj, nil
}

// putInput holds everything that is the same for one request and for the start of an upload.
func (b *Bucket) putInput(key string) *s3.PutObjectInput {
	in := &s3.PutObjectInput{
		Bucket: &b.cfg.Bucket, Key: aws.String(b.path(key)), IfNoneMatch: aws.String(anyObject),
		ServerSideEncryption: types.ServerSideEncryption(b.cfg.SSE),
		StorageClass:         types.StorageClass(b.cfg.StorageClass),
	}
	if b.cfg.KMSKeyID != "" {
		in.SSEKMSKeyId = &b.cfg.KMSKeyID
	}
	if lock := b.cfg.ObjectLock; lock.Mode != "" {
		in.ObjectLockMode = types.ObjectLockMode(strings.ToUpper(lock.Mode))
		in.ObjectLockRetainUntilDate = aws.Time(time.Now().UTC().AddDate(0, 0, lock.Days))
	}
	return in
}

// payload is a request body that reports its progress.
type payload struct {
	io.ReadSeeker
	ctx context.Context
}

func newPayload(ctx context.Context, data []byte) *payload {
	return &payload{ReadSeeker: bytes.NewReader(data), ctx: ctx}
}

func (p *payload) Read(buf []byte) (int, error) {
	storage.Moved(p.ctx)
	n, err := p.ReadSeeker.Read(buf)
	if paceErr := storage.Pace(p.ctx, n); paceErr != nil {
		return 0, paceErr
	}
	return n, err
}

// signedWith makes the request's signature cover the body by the hash we have, instead of the SDK's hashing it again.
// So the store checks the body even where it does not know checksums.
func signedWith(hash [sha256.Size]byte) func(*s3.Options) {
	set := middleware.InitializeMiddlewareFunc("PayloadHash", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(hash[:])), in)
	})
	return s3.WithAPIOptions(func(stack *middleware.Stack) error { return stack.Initialize.Add(set, middleware.After) })
}

// errWrongChecksum: the store says that it holds something else than what it was sent.
var errWrongChecksum = errors.New("checksum mismatch")

// confirm compares the store's checksum with the one sent.
func (b *Bucket) confirm(got *string, want string) error {
	switch {
	case got == nil && !b.confirmed, got != nil && *got == want:
		return nil
	case got == nil:
		return errors.New("the store did not confirm the SHA-256 it was sent")
	}
	return fmt.Errorf("%w: the store has SHA-256 %s, %s was sent", errWrongChecksum, oneLine(*got), want)
}

// content is what Create has sent, for telling it from another writer's object.
type content struct {
	size     int64
	checksum string              // as S3 writes it: of the whole, or "…-N" of N part hashes
	parts    [][sha256.Size]byte // every part but the last has PartSize bytes
}

// accept checks the store's checksum of an object that it says it has taken. Where it did not tell (versitygw, when
// a request to join parts is repeated) it is asked.
func (b *Bucket) accept(ctx context.Context, key string, got *string, written content, lost bool) error {
	err := b.confirm(got, written.checksum)
	if err != nil && got == nil {
		head, headErr := b.head(ctx, key)
		if headErr != nil {
			return fmt.Errorf("put %s: %w: %w", b.url(key), err, headErr)
		}
		err = b.confirm(head.ChecksumSHA256, written.checksum)
	}
	switch {
	case err == nil && got == nil && lost:
		return b.recognize(ctx, key, written)
	case err == nil:
		return nil
	case lost: // it may be another writer's object
		return fmt.Errorf("put %s: %w", b.url(key), err)
	}
	return b.takeBack(ctx, key, err)
}

// settle finds out what the failure of a conditional write means. After a lost answer "the key is taken" may be
// the echo of our own success.
func (b *Bucket) settle(ctx context.Context, op operation, key string, written content, lost bool, err error) error {
	gone := isGone(err) // joined by the attempt whose answer was lost
	switch {
	case lost && (isTaken(err) || isConflict(err) || gone):
		found := b.recognize(ctx, key, written)
		if errors.Is(found, storage.ErrNotExist) {
			return b.explain(ctx, op, key, err)
		}
		return found
	case isTaken(err):
		return fmt.Errorf("put %s: %w", b.url(key), storage.ErrExists)
	case isConflict(err) || gone: // or joined by another writer that went on with the same upload
		if _, headErr := b.head(ctx, key); headErr == nil {
			return fmt.Errorf("put %s: %w", b.url(key), storage.ErrExists)
		}
	}
	return b.explain(ctx, op, key, err)
}

// recognize returns nil if the object under key is what was sent, and storage.ErrExists if it is another writer's
// or cannot be checked. There being none is an error wrapping storage.ErrNotExist.
func (b *Bucket) recognize(ctx context.Context, key string, written content) error {
	same, err := b.holds(ctx, key, written)
	switch {
	case errors.Is(err, storage.ErrNotExist):
		return err
	case err != nil:
		return fmt.Errorf("put %s: %w, and whether it is this upload's could not be checked: %w", b.url(key), storage.ErrExists, err)
	case !same:
		return fmt.Errorf("put %s: %w", b.url(key), storage.ErrExists)
	}
	return nil
}

// holds tells whether the object under key is what was sent: by the store's checksum, else by reading it.
func (b *Bucket) holds(ctx context.Context, key string, want content) (bool, error) {
	head, err := b.head(ctx, key)
	if err != nil {
		return false, err
	}
	if aws.ToInt64(head.ContentLength) != want.size {
		return false, nil
	}
	if head.ChecksumSHA256 != nil {
		return *head.ChecksumSHA256 == want.checksum, nil
	}
	r, err := b.Open(ctx, key, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	buf := make([]byte, 0, min(want.size, b.cfg.PartSize))
	for _, hash := range want.parts {
		if buf, err = readPart(ctx, r, buf, b.cfg.PartSize); err != nil {
			return false, err
		}
		if sha256.Sum256(buf) != hash {
			return false, nil
		}
	}
	return true, nil
}

// takeBack removes an object that the store accepted and that is not what it was sent, and returns why.
func (b *Bucket) takeBack(ctx context.Context, key string, why error) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	if err := b.Delete(ctx, key); err != nil {
		why = fmt.Errorf("%w (and it could not be taken back: %w)", why, err)
	}
	return fmt.Errorf("put %s: %w", b.url(key), why)
}

// What is done after a failure has this long, also after the caller's context has ended: then somebody waits for drd to end, or the
// store has stopped answering. What is left of an upload the next one of its key goes on with, or it is litter.
const (
	cleanupTime = 30 * time.Second
	endTime     = 10 * time.Second
)

func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := cleanupTime
	if ctx.Err() != nil {
		limit = endTime
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}
