package storage

import (
	"context"
	"iter"
)

// AfterLister is a Bucket whose listings can begin anywhere. With it several stretches of one prefix are listed at the same time:
// a store hands out a thousand keys at a time, and each thousand only to whoever has the one before.
type AfterLister interface {
	// ListAfter yields what List does, without the keys up to after and without after itself.
	ListAfter(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
}

// ListAfter lists what lies below prefix and behind after, on any bucket. One that is no AfterLister lists the rest too, unseen.
func ListAfter(ctx context.Context, b Bucket, prefix, after string) iter.Seq2[Object, error] {
	if after == "" {
		return b.List(ctx, prefix)
	}
	if able, ok := b.(AfterLister); ok {
		return able.ListAfter(ctx, prefix, after)
	}
	return Behind(b.List(ctx, prefix), after)
}

// Behind passes on the objects of a listing whose keys come after one, and errors.
func Behind(all iter.Seq2[Object, error], after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range all {
			if err == nil && o.Key <= after {
				continue
			}
			if !yield(o, err) {
				return
			}
		}
	}
}
