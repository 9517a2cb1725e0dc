package repo

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/seal"
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
			objects := segmentObjects{SegmentEntry: *e}
			objects.State = ""
			if e.Payload.Key != "" {
				objects.payloads = append(objects.payloads, e.Payload)
			}
			r.judgeSegment(ctx, &objects, trust)
			*e = objects.SegmentEntry
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("read segments of %s in %s: %w", r.cluster, r.bucket.Location(), err)
	}
	return nil
}
