package s3

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/drd-project/drd/internal/storage"
)

var (
	opLock          = operation{"read the Object Lock settings of", "s3:GetBucketObjectLockConfiguration"}
	opLifecycle     = operation{"read the lifecycle rules of", "s3:GetLifecycleConfiguration"}
	opDeleteVersion = operation{"delete a version of", "s3:DeleteObjectVersion"}
)

// Versioned says whether the bucket keeps what is deleted. A store without versions answers as a bucket that keeps none.
func (b *Bucket) Versioned(ctx context.Context) (bool, error) {
	var out *s3.GetBucketVersioningOutput
	_, err := b.try(ctx, func(ctx context.Context) (err error) {
		out, err = b.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b.cfg.Bucket})
		return err
	})
	switch {
	case isUnknown(err):
		return false, nil
	case err != nil:
		return false, b.explain(ctx, opVersioning, "", err)
	}
	return out.Status == types.BucketVersioningStatusEnabled, nil
}

// Lock is what a bucket has of Object Lock.
type Lock struct {
	Enabled bool       // the bucket takes retention on objects
	Default ObjectLock // what objects without a retention of their own get; zero: none. Years count as 365 days
}

// Lock asks the store for the Object Lock settings of the bucket. Of a store that knows nothing of it, and of a bucket
// without, they are zero.
func (b *Bucket) Lock(ctx context.Context) (Lock, error) {
	var out *s3.GetObjectLockConfigurationOutput
	_, err := b.try(ctx, func(ctx context.Context) (err error) {
		out, err = b.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &b.cfg.Bucket})
		return err
	})
	switch {
	case codeOf(err) == "ObjectLockConfigurationNotFoundError" || isUnknown(err):
		return Lock{}, nil
	case err != nil:
		return Lock{}, b.explain(ctx, opLock, "", err)
	case out.ObjectLockConfiguration == nil:
		return Lock{}, nil
	}
	c := out.ObjectLockConfiguration
	lock := Lock{Enabled: c.ObjectLockEnabled == types.ObjectLockEnabledEnabled}
	if c.Rule != nil && c.Rule.DefaultRetention != nil {
		d := c.Rule.DefaultRetention
		lock.Default = ObjectLock{Mode: strings.ToLower(string(d.Mode)), Days: int(aws.ToInt32(d.Days)) + 365*int(aws.ToInt32(d.Years))}
	}
	return lock, nil
}

// Rule is a lifecycle rule that is switched on and says something of the prefix of this bucket.
type Rule struct {
	ID string
	// Days after which objects expire; 0 is never. Date is the same as one day for all of them.
	Days int
	Date time.Time
	// NoncurrentDays after which a version that was deleted or replaced goes for good; 0 is never.
	NoncurrentDays int
	// Cold is the storage class to which objects move and out of which they cannot be read at once, "" for none, and ColdDays
	// when that is.
	Cold     string
	ColdDays int
	// Whole says that every object below the prefix is meant; else only some: a part of the prefix, a size or tags.
	Whole bool
}

// Rules asks the store for the lifecycle rules that touch the prefix. Rules that only end incomplete uploads, remove
// delete markers or move objects to a class that can be read at once are not among them.
func (b *Bucket) Rules(ctx context.Context) ([]Rule, error) {
	var out *s3.GetBucketLifecycleConfigurationOutput
	_, err := b.try(ctx, func(ctx context.Context) (err error) {
		out, err = b.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &b.cfg.Bucket})
		return err
	})
	switch {
	case codeOf(err) == "NoSuchLifecycleConfiguration" || isUnknown(err):
		return nil, nil
	case err != nil:
		return nil, b.explain(ctx, opLifecycle, "", err)
	}
	var rules []Rule
	for _, r := range out.Rules {
		if one, touches := b.rule(r); touches {
			rules = append(rules, one)
		}
	}
	return rules, nil
}

func (b *Bucket) rule(r types.LifecycleRule) (Rule, bool) {
	prefix, narrow := filterOf(r)
	own := b.path("")
	if r.Status != types.ExpirationStatusEnabled || !strings.HasPrefix(own, prefix) && !strings.HasPrefix(prefix, own) {
		return Rule{}, false
	}
	one := Rule{ID: oneLine(aws.ToString(r.ID)), Whole: !narrow && strings.HasPrefix(own, prefix)}
	if e := r.Expiration; e != nil {
		one.Days, one.Date = int(aws.ToInt32(e.Days)), aws.ToTime(e.Date)
	}
	if n := r.NoncurrentVersionExpiration; n != nil {
		one.NoncurrentDays = int(aws.ToInt32(n.NoncurrentDays))
	}
	for _, t := range r.Transitions {
		if t.StorageClass == types.TransitionStorageClassGlacier || t.StorageClass == types.TransitionStorageClassDeepArchive {
			one.Cold, one.ColdDays = string(t.StorageClass), int(aws.ToInt32(t.Days))
		}
	}
	return one, one.Days > 0 || !one.Date.IsZero() || one.NoncurrentDays > 0 || one.Cold != ""
}

// filterOf is the prefix that a rule is for, and whether it asks for more than that. The prefix beside the filter is how
// old rules say it.
func filterOf(r types.LifecycleRule) (prefix string, narrow bool) {
	f := r.Filter
	switch {
	case f == nil:
		//lint:ignore SA1019 old rules have their prefix nowhere else
		return aws.ToString(r.Prefix), false
	case f.And != nil:
		return aws.ToString(f.And.Prefix), len(f.And.Tags) > 0 || f.And.ObjectSizeGreaterThan != nil || f.And.ObjectSizeLessThan != nil
	}
	return aws.ToString(f.Prefix), f.Tag != nil || f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil
}

// Deletes says what the credentials may delete below the prefix.
type Deletes struct {
	Objects  bool // hide an object, which in a bucket without versions is its end
	Versions bool // remove a version for good
}

// MayDelete tries to delete key, which must be one that nobody ever writes. In a bucket that keeps versions it may leave a
// delete marker of that key, where the credentials may add markers and not remove them.
func (b *Bucket) MayDelete(ctx context.Context, key string) (Deletes, error) {
	var may Deletes
	if err := begin(ctx, key); err != nil {
		return may, err
	}
	// "null" is the version that a key has without versioning: there is none, so this deletes nothing anywhere.
	_, err := b.remove(ctx, opDeleteVersion, key, aws.String("null"))
	if may.Versions = err == nil; err != nil && !errors.Is(err, storage.ErrDenied) {
		return may, err
	}
	marker, err := b.remove(ctx, opDelete, key, nil)
	if may.Objects = err == nil; err != nil && !errors.Is(err, storage.ErrDenied) {
		return may, err
	}
	if marker != nil && may.Versions {
		_, err = b.remove(ctx, opDeleteVersion, key, marker)
		if errors.Is(err, storage.ErrDenied) { // of this version and not of "null": nothing is lost but the tidiness
			err = nil
		}
		return may, err
	}
	return may, nil
}

// remove returns the version of the delete marker that it left, or nil.
func (b *Bucket) remove(ctx context.Context, op operation, key string, version *string) (marker *string, err error) {
	var out *s3.DeleteObjectOutput
	_, err = b.try(ctx, func(ctx context.Context) (err error) {
		out, err = b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.cfg.Bucket, Key: aws.String(b.path(key)), VersionId: version})
		return err
	})
	if err != nil {
		return nil, b.explain(ctx, op, key, err)
	}
	if aws.ToBool(out.DeleteMarker) && version == nil {
		return out.VersionId, nil
	}
	return nil, nil
}

// isUnknown recognizes a question that the store does not know.
func isUnknown(err error) bool {
	return statusOf(err) == http.StatusNotImplemented || codeOf(err) == "MethodNotAllowed" || codeOf(err) == "NotImplemented"
}
