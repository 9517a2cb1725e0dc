package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage/dir"
)

// parallelSegments is how many segments are downloaded at the same time: they are small, and what takes time is the way there and
// back.
const parallelSegments = 8

// staging is a repository in the working directory. Sealed segments lie there as in a target, so that all are known to be
// what was signed before the first is used, and one that a target cannot deliver is found before the snapshot is downloaded.
type staging struct {
	root string
	repo *repo.Repository
}

func newStaging(root, cluster string) (*staging, error) {
	bucket, err := dir.Open(root, dir.Options{Create: true})
	if err != nil {
		return nil, &LocalError{err}
	}
	r, err := repo.Open(bucket, cluster)
	if err != nil {
		return nil, err
	}
	return &staging{root: root, repo: r}, nil
}

func (s *staging) path(segment *repo.Segment) string {
	return filepath.Join(s.root, filepath.FromSlash(s.repo.SegmentPayloadKey(segment)))
}

// open is an archive.OpenFunc for what was staged.
func (s *staging) open(keys keyFunc) archive.OpenFunc {
	return func(ctx context.Context, segment *repo.Segment) (io.ReadCloser, error) {
		ids, err := keys(ctx, s.repo.SegmentPayloadKey(segment))
		if err != nil {
			return nil, fmt.Errorf("open segment %s: %w", segment.Name(), err)
		}
		return archive.Open(ctx, s.repo, segment, ids)
	}
}

// stage downloads the segments that the chain needs and that are not there yet.
func (r *run) stage(ctx context.Context) error {
	needed := needs(r.aim)
	if len(needed) == 0 {
		return nil
	}
	var total int64
	for _, e := range needed {
		total += e.Segment.Object.Size
	}
	return r.step(StepSegments, total, func() (err error) {
		if r.staging == nil {
			if r.staging, err = newStaging(r.ws.path(scratchSegments), r.manifest.Cluster); err != nil {
				return err
			}
		}
		noteSegments(ctx, audit.SegmentsFetch, needed, audit.Begun, nil)
		r.unopened = needed
		return r.download(ctx, needed)
	})
}

// keyFunc returns what opens the object of a key in its target.
type keyFunc func(ctx context.Context, key string) ([]age.Identity, error)

// needs are the segments of a chain, with those that tell the times.
func needs(a aim) []*repo.SegmentEntry {
	all := append([]*repo.SegmentEntry(nil), a.chain.Segments...)
	clocks := []*archive.Chain{a.chain}
	if a.clock != nil {
		clocks = append(clocks, a.clock)
	}
	for _, c := range clocks {
		there := func(e *repo.SegmentEntry) bool { return e.Name == c.Clock.Name }
		if c.Clock != nil && !slices.ContainsFunc(all, there) {
			all = append(all, c.Clock)
		}
	}
	return all
}

// noteSegments keeps in the audit log what was done with segments, in one record: there are thousands.
func noteSegments(ctx context.Context, what audit.Name, segments []*repo.SegmentEntry, outcome audit.Outcome, err error) {
	if len(segments) == 0 {
		return
	}
	first, last := segments[0].Name, segments[len(segments)-1].Name
	audit.Note(ctx, audit.Event{Name: what, Outcome: outcome, Object: first.String() + " to " + last.String(), Count: int64(len(segments)), Err: err})
}

func (r *run) download(ctx context.Context, needed []*repo.SegmentEntry) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelSegments)
	done := make(chan int64)
	told := make(chan struct{})
	go func() { // progress is told from one goroutine
		defer close(told)
		for n := range done {
			r.progress.Add(n)
			r.result.ObjectBytes += n
		}
	}()
	for _, e := range needed {
		if _, err := os.Lstat(r.staging.path(e.Segment)); err == nil {
			continue // from an earlier attempt
		}
		g.Go(func() error {
			if err := r.downloadOne(gctx, e); err != nil {
				return err
			}
			done <- e.Segment.Object.Size
			return nil
		})
	}
	err := g.Wait()
	close(done)
	<-told
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// downloadOne tries one source after the other.
func (r *run) downloadOne(ctx context.Context, e *repo.SegmentEntry) error {
	var failed []error
	for _, s := range r.found.locate(e, r.request.InsecureSkipSignature) {
		err := r.staging.fetch(ctx, s.Repo, e.Segment)
		if err == nil {
			return nil
		}
		if !curable(err) || ctx.Err() != nil {
			return err
		}
		failed = append(failed, fmt.Errorf("fetch from %s: %w", s.Name, err))
	}
	return &archive.SegmentError{Name: e.Name, Err: errors.Join(failed...)}
}

// fetch copies one sealed segment, under a name of its own until it was found to be what its manifest says.
func (s *staging) fetch(ctx context.Context, from *repo.Repository, segment *repo.Segment) (err error) {
	sealed, err := from.SegmentPayload(ctx, segment)
	if err != nil {
		return err
	}
	defer sealed.Close()
	path := s.path(segment)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return local("stage a segment", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "part-*")
	if err != nil {
		return local("stage a segment", err)
	}
	out := &localWriter{f}
	_, err = io.Copy(out, sealed)
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = local("stage a segment", closeErr)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

// localWriter tells a full disk from a failing source.
type localWriter struct{ f *os.File }

func (w *localWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil {
		err = local("stage a segment", err)
	}
	return n, err
}
