package replicate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// draftsDir is where segments grow: beside the repository in the spool, on the same file system. No bucket lists what is in it.
const draftsDir = ".segments"

// held is a segment in the spool.
type held struct {
	size int64     // bytes of all its files
	at   time.Time // when it was enqueued, by the clock of that moment
}

// placeTries bounds how often placeSegment makes its directory again, which goes when the last segment of it does.
const placeTries = 10

// signedSegment reads a commit record.
func (s *spool) signedSegment(n repo.SegmentName) (*repo.SignedSegment, error) {
	record, err := os.ReadFile(s.path(s.repo.SegmentRecordKey(n)))
	if err != nil {
		return nil, err
	}
	manifest, signature := repo.SplitSegmentRecord(record)
	seg, err := repo.DecodeSegment(manifest)
	switch {
	case errors.Is(err, repo.ErrNewerFormat): // by a later drd, which this one followed: it is good
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", repo.ErrDamaged, err)
	case seg.Name() != n || len(signature) == 0:
		return nil, repo.ErrDamaged
	}
	return &repo.SignedSegment{Segment: seg, Bytes: manifest, Signature: signature}, nil
}

// placeSegment gives a sealed object the name it has in a repository. There is no record yet. fresh: it was not there.
func (s *spool) placeSegment(temp string, seg *repo.Segment) (fresh bool, err error) {
	path := s.path(s.repo.SegmentPayloadKey(seg))
	for range placeTries {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			continue // a directory on the way went meanwhile
		}
		if err = os.Link(temp, path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("spool segment %s: %w", seg.Name(), err)
	}
	return true, nil
}

// segmentPayloads are the files of a segment but for its record: one, whose extension only the record tells. Without that it is
// looked for, which takes a directory of thousands to be read and so is no way to find them all.
func (s *spool) segmentPayloads(n repo.SegmentName) ([]string, error) {
	if signed, err := s.signedSegment(n); err == nil {
		return []string{s.path(s.repo.SegmentPayloadKey(signed.Segment))}, nil
	}
	home := filepath.Dir(s.path(s.repo.SegmentRecordKey(n)))
	files, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var found []string
	for _, f := range files {
		name, record, ok := s.repo.ParseSegmentKey(s.repo.SegmentsPrefix(n.Timeline) + f.Name())
		if ok && !record && name == n {
			found = append(found, filepath.Join(home, f.Name()))
		}
	}
	return found, nil
}

// segments lists what is enqueued. stray are segments of which there is a payload alone.
func (s *spool) segments(ctx context.Context) (found map[repo.SegmentName]held, stray []repo.SegmentName, err error) {
	found = make(map[repo.SegmentName]held)
	payloads := make(map[repo.SegmentName]int64)
	for o, err := range s.repo.Bucket().List(ctx, s.repo.SegmentsPrefix("")) {
		if err != nil {
			return nil, nil, fmt.Errorf("list the spool: %w", err)
		}
		switch n, record, ok := s.repo.ParseSegmentKey(o.Key); {
		case !ok:
		case record:
			found[n] = held{size: o.Size, at: o.Modified}
		default:
			payloads[n] += o.Size
		}
	}
	for n, size := range payloads {
		if h, ok := found[n]; ok {
			h.size += size
			found[n] = h
			continue
		}
		stray = append(stray, n)
	}
	return found, stray, nil
}

// sweepSegments removes what a killed archiver left: segments that were growing, and payloads without a record. Both also
// belong to one at work, so only who may archive may sweep.
func (s *spool) sweepSegments(ctx context.Context) error {
	homes, err := filepath.Glob(s.path(s.repo.SegmentsPrefix("")) + "/*")
	if err != nil {
		return fmt.Errorf("sweep the spool: %w", err)
	}
	for _, home := range append(homes, filepath.Join(s.root, draftsDir)) {
		if err := removeTemps(home); err != nil {
			return err
		}
	}
	_, stray, err := s.segments(ctx)
	for _, n := range stray {
		if err == nil {
			err = s.remove(segmentRef(n))
		}
	}
	return err
}
