package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

var (
	opVersions   = operation{"list versions of", "s3:ListBucketVersions"}
	opVersioning = operation{"look for versions in", "s3:GetBucketVersioning"}
)

// past is a bucket as it was at one time. What somebody has deleted or written over since then is there, as long as its
// versions are: a delete without a version ID, which is all that drd ever sends, only adds a marker.
//
// Times are the store's, of one second on AWS; an object and its deletion within that second count as the object.
type past struct {
	at time.Time

	mu      sync.Mutex
	checked bool               // that the bucket keeps versions
	known   map[string]version // by key; the past does not change
}

// version is one state of one key.
type version struct {
	id       string
	size     int64
	modified time.Time
	deleted  bool
	key      string // as the store sees it
}

// missing is a key that has no version from then.
func (v version) missing() bool { return v.id == "" || v.deleted }

func newPast(at time.Time) *past {
	if at.IsZero() {
		return nil
	}
	return &past{at: at, known: map[string]version{}}
}

// readOnly refuses to change the past.
func (b *Bucket) readOnly(verb, key string) error {
	if b.past == nil {
		return nil
	}
	return hint.New(fmt.Errorf("%s %s: %w: the bucket as of %s", verb, b.url(key), storage.ErrReadOnly, b.past.at.Format(time.RFC3339)), "leave out as_of to write")
}

// versionOf returns the ID of the version that key had then, nil for the present.
func (b *Bucket) versionOf(ctx context.Context, op operation, key string) (*string, error) {
	if b.past == nil {
		return nil, nil
	}
	v, found := b.past.get(key)
	if !found {
		err := b.versions(ctx, key, func(seen version) bool {
			if seen.key == b.path(key) {
				v = seen
			}
			return false // the key itself comes before every longer one
		})
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", op.verb, b.url(key), err)
		}
		b.past.put(key, v)
	}
	if v.missing() {
		return nil, fmt.Errorf("%s %s: %w as of %s", op.verb, b.url(key), storage.ErrNotExist, b.past.at.Format(time.RFC3339))
	}
	return &v.id, nil
}

func (p *past) get(key string) (version, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, found := p.known[key]
	return v, found
}

func (p *past) put(key string, v version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[key] = v
}

// listPast is list for the past.
func (b *Bucket) listPast(ctx context.Context, prefix string, yield func(storage.Object, error) bool) error {
	err := b.versions(ctx, prefix, func(v version) bool {
		key := b.key(v.key)
		if storage.CheckKey(key) != nil {
			return true
		}
		b.past.put(key, v)
		return v.missing() || yield(storage.Object{Key: key, Size: v.size, Modified: v.modified}, nil)
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", b.url(prefix), err)
	}
	return nil
}

// versions yields for every key that begins with prefix the version it had then, missing or not, in order of the keys.
func (b *Bucket) versions(ctx context.Context, prefix string, yield func(version) bool) error {
	if err := b.keepsVersions(ctx); err != nil {
		return err
	}
	in := &s3.ListObjectVersionsInput{Bucket: &b.cfg.Bucket, Prefix: aws.String(b.listPrefix(prefix))}
	at := progress{within: *in.Prefix}
	current := version{} // of the key at hand, whose versions may go on on the next page
	for {
		page, err := b.versionPage(ctx, in, prefix)
		if err != nil {
			return err
		}
		all := merge(page)
		for _, v := range all {
			if v.key != current.key {
				if current.key != "" && !yield(current) {
					return nil
				}
				if err := at.next(v.key, &v.size); err != nil {
					return err
				}
				current = version{key: v.key}
			}
			current = b.past.newer(current, v)
		}
		if !aws.ToBool(page.IsTruncated) {
			break
		}
		at.listed = len(all) > 0 // be they of one key, which somebody may have written a million times
		if err := at.more(versionToken(page)); err != nil {
			return err
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
	if current.key != "" {
		yield(current)
	}
	return nil
}

func (b *Bucket) versionPage(ctx context.Context, in *s3.ListObjectVersionsInput, prefix string) (page *s3.ListObjectVersionsOutput, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, err = b.try(ctx, func(ctx context.Context) (err error) {
		if page, err = b.client.ListObjectVersions(ctx, in); err != nil {
			return err
		}
		return listing(page.Name, page.IsTruncated)
	})
	return page, b.explain(ctx, opVersions, prefix, err)
}

// versionToken says how to go on, "" when the store does not.
func versionToken(page *s3.ListObjectVersionsOutput) string {
	if aws.ToString(page.NextKeyMarker) == "" {
		return ""
	}
	return *page.NextKeyMarker + "\n" + aws.ToString(page.NextVersionIdMarker)
}

// merge puts the two lists of a page into one, by key. Within each list the order of the store stays.
func merge(page *s3.ListObjectVersionsOutput) []version {
	var all []version
	for _, v := range page.Versions {
		all = append(all, version{
			id: aws.ToString(v.VersionId), key: aws.ToString(v.Key), size: aws.ToInt64(v.Size), modified: aws.ToTime(v.LastModified).UTC(),
		})
	}
	for _, m := range page.DeleteMarkers {
		all = append(all, marker(m))
	}
	slices.SortStableFunc(all, func(x, y version) int { return cmp.Compare(x.key, y.key) })
	return all
}

func marker(m types.DeleteMarkerEntry) version {
	return version{id: aws.ToString(m.VersionId), key: aws.ToString(m.Key), modified: aws.ToTime(m.LastModified).UTC(), deleted: true}
}

// newer returns which of two states of a key held then. Of two with the same time the first one listed does: stores
// list the newest first, and merge puts objects before the markers of deletions.
func (p *past) newer(current, v version) version {
	if v.modified.After(p.at) || current.id != "" && !v.modified.After(current.modified) {
		return current
	}
	return v
}

// keepsVersions asks once. A bucket that never kept any has no past: what was deleted would silently be missing. Where
// the credentials may not ask, the listing has to do.
func (b *Bucket) keepsVersions(ctx context.Context) error {
	b.past.mu.Lock()
	defer b.past.mu.Unlock()
	if b.past.checked {
		return nil
	}
	var out *s3.GetBucketVersioningOutput
	_, err := b.try(ctx, func(ctx context.Context) (err error) {
		out, err = b.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &b.cfg.Bucket})
		return err
	})
	err = b.explain(ctx, opVersioning, "", err)
	switch {
	case errors.Is(err, storage.ErrDenied):
	case err != nil:
		return err
	case out.Status == "":
		return hint.New(fmt.Errorf("the bucket keeps no versions, so it cannot be seen as it was"), "leave out the time to see what is there now")
	}
	b.past.checked = true
	return nil
}
