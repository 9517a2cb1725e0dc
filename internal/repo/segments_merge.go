package repo

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// ReadSegments reads the commit records of entries that a look left unread, and judges them as ListSegments does. Others stay as
// they are. Only the end of ctx is an error.
func (r *Repository) ReadSegments(ctx context.Context, entries []*SegmentEntry, trust *seal.Trust) error {
	var group errgroup.Group
	group.SetLimit(max(1, r.bucket.Properties().Parallel))
	for _, e := range entries {
		if e.State != StateUnread {
			continue
		}
		group.Go(func() error {
			r.readSegment(ctx, e, trust)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("read segments of %s in %s: %w", r.cluster, r.bucket.Location(), err)
	}
	return nil
}

func (r *Repository) readSegment(ctx context.Context, e *SegmentEntry, trust *seal.Trust) {
	read := segmentObjects{SegmentEntry: *e}
	read.State = ""
	if e.Payload.Key != "" {
		read.payloads = append(read.payloads, e.Payload)
	}
	r.judgeSegment(ctx, &read, trust)
	if read.State == StatePayloadMissing && e.Payload.Key != "" {
		// An entry has room for one payload: somebody put another object beside it, which is listed before.
		read = segmentObjects{SegmentEntry: *e}
		read.State = ""
		var err error
		if read.payloads, err = r.segmentPayloads(ctx, e.Name); err != nil {
			read.fail(StateUnreadable, fmt.Errorf("list its payloads: %w", err))
		} else {
			r.judgeSegment(ctx, &read, trust)
		}
	}
	*e = read.SegmentEntry
}

// segmentPayloads are the objects with the name of a segment, but for its commit record.
func (r *Repository) segmentPayloads(ctx context.Context, n SegmentName) (payloads []storage.Object, err error) {
	for o, err := range r.bucket.List(ctx, r.SegmentsPrefix(n.Timeline)+n.String()+".") {
		if err != nil {
			return nil, err
		}
		if _, record, ok := r.ParseSegmentKey(o.Key); ok && !record {
			payloads = append(payloads, o)
		}
	}
	return payloads, nil
}
