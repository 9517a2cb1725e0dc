package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// maxDetours bounds how often a run looks for another way to its point.
const maxDetours = 16

// makeStore makes the store at the wanted point. An object of the chain that cannot be used is gone around where that leads to the very
// same point; else the run fails, and says how to get the nearest one.
func (r *run) makeStore(ctx context.Context, ids []age.Identity) error {
	for {
		err := r.attempt(ctx, ids)
		name := blame(err, r.chain)
		if err == nil || name == "" || ctx.Err() != nil || r.history == nil || r.options.Direct {
			return err
		}
		r.unusable = append(r.unusable, name)
		if err := r.detour(ctx, name, err); err != nil {
			return err
		}
	}
}

// attempt makes the store from the chain as it is.
func (r *run) attempt(ctx context.Context, ids []age.Identity) (err error) {
	r.unopened = nil
	defer func() {
		if err != nil { // what was downloaded is not opened any more
			noteSegments(ctx, audit.SegmentsOpen, r.unopened, "", err)
		}
	}()
	r.manifest = r.chain.Base.Manifest
	r.result.ID, r.result.SnapshotRevision = r.manifest.ID, r.manifest.Revision
	for _, step := range []func() error{
		func() error { return r.stage(ctx) },
		func() error { return r.findRevision(ctx, ids) },
		func() error { return r.fetch(ctx, ids) },
		func() error { return r.check(ctx) },
		func() error { return r.advance(ctx, ids) },
	} {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// blame is the object that another way might do without, "" when there is none: an error of this machine, a wrong key and a
// fork of the history go with any.
func blame(err error, c *archive.Chain) string {
	segment, fetch := new(archive.SegmentError), new(fetchError)
	switch {
	case err == nil, !curable(err), errors.Is(err, archive.ErrFork):
		return ""
	case errors.As(err, &segment):
		return segment.Name.String()
	case errors.As(err, &fetch):
		return c.Base.ID.String()
	}
	return ""
}

// detour chooses another chain to the same point and clears the way for it. Its error is why, when there is none.
func (r *run) detour(ctx context.Context, name string, cause error) error {
	next, err := r.around(ctx)
	if err != nil || len(r.unusable) > maxDetours {
		gap := new(archive.Unreachable)
		if errors.As(err, &gap) && gap.Before != nil {
			cause = hint.New(fmt.Errorf("%w; without it the newest point before is revision %d", cause, gap.Before.Revision),
				"restore what is there: --revision %d", gap.Before.Revision)
		}
		return cause
	}
	r.notice("%v; going on without %s, from snapshot %s", cause, name, next.Base.ID)
	r.chain = next
	if err := os.Remove(r.ws.path(scratchDB)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the incomplete store: %w", err)
	}
	return nil
}

// around is a chain to the point without what cannot be used. What lies further back is read only when it must be.
func (r *run) around(ctx context.Context) (*archive.Chain, error) {
	next, err := r.reach(r.history.Without(r.unusable...))
	if err == nil || r.list == nil || r.readAll {
		return next, err
	}
	r.readAll = true
	r.history, r.found = r.list(ctx, 0)
	return r.reach(r.history.Without(r.unusable...))
}

// reach finds a chain to the point. Once it is known which revision was there at a time, that is the point: another clock might
// tell another one.
func (r *run) reach(h *archive.History) (*archive.Chain, error) {
	find := func() (*archive.Chain, error) { return h.AtRevision(r.revision) }
	if !r.told {
		find = func() (*archive.Chain, error) { return h.AtTime(r.chain.Time) }
	}
	c, err := find()
	if err != nil {
		return nil, err
	}
	return r.reachBack(h, c)
}

// findRevision reads which revision was there at the times that were asked for.
func (r *run) findRevision(ctx context.Context, ids []age.Identity) error {
	if !r.told && r.chain.Clock == nil { // another way needs none
		r.revision, r.told = r.chain.High, true
	}
	if r.told && (r.past.low == 0 || r.since != 0) {
		return nil
	}
	return r.step(StepTell, 0, func() (err error) {
		clocks := r.clocks()
		defer func() { noteSegments(ctx, audit.SegmentsOpen, clocks, "", err) }()
		open := r.opener(ids)
		if err := r.findPast(ctx, open); err != nil || r.told {
			return err
		}
		m, err := archive.RevisionAt(ctx, r.chain, open)
		if err != nil {
			return err
		}
		r.revision, r.told = m.Revision, true
		if !m.Exact() {
			r.notice("revisions %d to %d were not seen in time: they may have come before or after %s, and are left out; --revision %d has them",
				r.revision+1, m.Highest, r.chain.Time.Format(time.RFC3339), m.Highest)
		}
		return nil
	})
}

// clocks are the segments that tell the times which are not known yet.
func (r *run) clocks() (found []*repo.SegmentEntry) {
	if c := r.past.clock; c != nil && c.Clock != nil && r.past.low != 0 && r.since == 0 {
		found = append(found, c.Clock)
	}
	if c := r.chain.Clock; c != nil && !r.told && (len(found) == 0 || found[0].Name != c.Name) {
		found = append(found, c)
	}
	return found
}

// advance brings the store from the revision of the snapshot to the wanted one, forward or back.
func (r *run) advance(ctx context.Context, ids []age.Identity) error {
	switch {
	case r.options.onlyBase() || r.revision == r.facts.Revision:
		return nil
	case r.revision < r.facts.Revision:
		return r.cut(ctx, r.revision)
	}
	return r.replay(ctx, ids)
}

// replay adds the changes of the segments.
func (r *run) replay(ctx context.Context, ids []age.Identity) error {
	return r.step(StepReplay, 0, func() error {
		made, err := r.replayInto(ctx, ids)
		r.unopened = nil
		noteSegments(ctx, audit.SegmentsOpen, r.chain.Segments, "", err)
		if err != nil {
			return err
		}
		r.replayed = made.Applied
		return r.inspectMade(ctx, made.Hash)
	})
}

// opener opens staged segments; nil where there are none.
func (r *run) opener(ids []age.Identity) archive.OpenFunc {
	if r.staging == nil {
		return nil
	}
	return r.staging.open(r.keys(ids))
}

// keys are those that open an object.
func (r *run) keys(ids []age.Identity) keyFunc {
	if r.options.Keys != nil {
		return r.options.Keys
	}
	return func(context.Context, string) ([]age.Identity, error) { return ids, nil }
}

func (r *run) replayInto(ctx context.Context, ids []age.Identity) (*archive.Replayed, error) {
	db, err := openStore(r.ws.path(scratchDB))
	if err != nil {
		return nil, err
	}
	made, err := r.chain.Apply(ctx, db, r.revision, r.opener(ids))
	if closeErr := db.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("close the store made at revision %d: %w", r.revision, closeErr)
	}
	switch {
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		err = local("add the changes of the segments", err)
	case errors.Is(err, archive.ErrFork):
		err = hint.New(err, "two histories have one name: find out which one is wanted, and restore a snapshot of it with --id")
	}
	return made, err
}

// fetchError is why no target delivered a snapshot.
type fetchError struct{ err error }

func (e *fetchError) Error() string { return e.err.Error() }
func (e *fetchError) Unwrap() error { return e.err }

// candidates are the sources that hold a snapshot, in order.
func (r *run) candidates() []candidate {
	if r.chain.Base.Digest == r.plan.candidates[0].entry.Digest {
		return r.plan.candidates
	}
	f := finding{}
	f.locate(r.plan.looks, r.chain.Base, r.request)
	return f.candidates
}

// sealedFor reports a segment for each set of recipients in a chain: keys may have changed on the way.
func sealedFor(a aim) []*repo.SegmentEntry {
	var out []*repo.SegmentEntry
	seen := make(map[string]bool)
	for _, e := range needs(a) {
		if key := fmt.Sprint(e.Segment.Object.Recipients); !seen[key] {
			seen[key] = true
			out = append(out, e)
		}
	}
	return out
}

// header reads the header of a segment from the first source that delivers it.
func (a *archives) header(ctx context.Context, e *repo.SegmentEntry, insecure bool) ([]byte, error) {
	var failed []error
	for _, s := range a.locate(e, insecure) {
		r, err := s.Repo.Bucket().Open(ctx, s.Repo.SegmentPayloadKey(e.Segment), 0, min(e.Segment.Object.Size, headerRoom))
		if err == nil {
			var header []byte
			header, err = seal.Header(r)
			if err = errors.Join(err, r.Close()); err == nil {
				return header, nil
			}
		}
		failed = append(failed, fmt.Errorf("read header of segment %s from %s: %w", e.Name, s.Name, err))
	}
	return nil, errors.Join(failed...)
}
