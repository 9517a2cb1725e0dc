package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage"
)

// The archive lies beside the snapshots, two objects for each segment: the sealed payload, <name>.zst.age, and the commit
// record, <name>.signed, which is manifest and signature in one: a segment is written every few seconds, and each object
// costs a request. What a payload holds is package archive's business.
const (
	archiveDir    = "archive"
	segmentRecord = ".signed"
	hashDigits    = 8 // of the SHA-256 of the sealed object, in a name
)

var (
	segmentPattern   = regexp.MustCompile(`^([0-9]{19})-([0-9]{19})-([0-9a-f]{8})(\.[a-z0-9.]{1,50})$`)
	segmentExtension = regexp.MustCompile(`^(\.[a-z0-9]{1,16}){2,4}$`) // of a payload: the record's has one part
)

// SegmentName names one segment. Two writers may archive the same range; the hash keeps their objects apart.
type SegmentName struct {
	Timeline    string
	First, Last int64
	Hash        string // 8 hex digits
}

// String is the name without the timeline, which sorts by revision.
func (n SegmentName) String() string { return fmt.Sprintf("%019d-%019d-%s", n.First, n.Last, n.Hash) }

// parseSegmentName splits the name of an object into its segment's and the extension.
func parseSegmentName(timeline, object string) (n SegmentName, extension string, ok bool) {
	part := segmentPattern.FindStringSubmatch(object)
	if part == nil || !timelinePattern.MatchString(timeline) || (part[4] != segmentRecord && !segmentExtension.MatchString(part[4])) {
		return SegmentName{}, "", false
	}
	first, err1 := strconv.ParseInt(part[1], 10, 64)
	last, err2 := strconv.ParseInt(part[2], 10, 64)
	ok = err1 == nil && err2 == nil && first >= 1 && last >= first-1
	return SegmentName{Timeline: timeline, First: first, Last: last, Hash: part[3]}, part[4], ok
}

// SegmentsPrefix begins the keys of all segments of a timeline, or of all timelines when it is "".
func (r *Repository) SegmentsPrefix(timeline string) string {
	if timeline != "" {
		timeline += "/"
	}
	return r.cluster + "/" + archiveDir + "/" + timeline
}

// SegmentRecordKey is the key of a segment's commit record.
func (r *Repository) SegmentRecordKey(n SegmentName) string {
	return r.SegmentsPrefix(n.Timeline) + n.String() + segmentRecord
}

// SegmentPayloadKey is the key of a segment's sealed content.
func (r *Repository) SegmentPayloadKey(s *Segment) string {
	return r.SegmentsPrefix(s.Timeline) + s.Object.Name
}

// ParseSegmentKey says which segment an object belongs to, and whether it is the commit record. ok is false for a key that no
// segment's object has.
func (r *Repository) ParseSegmentKey(key string) (n SegmentName, record, ok bool) {
	rest, ok := strings.CutPrefix(key, r.SegmentsPrefix(""))
	if !ok {
		return SegmentName{}, false, false
	}
	timeline, object, _ := strings.Cut(rest, "/")
	n, extension, ok := parseSegmentName(timeline, object)
	return n, extension == segmentRecord, ok
}

// PutSegment writes the payload, which open opens, then the commit record, and reads the record back. It may be called again
// after any failure, with the same SignedSegment: what is there already with equal content is success, and other content is
// an error wrapping ErrConflict. The payload is not opened when it is there.
func (r *Repository) PutSegment(ctx context.Context, s *SignedSegment, open func() (io.ReadCloser, error)) error {
	seg, err := r.checkSegment(s)
	if err != nil {
		return err
	}
	if err := r.PutSegmentPayload(ctx, seg, open); err != nil {
		return err
	}
	return r.CommitSegment(ctx, s)
}

// PutSegmentPayload is the first half of PutSegment: the payload alone, so that it can be read back before the record makes a segment
// of it.
func (r *Repository) PutSegmentPayload(ctx context.Context, s *Segment, open func() (io.ReadCloser, error)) error {
	err := s.Validate()
	if err == nil && s.Cluster != r.cluster {
		err = fmt.Errorf("it is of cluster %s, this is the repository of %s", s.Cluster, r.cluster)
	}
	if err == nil {
		_, err = r.putPayload(ctx, r.SegmentPayloadKey(s), open, s.Object.Size, s.Object.SHA256)
	}
	if err != nil {
		return fmt.Errorf("store segment %s in %s: %w", s.Name(), r.bucket.Location(), err)
	}
	return nil
}

// CommitSegment is the second half of PutSegment: the record. The payload must be there.
func (r *Repository) CommitSegment(ctx context.Context, s *SignedSegment) error {
	seg, err := r.checkSegment(s)
	if err != nil {
		return err
	}
	if err := r.putSmall(ctx, r.SegmentRecordKey(seg.Name()), s.Record()); err != nil {
		return fmt.Errorf("store segment %s in %s: %w", seg.Name(), r.bucket.Location(), err)
	}
	return nil
}

// checkSegment checks what is about to be written, and returns the segment that the bytes describe, which counts.
func (r *Repository) checkSegment(s *SignedSegment) (*Segment, error) {
	seg, err := DecodeSegment(s.Bytes)
	if err != nil {
		return nil, fmt.Errorf("store segment: %w", err)
	}
	if seg.Cluster != r.cluster {
		return nil, fmt.Errorf("store segment %s: it is of cluster %s, this is the repository of %s", seg.Name(), seg.Cluster, r.cluster)
	}
	if manifest, signature := SplitSegmentRecord(s.Record()); len(manifest) != len(s.Bytes) || len(signature) == 0 || len(signature) > maxSignature {
		return nil, fmt.Errorf("store segment %s: a signature of %d bytes that is none", seg.Name(), len(s.Signature))
	}
	return seg, nil
}

// SegmentPayload opens the sealed object of a segment, as Payload does that of a snapshot: until io.EOF nothing is proved. Of
// an object that is not there the first Read says so, wrapping storage.ErrNotExist. The reader must be closed.
func (r *Repository) SegmentPayload(ctx context.Context, s *Segment) (io.ReadCloser, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Cluster != r.cluster {
		return nil, fmt.Errorf("segment %s is of cluster %s, this is the repository of %s", s.Name(), s.Cluster, r.cluster)
	}
	return r.fetch(ctx, r.SegmentPayloadKey(s), s.Object.Size, s.Object.SHA256), nil
}

// CheckSegmentPayload reads the sealed object of a segment whole: with nil it is there, and is the one that was signed.
func (r *Repository) CheckSegmentPayload(ctx context.Context, s *Segment) error {
	payload, err := r.SegmentPayload(ctx, s)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, payload)
	return errors.Join(err, payload.Close())
}

// SegmentEntry is one segment as it was found.
type SegmentEntry struct {
	Name  SegmentName
	State State // as of an Entry
	// Problem is all that is wrong, on one printable line of at most 300 bytes; nil for StateOK, StateUnverified and
	// StateUnread.
	Problem error
	Segment *Segment       // nil when it was not read, or cannot be believed
	Digest  string         // hex SHA-256 of the manifest's bytes, "" when they were not read
	Signer  seal.Signed    // zero unless the signature is good
	Payload storage.Object // as listed; zero when it is not there
	Record  storage.Object // the commit record as listed; zero when it is not there
}
