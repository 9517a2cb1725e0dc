package follow

import (
	"errors"
	"time"

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
