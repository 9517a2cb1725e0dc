package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
)

// Position is the end of what is archived, and all that its owner must remember.
type Position struct {
	Timeline      string
	EtcdClusterID string // in hex, "" not known
	// Revision is the last one that is archived. 0: Run begins with whatever happens next.
	Revision int64
	// RevisionSHA256 is the hash of its changes (archive.RevisionSHA256). "" not known: then nothing can be compared, and
	// nothing is.
	RevisionSHA256 string
	Manifest       string    // digest of the manifest of the last segment, "" none
	Base           string    // ID of the snapshot that the archive follows, "" not known
	Time           time.Time // an instant up to which the archive tells; zero: as if it were when Run begins
	// RevisionBytes is how large a revision was on average, to estimate what is missing; 0 not known.
	RevisionBytes int64
}

// After is the position at the end of a segment, manifest being the digest of its manifest. It needs nothing else, so that
// it can be made of what lies in a repository.
func After(s *repo.Segment, manifest string) Position {
	p := Position{
		Timeline: s.Timeline, EtcdClusterID: s.EtcdClusterID, Revision: s.Last, RevisionSHA256: s.LastRevisionSHA256,
		Manifest: manifest, Base: s.Base, Time: s.To,
	}
	if revisions := s.Last - s.First + 1; revisions > 0 {
		p.RevisionBytes = s.Plain.Size / revisions
	}
	return p
}

// AtSnapshot is the position of a snapshot, whose store tx reads: from there the archive of a new timeline goes on. Of a
// snapshot whose last revision was compacted, which a quiet cluster has, the hash is not known.
func AtSnapshot(ctx context.Context, tx *bolt.Tx, m *repo.Manifest) (Position, error) {
	p := Position{Timeline: m.Timeline, EtcdClusterID: m.EtcdClusterID, Revision: m.Revision, Base: m.ID, Time: m.CaptureEnd}
	if m.CompactRevision >= m.Revision || m.Revision == 1 { // revision 1 is the empty store
		return p, nil
	}
	var err error
	p.RevisionSHA256, err = storedHash(ctx, tx, m.Revision)
	if err != nil {
		return Position{}, fmt.Errorf("position of snapshot %s: %w", m.ID, err)
	}
	return p, nil
}

// storedHash is the hash of a revision's changes in a store that holds all of them.
func storedHash(ctx context.Context, tx *bolt.Tx, revision int64) (string, error) {
	h := newHasher(revision)
	if err := mvcc.Extract(ctx, tx, revision-1, revision, h.add); err != nil {
		return "", err
	}
	return h.sum()
}

// hasher finds the hash of one revision without keeping its changes, which may be a million.
type hasher struct{ stream *archive.Writer }

func newHasher(revision int64) *hasher {
	h := &hasher{stream: archive.NewWriter(nowhere{}, revision)}
	h.stream.Stamp(time.Unix(1, 0)) // a stream wants one; it is no part of the hash
	return h
}

func (h *hasher) add(e mvcc.Entry) error {
	kv, err := mvcc.ParseValue(e.Value)
	if err != nil {
		return err
	}
	if kv.Lease != 0 {
		h.stream.Lease(kv.Lease, 0)
	}
	return h.stream.Append(e)
}

// sum ends the hasher. No change at all is an error.
func (h *hasher) sum() (string, error) {
	s, err := h.stream.Close()
	if err != nil {
		return "", err
	}
	if s.Entries == 0 {
		return "", errors.New("it has no changes of its last revision")
	}
	return s.LastRevisionSHA256, nil
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
