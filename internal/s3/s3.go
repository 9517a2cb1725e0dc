// Package s3 keeps a bucket in an object store that speaks Amazon's S3 protocol.
//
// Everything rests on two things that such stores do: a write can be made conditional on the key being free
// (If-None-Match: *), and it can carry a SHA-256 that the store checks before it accepts it. Each byte is hashed once,
// here, and that hash serves as checksum and as the request's signature. Objects up to one part are
// one request; larger ones are uploaded in parts, which stay invisible until the last request joins them.
//
// The retries are this package's and not the SDK's: after a lost answer the next try finds the key taken, and only
// who counted the tries can tell its own object from another writer's. A failing store is asked a fixed number of
// times, by each request on its own, with no budget that a long outage would drain.
package s3

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/drd-project/drd/internal/storage"
)

var (
	_ storage.Bucket      = (*Bucket)(nil)
	_ storage.Incompleter = (*Bucket)(nil)
	_ storage.AfterLister = (*Bucket)(nil)
	_ storage.Trier       = (*Bucket)(nil)
)

const (
	// DefaultPartSize in bytes. At the 10,000 parts that S3 allows it makes objects of up to 78 GiB, many times what etcd can hold.
	DefaultPartSize = 8 << 20
	minPartSize     = 5 << 20 // S3's own limit
	maxPartSize     = 1 << 30 // buffered in memory; S3 itself allows 5 GiB
	maxParts        = 10_000  // S3's own limit

	// DefaultParallel is how many parts are on the way at a time.
	DefaultParallel = 4
	maxParallel     = 64

	// DefaultAttempts is how often one request is made before its error is returned.
	DefaultAttempts = 5
	maxAttempts     = 20

	// DefaultStallTimeout is how long a connection may carry no byte in either direction. It must outlast the time a
	// store takes to join the parts of a large object, during which good ones send white space.
	DefaultStallTimeout = time.Minute

	// maxPrefix in bytes keeps prefix, slash and key within S3's 1024.
	maxPrefix = 1024 - storage.MaxKey - 1
)

// Values of Config.ChecksumMode.
const (
	// ChecksumWhenSupported sends checksums and accepts a store that ignores them.
	ChecksumWhenSupported = ""
	// ChecksumRequired makes it an error when the store does not confirm the checksum it was sent.
	// It is implied where the store is AWS.
	ChecksumRequired = "required"
)

// Config says where a bucket is and how to write to it. Only Bucket is mandatory, and Region for AWS.
type Config struct {
	Bucket string
	// Prefix stands before every key, with a slash between. Up to 123 bytes.
	Prefix string
	// Region defaults to that of the AWS environment or profile, and to us-east-1 where Endpoint is set.
	Region string
	// Endpoint is the base URL of a store that is not AWS: "https://minio.example:9000".
	Endpoint string
	// CAFile holds PEM certificates to trust beside the system's.
	CAFile string
	// PathStyle puts the bucket in the path and not in the host name. Most stores that are not AWS want it.
	PathStyle bool
	// CredentialsFile is in the AWS shared credentials format, read again whenever it changes. Without it
	// the AWS default chain is asked: environment, shared files, container and instance roles.
	CredentialsFile string
	// Profile is the section of the credentials file; "" is "default" (with a CredentialsFile) or $AWS_PROFILE.
	Profile string

	// SSE is the server-side encryption: "", "AES256", "aws:kms" or "aws:kms:dsse".
	SSE string
	// KMSKeyID is for the two kinds of aws:kms; "" is the bucket's or the account's own key.
	KMSKeyID     string
	StorageClass string
	ObjectLock   ObjectLock
	// ChecksumMode is ChecksumWhenSupported or ChecksumRequired.
	ChecksumMode string

	// PartSize in bytes, 5 MiB to 1 GiB. The largest object is 10,000 parts. It is the same for all parts of an object,
	// because some stores insist on that. Default DefaultPartSize.
	PartSize int64
	// Parallel is how many parts of one object are on the way at a time, up to 64. One Create holds up to
	// (Parallel+1)*PartSize bytes. Default DefaultParallel.
	Parallel int
	// Attempts is how often one request is made, up to 20. Default DefaultAttempts.
	Attempts int
	// StallTimeout is how long a connection may carry no byte. Default DefaultStallTimeout.
	StallTimeout time.Duration
	// AsOf makes the bucket a read-only view of itself as it was then, for a bucket that keeps versions. Create and Delete
	// return an error wrapping storage.ErrReadOnly. It must not be in the future. The zero value is the present.
	AsOf time.Time
	// AllowPlainHTTP permits an http:// endpoint: everything but the payload can be read and forged on the way.
	AllowPlainHTTP bool
}

// ObjectLock is the retention that every object is written with. The zero value asks for none; the bucket's default
// then holds.
type ObjectLock struct {
	Mode string // "governance" or "compliance"
	Days int    // from the moment of writing, by this machine's clock
}

// Bucket is one prefix of one bucket.
type Bucket struct {
	cfg    Config
	client *s3.Client
	keys   *credentials
	// confirmed: the store has to confirm each checksum.
	confirmed bool
	maxParts  int // of one object
	uploads   uploads
	past      *past // nil: the present
}

// Open checks cfg, reads the files it names and returns the bucket. It asks nothing of the network,
// so it succeeds where the store is down.
func Open(ctx context.Context, cfg Config) (*Bucket, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("open s3://%s: %w", cfg.Bucket, err)
	}
	source, region, err := identity(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open s3://%s: %w", cfg.Bucket, err)
	}
	cfg.Region = region
	keys := &credentials{provider: source}
	client, err := newClient(cfg, keys)
	if err != nil {
		return nil, fmt.Errorf("open s3://%s: %w", cfg.Bucket, err)
	}
	confirmed := cfg.ChecksumMode == ChecksumRequired || cfg.Endpoint == ""
	return &Bucket{cfg: cfg, client: client, keys: keys, confirmed: confirmed, maxParts: maxParts, past: newPast(cfg.AsOf)}, nil
}

// Location implements storage.Bucket.
func (b *Bucket) Location() string {
	when := ""
	if b.past != nil {
		when = " as of " + b.past.at.UTC().Format(time.RFC3339)
	}
	if b.cfg.Endpoint == "" {
		return b.url("") + " in " + b.cfg.Region + when
	}
	return b.url("") + " at " + b.cfg.Endpoint + when
}

// Properties implements storage.Bucket. Content is verified where the store has to confirm checksums: always on AWS, elsewhere
// with ChecksumRequired. That a listing may begin anywhere without more work is known of AWS; MinIO looks through all that lies behind
// that place, each time anew.
func (b *Bucket) Properties() storage.Properties {
	return storage.Properties{VerifiesContent: b.confirmed, Parallel: b.cfg.Parallel, Paces: true, ListsAfter: b.cfg.Endpoint == "" && b.past == nil}
}

// begin is the start of every operation on a key.
func begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return storage.CheckKey(key)
}

// path returns the key as the store sees it.
func (b *Bucket) path(key string) string {
	if b.cfg.Prefix == "" {
		return key
	}
	return b.cfg.Prefix + "/" + key
}

// url names an object in messages; the empty key names the bucket.
func (b *Bucket) url(key string) string {
	full := b.path(key)
	if key == "" {
		full = b.cfg.Prefix
	}
	if full == "" {
		return "s3://" + b.cfg.Bucket
	}
	return "s3://" + b.cfg.Bucket + "/" + full
}
