package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
)

const (
	// SegmentKind keeps a signed segment from passing for a manifest or a drill record, and these for a segment.
	SegmentKind = "drd-segment"
	// SegmentFormat is the segment format that this drd writes, and the highest it reads.
	SegmentFormat = 1
	// maxSegment bounds a segment's manifest in bytes, as maxManifest does a snapshot's. Real ones take about 1.5 KiB.
	maxSegment = 64 << 10
)

// Segment describes one piece of the archive: every change of a range of revisions, and what is known of the time in which
// they happened. Its JSON form is what is signed; the fields stand there in this order. Texts, times and identifiers are as
// in a Manifest.
//
// A segment without changes is a silence: it says that nothing happened until To. Its Last is First-1.
type Segment struct {
	Kind          string `json:"kind"`   // SegmentKind
	Format        int    `json:"format"` // SegmentFormat
	Cluster       string `json:"cluster"`
	EtcdClusterID string `json:"etcd_cluster_id"`
	Timeline      string `json:"timeline"`
	Member        Member `json:"member"` // that was watched

	First  int64 `json:"first"`  // revision, from 1
	Last   int64 `json:"last"`   // revision; whole revisions only, none left out
	Events int64 `json:"events"` // changes in the payload: at least one for each revision

	// From is an instant at which nothing after First-1 had happened on the member, To one at which nothing after Last had,
	// as far as the member had told: To of one segment is From of the next one of the same writer. They come from the
	// writer's clock, which is held when it goes back (ClockSkewNote).
	From time.Time `json:"from"`
	To   time.Time `json:"to"`

	// CompactRevision is that of the member as it was known at To; -1: never compacted.
	CompactRevision int64 `json:"compact_revision"`
	// Checkpoints are hashes that live members gave meanwhile; at most 64. What is replayed must have them too.
	Checkpoints []Checkpoint `json:"checkpoints,omitempty"`
	// LastRevisionSHA256 is the hash of the changes of revision Last, see docs/archive.md: whoever goes on from there compares
	// it with what the member has now. "" in a silence whose writer did not know.
	LastRevisionSHA256 string `json:"last_revision_sha256"`
	// ClockSkewNote says that the wall clock went back, and by how many seconds.
	ClockSkewNote string `json:"clock_skew_note,omitempty"`

	Plain  SegmentPlain `json:"plain"`
	Object Object       `json:"object"`
	// Previous is the hex SHA-256 of the manifest that the same writer wrote before, "" for its first.
	Previous string `json:"previous"`
	// Merged is what it was made of; nil: it was written as it came.
	Merged *Merged `json:"merged,omitempty"`
	Base   string  `json:"base"` // ID of the snapshot that it follows, "" when not known
	Drd    Build   `json:"drd"`
}

// Merged says which segments a segment takes the place of: it holds all that they hold, and nothing else.
type Merged struct {
	Segments []string `json:"segments"` // the 8 hex digits of their names, in order; 2 to 2,000
	// Last is the hex SHA-256 of the manifest of the last of them: the segment that comes next names that as its Previous.
	Last string `json:"last"`
}

// Checkpoint is HashKV of a live member.
type Checkpoint struct {
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
	Hash            uint32 `json:"hash"`
	Member          string `json:"member"` // hex
}

// SegmentPlain is the payload before it was sealed.
type SegmentPlain struct {
	SHA256 string `json:"sha256"` // hex
	Size   int64  `json:"size"`   // bytes
}

// Silence reports whether nothing happened in the segment.
func (s *Segment) Silence() bool { return s.Last < s.First }

// Replaces reports whether all that a segment of this name holds is in this one as well, because it was made of that. What the
// name cannot tell is whether this one is there and usable.
func (s *Segment) Replaces(n SegmentName) bool {
	return s.Merged != nil && n != s.Name() && n.Timeline == s.Timeline && n.First >= s.First && n.Last <= s.Last &&
		slices.Contains(s.Merged.Segments, n.Hash)
}

// Name is what its keys have in common.
func (s *Segment) Name() SegmentName {
	return SegmentName{Timeline: s.Timeline, First: s.First, Last: s.Last, Hash: s.Object.SHA256[:min(len(s.Object.SHA256), hashDigits)]}
}

// SignedSegment is a segment's commit record as it is written.
type SignedSegment struct {
	Segment   *Segment // what Bytes say
	Bytes     []byte   // the manifest, with the line feed at its end: what is signed
	Signature []byte   // armored
}

// Digest is the hex SHA-256 of the manifest's bytes: what the next segment of this writer carries as Previous.
func (s *SignedSegment) Digest() string { return Digest(s.Bytes) }

// Record is the content of the commit record: the manifest, then the signature.
func (s *SignedSegment) Record() []byte {
	return append(append([]byte(nil), s.Bytes...), s.Signature...)
}

// SignSegment validates a segment, renders it and signs what was rendered. The Segment in the result is read back from the
// bytes.
func SignSegment(s *Segment, signer *seal.Signer) (*SignedSegment, error) {
	b, read, err := renderSegment(s)
	if err != nil {
		return nil, fmt.Errorf("sign segment %s: %w", s.Name(), err)
	}
	signature, err := signer.Sign(b)
	if err != nil {
		return nil, fmt.Errorf("sign segment %s: %w", s.Name(), err)
	}
	return &SignedSegment{Segment: read, Bytes: b, Signature: signature}, nil
}

func renderSegment(s *Segment) ([]byte, *Segment, error) {
	if err := s.Validate(); err != nil {
		return nil, nil, err
	}
	b, err := EncodeJSON(s)
	if err != nil {
		return nil, nil, fmt.Errorf("render: %w", err)
	}
	read, err := DecodeSegment(b)
	if err != nil {
		return nil, nil, fmt.Errorf("read back what was rendered: %w", err)
	}
	return b, read, nil
}

// DecodeSegment reads a segment's manifest and validates it: at most 64 KiB of UTF-8 JSON, every key once; fields this drd does
// not know are ignored. One of a later format is an error wrapping ErrNewerFormat. It says nothing of the signature.
func DecodeSegment(b []byte) (*Segment, error) {
	if err := CheckJSON(b, maxSegment); err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	return decodeSegment(b)
}

// decodeSegment is DecodeSegment for what CheckJSON has accepted.
func decodeSegment(b []byte) (*Segment, error) {
	if err := checkSegmentKind(b); err != nil {
		return nil, err
	}
	s := new(Segment)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s.From, s.To = s.From.UTC(), s.To.UTC()
	if len(s.Checkpoints) == 0 {
		s.Checkpoints = nil
	}
	return s, nil
}

// checkSegmentKind looks at kind and format alone: in a later format the other fields may have other types.
func checkSegmentKind(b []byte) error {
	var probe struct {
		Kind   string `json:"kind"`
		Format int    `json:"format"`
	}
	if err := json.Unmarshal(b, &probe); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	switch {
	case probe.Kind != SegmentKind:
		return fmt.Errorf("segment: kind %.40q is not %s", probe.Kind, SegmentKind)
	case probe.Format < 1:
		return errors.New("segment: format is missing")
	case probe.Format > SegmentFormat:
		return hint.New(fmt.Errorf("%w: segment format %d, known are up to %d", ErrNewerFormat, probe.Format, SegmentFormat),
			"upgrade drd to the version that wrote this repository")
	}
	return nil
}

// signatureLine begins the second part of a commit record. A line of JSON never begins so.
var signatureLine = []byte("-----BEGIN SSH SIGNATURE")

// SplitSegmentRecord divides a commit record into the manifest, with its last line feed, and the signature over it. A record
// without a signature has all of it in the manifest.
func SplitSegmentRecord(record []byte) (manifest, signature []byte) {
	if i := bytes.Index(record, append([]byte("\n"), signatureLine...)); i >= 0 {
		return record[:i+1], record[i+1:]
	}
	return record, nil
}
