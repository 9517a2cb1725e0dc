// Package storage keeps immutable objects under keys, and knows nothing of what they are.
//
// A Bucket is a flat name space in which every key is written at most once. That single rule is
// what lets a repository live in a bucket with Object Lock, be written by several nodes without
// a lock, and survive a writer that dies half way: an object is either wholly there or not at
// all, and what is there never changes.
//
// Every backend passes the same conformance suite (package storagetest). Behaviour that differs
// between stores is data (Properties), never a type switch in the caller. Retry, limits and
// fault injection are decorators over Bucket.
package storage

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

var (
	// ErrNotExist is wrapped by Open, Stat and Delete for a key that is not there.
	ErrNotExist = errors.New("object does not exist")
	// ErrExists is wrapped by Create for a key that is already there. The existing object is untouched.
	ErrExists = errors.New("object exists already")
	// ErrDenied is wrapped when the store refuses the caller (HTTP 401/403, EACCES, EPERM). Retrying at once is pointless.
	ErrDenied = errors.New("access denied")
	// ErrNoBucket is wrapped by every call when the bucket itself is not there. Retrying at once is pointless.
	ErrNoBucket = errors.New("the bucket does not exist")
	// ErrLocked is wrapped by Delete for an object under retention or legal hold.
	ErrLocked = errors.New("object is locked")
	// ErrReadOnly is wrapped by Create and Delete of a view that cannot be written, such as a bucket as it was.
	ErrReadOnly = errors.New("read-only view")
	// ErrInvalidKey is wrapped for a key that CheckKey refuses.
	ErrInvalidKey = errors.New("invalid object key")
)

// Object is what a bucket knows about one object.
type Object struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // by the store's clock, UTC
	// SHA256 is the hex SHA-256 of the whole content as the store itself reports it, or "" where it
	// reports none (a directory; an S3 multipart object, whose checksum is one of part checksums).
	SHA256 string
}

// Properties are what a backend can do. They are data, so that callers need no type switches.
type Properties struct {
	// VerifiesContent: the store checked the content against a SHA-256 sent by the client before it made the object visible.
	VerifiesContent bool
	// Parallel is how many concurrent requests one caller should use at most.
	Parallel int
	// Paces: Create calls Pace before bytes leave, so a rate limit holds on the wire and not at the reader.
	Paces bool
	// ListsAfter: a ListAfter costs the store the work for what it yields, and none for what lies before or far behind.
	ListsAfter bool
}

// Bucket is a write-once object store.
//
// Implementations MUST be safe for concurrent use, MUST honour ctx (a call with an ended context
// changes nothing) and MUST wrap the errors of this package so that errors.Is finds them.
type Bucket interface {
	// Location names the bucket for people, without any credential: "s3://bucket/prefix at https://…" or "file:///path".
	Location() string

	// Properties MUST be constant for the life of the value.
	Properties() Properties

	// Create stores all that r yields under key. It MUST NOT replace an existing object: then it
	// returns an error wrapping ErrExists. The object MUST become visible whole and durable, or not
	// at all: an error from r, from the store or from ctx leaves nothing under key. (The one exception no client can
	// rule out: a connection lost for good after the last request was sent may leave the object, whole. A later Create
	// then returns ErrExists; compare before you call that a failure.) Memory use MUST
	// be bounded and independent of the object's size, which is not known in advance.
	// The returned Object carries key and size; a backend with VerifiesContent has proved the content.
	Create(ctx context.Context, key string, r io.Reader) (Object, error)

	// Open returns a reader over length bytes from offset on; length < 0 means to the end. A range
	// that begins at or beyond the end yields no bytes; one that reaches beyond it ends at the end.
	// The reader MUST return an error, not io.EOF, when the connection ends before the range does.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat returns what the store knows of the object, from the store and not from a cache.
	Stat(ctx context.Context, key string) (Object, error)

	// List yields every object whose key starts with prefix, in ascending byte order of the keys. Only whole
	// objects appear. The sequence stops after the first error. SHA256 may be missing in listings.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]

	// Delete removes an object. A key that is not there is an error wrapping ErrNotExist where the
	// store can tell (S3 cannot: there it is success).
	Delete(ctx context.Context, key string) error
}
