package past

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
)

// Archive is where the times of a history are looked for.
type Archive struct {
	Sources  []restore.Source
	Trust    *seal.Trust // nil: signatures do not count
	Timeline string
	// First and Last are the revisions that will be asked for: only segments with some of them are listed.
	First, Last int64
	Keys        []age.Identity
}

// Times finds out when revisions came to be: Need each of them, Read, then ask Of. It reads the commit records of the archive,
// and with Read those segments that hold one of the revisions.
type Times struct {
	*archive.Dates
	ways []archive.OpenFunc
}

// Times reads what the manifests tell. Sources that do not answer are left out: the error names them, and Times can be used all
// the same.
func (a Archive) Times(ctx context.Context) (*Times, error) {
	t := &Times{}
	var snapshots []repo.Entry
	var segments []repo.SegmentEntry
	var failed []error
	for _, s := range a.Sources {
		if err := a.look(ctx, s, &snapshots, &segments); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.Name, err))
			continue
		}
		t.ways = append(t.ways, func(ctx context.Context, segment *repo.Segment) (io.ReadCloser, error) {
			return archive.Open(ctx, s.Repo, segment, a.Keys)
		})
	}
	t.Dates = archive.NewHistory(a.Timeline, snapshots, segments, a.Trust == nil).Dates()
	if ctx.Err() != nil {
		return t, context.Cause(ctx)
	}
	return t, errors.Join(failed...)
}

func (a Archive) look(ctx context.Context, s restore.Source, snapshots *[]repo.Entry, segments *[]repo.SegmentEntry) error {
	c, err := s.Repo.Catalogue(ctx, a.Trust)
	if err != nil {
		return err
	}
	q := repo.SegmentQuery{Timeline: a.Timeline, After: a.First - 1, UpTo: a.Last}
	found, err := s.Repo.ListSegments(ctx, q, a.Trust)
	if err != nil {
		return err
	}
	*snapshots = append(*snapshots, c.Entries...)
	*segments = append(*segments, found.Entries...)
	return nil
}

// Read opens the segments that hold a revision that is needed.
func (t *Times) Read(ctx context.Context) error { return t.Dates.Read(ctx, t.ways...) }

// TimeText writes what is known of a time: "2026-11-22T10:15:30Z", "between A and B", "by B", "after A" or "not known".
func TimeText(s archive.Seen) string {
	text := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch {
	case !s.At.IsZero():
		return text(s.At)
	case !s.After.IsZero() && !s.By.IsZero():
		return "between " + text(s.After) + " and " + text(s.By)
	case !s.By.IsZero():
		return "by " + text(s.By)
	case !s.After.IsZero():
		return "after " + text(s.After)
	}
	return "not known"
}
