package repo

import (
	"fmt"
	"regexp"
	"strings"
)

const (
	maxCheckpoints = 64  // those of one compaction a minute of ten members, and more than etcd remembers
	maxNote        = 200 // bytes of a note
	// minPlain is the size in bytes of the smallest payload: the mark, the first revision and the end.
	minPlain = 11
	// MaxMerged is how many segments one takes the place of: an hour has 720 at one every five seconds. With as
	// many, and the most of everything else, the manifest keeps within maxSegment.
	MaxMerged = 2000
)

var segmentHashPattern = regexp.MustCompile(`^[0-9a-f]{8}$`)

// Validate checks everything that holds for every segment of this format. The error names what does not, up to a bound,
// on one line.
func (s *Segment) Validate() error {
	var p problems
	p.segmentIdentity(s)
	p.segmentRange(s)
	p.segmentContent(s)
	p.merged(s.Merged)
	p.atMost(maxCheckpoints, "checkpoints", len(s.Checkpoints))
	for i, c := range s.Checkpoints[:min(len(s.Checkpoints), maxCheckpoints)] {
		p.match(hex64Pattern, fmt.Sprintf("checkpoints[%d].member", i), c.Member)
		p.unless(c.Revision >= 1 && c.CompactRevision >= -1 && c.CompactRevision <= c.Revision,
			"checkpoints[%d]: revision %d and compact revision %d contradict each other", i, c.Revision, c.CompactRevision)
	}
	p.printable("member.name", s.Member.Name)
	p.printable("clock_skew_note", s.ClockSkewNote)
	p.unless(len(s.ClockSkewNote) <= maxNote, "clock_skew_note: %d bytes, at most %d are allowed", len(s.ClockSkewNote), maxNote)
	p.printable("drd", s.Drd.Version, s.Drd.FIPSModule)
	p.printable("object.recipients", s.Object.Recipients...)
	if len(p) == 0 {
		return nil
	}
	if more := len(p) - maxProblems; more > 0 {
		p = append(p[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("segment: %s", strings.Join(p, "; "))
}

func (p *problems) segmentIdentity(s *Segment) {
	p.unless(s.Kind == SegmentKind, "kind: %.40q is not %s", s.Kind, SegmentKind)
	p.unless(s.Format == SegmentFormat, "format: %d is not %d", s.Format, SegmentFormat)
	if err := ValidClusterName(s.Cluster); err != nil {
		p.unless(false, "cluster: %v", err)
	}
	p.match(hex64Pattern, "etcd_cluster_id", s.EtcdClusterID)
	p.match(timelinePattern, "timeline", s.Timeline)
	p.match(hex64Pattern, "member.id", s.Member.ID)
	if s.Previous != "" {
		p.match(sha256Pattern, "previous", s.Previous)
	}
	if s.Base != "" {
		if _, err := ParseID(s.Base); err != nil {
			p.unless(false, "base: %v", err)
		}
	}
	p.unless(s.Drd.Version != "", "drd.version: empty")
}

func (p *problems) segmentRange(s *Segment) {
	p.unless(s.First >= 1, "first: %d is below 1", s.First)
	p.unless(s.Last >= s.First-1, "last: %d is before first", s.Last)
	p.unless(s.Events >= s.Last-s.First+1, "events: %d is less than the number of revisions", s.Events)
	p.unless(!s.Silence() || s.Events == 0, "events: %d in a silence", s.Events)
	p.unless(isUTC(s.From) && isUTC(s.To) && !s.From.IsZero(), "from and to are not times in UTC")
	p.unless(!s.To.Before(s.From), "to is before from")
	p.unless(s.CompactRevision >= -1, "compact_revision: %d is below -1", s.CompactRevision)
	if !s.Silence() || s.LastRevisionSHA256 != "" {
		p.match(sha256Pattern, "last_revision_sha256", s.LastRevisionSHA256)
	}
}

func (p *problems) merged(m *Merged) {
	if m == nil {
		return
	}
	p.unless(len(m.Segments) >= 2, "merged.segments: %d, at least 2 are merged", len(m.Segments))
	p.atMost(MaxMerged, "merged.segments", len(m.Segments))
	for i, hash := range m.Segments[:min(len(m.Segments), MaxMerged)] {
		p.match(segmentHashPattern, fmt.Sprintf("merged.segments[%d]", i), hash)
	}
	p.match(sha256Pattern, "merged.last", m.Last)
}

func (p *problems) segmentContent(s *Segment) {
	p.match(sha256Pattern, "plain.sha256", s.Plain.SHA256)
	p.unless(s.Plain.Size >= minPlain, "plain.size: %d is below %d", s.Plain.Size, minPlain)
	p.match(sha256Pattern, "object.sha256", s.Object.SHA256)
	p.unless(s.Object.Size > 0, "object.size: %d is not positive", s.Object.Size)
	p.match(envelopePattern, "object.envelope", s.Object.Envelope)
	p.unless(len(s.Object.Recipients) > 0, "object.recipients: none")
	p.atMost(maxRecipients, "object.recipients", len(s.Object.Recipients))
	extension, ok := strings.CutPrefix(s.Object.Name, s.Name().String())
	p.unless(ok && segmentExtension.MatchString(extension), "object.name: %.80q is not that of revisions %d to %d with this content", s.Object.Name, s.First, s.Last)
}
