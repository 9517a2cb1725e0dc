package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// EnqueueSegment takes a segment into the spool, whose sealed object is at path, in SegmentsDir and on the disk. Once it returns
// nil, the segment reaches every target, or is recorded as a gap of those that it does not reach. The file stays for the
// caller to remove. key is retained for the proofs. It may be called again after a failure; an equal segment that is there is
// success.
//
// Older segments and snapshots are dropped if the spool is too large now.
func (q *Queue) EnqueueSegment(ctx context.Context, path string, signed *repo.SignedSegment, key seal.FileKey) error {
	seg := signed.Segment
	if err := os.MkdirAll(q.SegmentsDir(), 0o700); err != nil {
		return fmt.Errorf("spool segment %s: %w", seg.Name(), err)
	}
	fresh, err := q.spool.placeSegment(path, seg)
	if err != nil {
		return hint.New(err, "look at the disk of state_dir: `df -h`, `df -i`, `dmesg`")
	}
	if err := q.cfg.Keys.Append(q.spool.repo.SegmentPayloadKey(seg), key); err != nil {
		// As for a snapshot: only later proofs are weaker.
		q.cfg.Log.Warn("the file key is not retained on disk", problem(err, "segment", seg.Name().String())...)
	}
	err = q.spool.commitSegment(ctx, signed)
	if errors.Is(err, repo.ErrVanished) {
		return nil // a worker was faster: it has brought the segment everywhere, or recorded why not
	}
	if err != nil {
		if fresh {
			err = errors.Join(err, q.spool.remove(segmentRef(seg.Name())))
		}
		return err
	}
	record := int64(len(signed.Bytes) + len(signed.Signature))
	q.backlog.add(seg.Name(), held{size: seg.Object.Size + record, at: time.Now()})
	for _, f := range q.followers {
		f.recount()
		f.signal()
	}
	if err := q.bound(context.WithoutCancel(ctx), segmentRef(seg.Name())); err != nil {
		q.cfg.Log.Error("the spool is larger than it may be", problem(err)...)
	}
	return nil
}

// SweepSegments removes what a killed archiver left in the spool and makes SegmentsDir. The caller must be the only one of this
// node that archives.
func (q *Queue) SweepSegments(ctx context.Context) error {
	if err := os.MkdirAll(q.SegmentsDir(), 0o700); err != nil {
		return fmt.Errorf("sweep the spool: %w", err)
	}
	return q.spool.sweepSegments(ctx)
}

// errNotPlaced is what opens in place of a payload that must be there.
var errNotPlaced = errors.New("the payload is not in the spool")

// commitSegment makes the segment an entry, after it has compared the payload with what was signed.
func (s *spool) commitSegment(ctx context.Context, signed *repo.SignedSegment) error {
	err := s.repo.PutSegment(ctx, signed, func() (io.ReadCloser, error) { return nil, errNotPlaced })
	if err != nil {
		return hint.New(fmt.Errorf("spool: %w", err), "look at the disk of state_dir: `df -h`, `df -i`, `dmesg`")
	}
	return nil
}
