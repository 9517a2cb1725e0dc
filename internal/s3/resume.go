package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/drd-project/drd/internal/storage"
)

// An upload that breaks off because of the network or the store is left there, and the next Create of that key goes on
// with it. A part is taken over only if the store lists it with the very size and SHA-256 of what would be
// sent; any other is sent again under the same upload, which replaces it. The last request names the SHA-256 of each
// part, so the store itself refuses to join anything else: two contents under one key cannot mix, not
// even when a request that was given up reaches the store late, or two processes share an upload.
//
// Nothing is left, and nothing taken over, where that cannot be checked: a store that gives no checksums of parts,
// or credentials that may not list uploads.

var opParts = operation{"list parts of", "s3:ListMultipartUploadParts"}

// resumeWithin is the oldest upload that is continued. After 24 hours an upload counts as litter, and a prune on any
// node may end it; the transfer must be over by then.
const resumeWithin = 20 * time.Hour

// uploads is what a Bucket remembers of its own uploads.
type uploads struct {
	mu     sync.Mutex
	active map[string]*turn    // by key
	left   map[string]struct{} // IDs of uploads that broke off
}

// turn counts the Creates of one key that run at a time.
type turn struct {
	creates int
	shared  bool // there were two at once, so an upload that the store lists may be the other's
}

// enter returns the turn for key and what ends it.
func (u *uploads) enter(key string) (*turn, func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.active == nil {
		u.active, u.left = map[string]*turn{}, map[string]struct{}{}
	}
	t := u.active[key]
	if t == nil {
		t = &turn{}
		u.active[key] = t
	}
	t.creates++
	t.shared = t.shared || t.creates > 1
	return t, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if t.creates--; t.creates == 0 {
			delete(u.active, key)
		}
	}
}

func (u *uploads) alone(t *turn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !t.shared
}

func (u *uploads) leave(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.left[id] = struct{}{}
}

// takeUp tells whether the upload was left by this Bucket, and forgets it.
func (u *uploads) takeUp(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, own := u.left[id]
	delete(u.left, id)
	return own
}

// unfinished looks for an upload of the key to go on with, and for the parts of it that are there. No id is none. known says
// that the store lists uploads, so that one that breaks off will be found; others, that it lists some that are not taken up.
// Errors only cost the resumption.
//
// One without parts is taken up too: else each attempt of a long outage would leave another.
func (b *Bucket) unfinished(ctx context.Context, key string, t *turn) (id string, parts map[int32]types.Part, known, others bool) {
	found, err := b.Incomplete(ctx, key)
	if err != nil {
		return "", nil, false, false
	}
	found = slices.DeleteFunc(found, func(u storage.Upload) bool { return u.Key != key })
	slices.SortFunc(found, func(x, y storage.Upload) int { return y.Started.Compare(x.Started) }) // newest first
	for _, u := range found {
		if time.Since(u.Started) > resumeWithin || !b.uploads.alone(t) {
			continue
		}
		if own := b.uploads.takeUp(u.ID); !own && !b.cfg.plain() {
			continue
		}
		if parts, err = b.listParts(ctx, key, u.ID); err == nil {
			return u.ID, parts, true, len(found) > 1
		}
	}
	return "", nil, true, len(found) > 0
}

// sweep ends the uploads of a key that has its object: nothing can come of them any more. A store in trouble leaves some when
// it fails to start an upload, and starts it all the same. What cannot be ended here is litter.
func (b *Bucket) sweep(ctx context.Context, key string) {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	found, err := b.Incomplete(ctx, key)
	if err != nil {
		return
	}
	for _, u := range found {
		if u.Key == key {
			_ = b.Abort(ctx, u) // it may have no permission to
		}
	}
}

// plain tells that an upload's start fixes nothing about the object that a listing does not show. Otherwise only this
// Bucket's own uploads are continued: those of another process may be from before the configuration changed.
func (c *Config) plain() bool {
	return c.SSE == "" && c.StorageClass == "" && c.ObjectLock == ObjectLock{}
}

// listParts returns the parts of an upload that the store gives a SHA-256 for, by number.
func (b *Bucket) listParts(ctx context.Context, key, id string) (map[int32]types.Part, error) {
	in := &s3.ListPartsInput{Bucket: &b.cfg.Bucket, Key: aws.String(b.path(key)), UploadId: &id}
	parts := map[int32]types.Part{}
	for {
		var page *s3.ListPartsOutput
		_, err := b.try(ctx, func(ctx context.Context) (err error) {
			page, err = b.client.ListParts(ctx, in)
			return err
		})
		if err != nil {
			return nil, b.explain(ctx, opParts, key, err)
		}
		before := len(parts)
		for _, p := range page.Parts {
			if p.ChecksumSHA256 != nil && p.ETag != nil {
				parts[aws.ToInt32(p.PartNumber)] = p
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return parts, nil
		}
		if len(parts) == before { // also what ends a listing in circles
			return nil, fmt.Errorf("list parts of %s: the store says there is more, but lists nothing new", b.url(key))
		}
		in.PartNumberMarker = page.NextPartNumberMarker
	}
}

// has tells whether the store holds this part already, and takes it over.
func (u *upload) has(number int, size int64, sum string) bool {
	part, found := u.there[int32(number)]
	if !found || aws.ToInt64(part.Size) != size || aws.ToString(part.ChecksumSHA256) != sum {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[number-1].ETag = part.ETag
	u.parts[number-1].ChecksumSHA256 = &sum
	return true
}

// end is for an upload that failed: it is left for the next Create where what failed may pass, and else ended. It
// returns why.
func (u *upload) end(ctx context.Context, why error, tries int) error {
	_, later := errors.AsType[*passingError](why)
	if u.resumable && (later || errors.Is(why, storage.ErrStalled)) {
		u.bucket.uploads.leave(u.id)
		return why
	}
	return u.abort(ctx, why, tries)
}

// passingError marks what may be gone at the next Create: the network, an overloaded or failing store.
type passingError struct{ error }

func (e *passingError) Unwrap() error { return e.error }
