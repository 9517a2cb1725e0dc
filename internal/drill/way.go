package drill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// describeWay writes down what a plan found.
func (a *attempt) describeWay() {
	base, segments := a.way.Objects()
	out := a.out.Archived
	out.Timeline = base.Manifest.Timeline
	if w := a.way.Wanted; w != nil && w.Revision != nil {
		out.Revision = *w.Revision
	}
	for _, e := range segments {
		out.Bytes += e.Segment.Object.Size
	}
	way := a.way.Way()
	if out.Segments = len(way); out.Segments == 0 {
		return
	}
	sum := sha256.New()
	for _, e := range way {
		_, _ = io.WriteString(sum, e.Digest+"\n") // a hash takes everything
	}
	out.First, out.Last, out.SHA256 = way[0].Name.String(), way[len(way)-1].Name.String(), hex.EncodeToString(sum.Sum(nil))
}

// checkWay compares what the manifests of the segments say of each other. Their signatures were judged when they were listed.
func (a *attempt) checkWay(ctx context.Context) bool {
	return a.check(ctx, CheckSegmentChain, a.checkSegmentChain) && a.check(ctx, CheckFork, a.checkFork)
}

// checkSegmentChain looks whether each segment names as the one before what may come before it. One that is not there any more was
// pruned or merged into another, or never came to this target, which says nothing.
func (a *attempt) checkSegmentChain(c *proof.Check) error {
	way := a.way.Way()
	if len(way) == 0 {
		return skipped("the snapshot holds the revision itself")
	}
	by := make(map[string]*repo.Segment)
	for _, e := range a.way.Listed() {
		if e.Segment == nil {
			continue
		}
		by[e.Digest] = e.Segment
		if e.Segment.Merged != nil {
			by[e.Segment.Merged.Last] = e.Segment
		}
	}
	linked := 0
	for i, e := range way {
		s := e.Segment
		before := by[s.Previous]
		switch {
		case s.Previous == "":
		case before != nil && (before.First > s.First || before.Last > s.Last || before.Timeline != s.Timeline):
			return fmt.Errorf("segment %s names %s as the one before it", e.Name, before.Name())
		case before != nil:
			linked++
		case i > 0 && way[i-1].Signer == e.Signer && way[i-1].Segment.Member == s.Member && way[i-1].Segment.Last+1 == s.First && way[i-1].Segment.To.Equal(s.From):
			a.warn(fmt.Sprintf("segment %s names another one before it than %s, which is there", e.Name, way[i-1].Name))
		}
	}
	c.Found = fmt.Sprintf("%d of %d name one before that is there", linked, len(way))
	return nil
}

// checkFork compares the hashes of the revisions at which segments end: two writers that watched one history have the same.
func (a *attempt) checkFork(c *proof.Check) error {
	ends := make(map[int64]*repo.SegmentEntry)
	compared := 0
	listed := a.way.Listed()
	for i := range listed {
		e := &listed[i]
		if !e.Usable(false) || e.Segment.LastRevisionSHA256 == "" {
			continue
		}
		other := ends[e.Segment.Last]
		if other == nil {
			ends[e.Segment.Last] = e
			continue
		}
		if compared++; other.Segment.LastRevisionSHA256 != e.Segment.LastRevisionSHA256 {
			return fmt.Errorf("%w: segments %s and %s tell different things of revision %d", archive.ErrFork, other.Name, e.Name, e.Segment.Last)
		}
	}
	if compared == 0 {
		return skipped("no two segments end with one revision")
	}
	c.Found = fmt.Sprintf("%d segments end where another one does, with the same changes", compared)
	return nil
}

// archiveSteps are the steps of a restore in which segments are at fault.
var archiveSteps = []string{restore.StepSegments, restore.StepTell, restore.StepReplay, restore.StepCut, restore.StepCompare, restore.StepMade}

// wayFailed names the layer in which segments failed.
func (a *attempt) wayFailed(ctx context.Context, step *restore.StepError, seconds float64) bool {
	segment, err := new(archive.SegmentError), error(step)
	c := proof.Check{Name: CheckReplay, Seconds: seconds}
	switch {
	case step.Step == restore.StepSegments:
		c.Name, err = CheckSegments, a.segmentProblem(ctx, err)
	case step.Step == restore.StepCompare:
		if c.Name = CheckCheckpoints; !errors.Is(err, restore.ErrDiverged) {
			err = unsure{err}
		}
	case errors.As(err, &segment) && !errors.Is(err, archive.ErrFork):
		c.Name, err = CheckSegmentContent, a.contentProblem(segment)
	}
	return a.record(ctx, c, err)
}

// segmentProblem tells an object that is lost or damaged from one that could not be read, or was pruned meanwhile.
func (a *attempt) segmentProblem(ctx context.Context, err error) error {
	segment := new(archive.SegmentError)
	switch {
	case errors.Is(err, repo.ErrDamaged):
		return err
	case !errors.Is(err, storage.ErrNotExist) || !errors.As(err, &segment):
		return unsure{err}
	}
	if _, statErr := a.target.Repo.Bucket().Stat(ctx, a.target.Repo.SegmentRecordKey(segment.Name)); statErr != nil {
		return unsuref("the segment was pruned or merged during the drill: %w", errors.Join(err, statErr))
	}
	return err
}

// contentProblem tells a key that is for another object from a segment that was sealed for others than it says.
func (a *attempt) contentProblem(err *archive.SegmentError) error {
	if !errors.Is(err, seal.ErrNoIdentity) {
		return err
	}
	_, segments := a.way.Objects()
	i := slices.IndexFunc(segments, func(e *repo.SegmentEntry) bool { return e.Name == err.Name })
	if i < 0 {
		return unsure{err}
	}
	s := segments[i].Segment
	for _, id := range a.keys[a.target.Repo.SegmentPayloadKey(s)] {
		if of := seal.Fingerprint(id); of != "" && slices.Contains(s.Object.Recipients, of) {
			return err
		}
	}
	return unsure{err}
}

// segmentsFetched records that all segments are what was signed.
func (a *attempt) segmentsFetched(ctx context.Context, s *stepClock) {
	if a.point == nil || a.made(CheckSegments) {
		return
	}
	_, segments := a.way.Objects()
	if len(segments) == 0 {
		a.record(ctx, proof.Check{Name: CheckSegments}, skipped("the snapshot holds the revision itself"))
		return
	}
	a.record(ctx, proof.Check{Name: CheckSegments, Found: fmt.Sprintf("%d objects, %d bytes", len(segments), a.out.Archived.Bytes), Seconds: s.lap()}, nil)
}

// replayed records that the segments were opened, and led to a sound store.
func (a *attempt) replayed(ctx context.Context, s *stepClock) {
	if a.point == nil || a.made(CheckReplay) {
		return
	}
	if a.out.Archived.Segments == 0 {
		a.record(ctx, proof.Check{Name: CheckSegmentContent}, skipped("the snapshot holds the revision itself"))
	} else {
		a.record(ctx, proof.Check{Name: CheckSegmentContent}, nil)
	}
	a.record(ctx, proof.Check{Name: CheckReplay, Seconds: s.lap()}, nil)
}

// examineMade takes over the store at the revision: what etcd serves is compared with it.
func (a *attempt) examineMade(ctx context.Context, path string, r *restore.Result, s *stepClock) error {
	out := a.out.Archived
	out.Revision, out.Replayed = r.Revision, r.Replayed
	passed := a.check(ctx, CheckCheckpoints, func(c *proof.Check) error { return a.countCompared(c, r) })
	a.facts = r.Facts
	passed = passed && a.checkContents(ctx, CheckMade, path)
	s.lap()
	if !passed {
		return errConcluded
	}
	return nil
}

// countCompared says how many live members vouch for the store. Where segments led to it, one that contradicts all has ended
// the restore already.
func (a *attempt) countCompared(c *proof.Check, r *restore.Result) error {
	out := a.out.Archived
	for _, one := range r.Compared {
		if one.Result == repo.ResultEqual {
			out.Compared++
			continue
		}
		out.Differed++
		a.warn(fmt.Sprintf("member %s had other content at revision %d, compacted at %d, than this store: its HashKV was %d",
			one.Member, one.Revision, one.CompactRevision, one.Hash))
	}
	switch {
	case len(r.Compared) == 0:
		return skipped("no live hash covers it")
	case out.Compared == 0:
		return skipped("no live member agrees with what the snapshot holds of it")
	}
	c.Expected = fmt.Sprintf("%d at revision %d", r.Compared[0].Hash, r.Compared[0].Revision)
	c.Found = fmt.Sprintf("%d of %d hashes are equal, the newest at revision %d", out.Compared, len(r.Compared), r.Compared[0].Revision)
	return nil
}
