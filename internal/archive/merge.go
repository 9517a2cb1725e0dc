package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// maxCheckpoints and maxNote are what a manifest may have of them (repo.Segment).
const (
	maxCheckpoints = 64
	maxNote        = 200
)

// Source is a segment that is merged. Digest is that of its manifest.
type Source struct {
	Segment *repo.Segment
	Digest  string
}

// JoinError is for a segment that cannot be merged with those before it, because the result would say less of the time, or could
// not be read. It can be the first of another merged segment.
type JoinError struct {
	Name   repo.SegmentName
	Reason string
}

// Error names the segment.
func (e *JoinError) Error() string {
	return fmt.Sprintf("segment %s is not merged with those before it: %s", e.Name, e.Reason)
}

// Joins reports whether a segment goes on where another one ends: the same member's watch, with no revision and no instant between
// them. Only such ones are merged. That the changes inside allow it too, only reading tells.
func Joins(before, s *repo.Segment) bool {
	return before.Cluster == s.Cluster && before.EtcdClusterID == s.EtcdClusterID && before.Timeline == s.Timeline &&
		before.Member.ID == s.Member.ID && s.First == before.Last+1 && s.From.Equal(before.To)
}

// Merge writes the segments into one, sealed in a new file of dir: every change, stamp and lease, in order. Whatever was asked of
// the sources, the result answers the same: a revision, and which revision was there at a second. Sources must join, and are
// opened one at a time and read to their proved ends. An error that is about one of them wraps a *SegmentError, or a *JoinError;
// any error leaves nothing. What comes out is not signed yet.
func Merge(ctx context.Context, dir string, to *seal.Recipients, build repo.Build, sources []Source, open OpenFunc) (*Sealed, error) {
	if len(sources) < 2 {
		return nil, fmt.Errorf("merge %d segments: there is nothing to merge", len(sources))
	}
	first := sources[0].Segment
	d, err := Begin(dir, to, first.First)
	if err != nil {
		return nil, err
	}
	last, err := appendAllOf(ctx, d, sources, open)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("merge from segment %s: %w", first.Name(), err), d.Discard())
	}
	sealed, err := d.Finish(mergedFacts(sources, build))
	if err != nil {
		return nil, err
	}
	sealed.Segment.Merged = mergedOf(sources)
	if got := sealed.Segment.LastRevisionSHA256; got != last {
		return nil, errors.Join(fmt.Errorf("merge from segment %s: the last revision has hash %s, its segment says %s", first.Name(), got, last), sealed.Remove())
	}
	return sealed, nil
}

// appendAllOf returns the hash of the last revision as the manifests say it.
func appendAllOf(ctx context.Context, d *Draft, sources []Source, open OpenFunc) (last string, err error) {
	for i, source := range sources {
		s := source.Segment
		if i > 0 && !Joins(sources[i-1].Segment, s) {
			return "", fmt.Errorf("segment %s does not go on where %s ends", s.Name(), sources[i-1].Segment.Name())
		}
		if i > 0 {
			if err := d.joinable(s); err != nil {
				return "", err
			}
		}
		j := joiner{draft: d, segment: s, begun: i == 0}
		if err := walk(ctx, s, open, j.record); err != nil {
			return "", err
		}
		if !s.Silence() || s.LastRevisionSHA256 != "" {
			last = s.LastRevisionSHA256
		}
	}
	return last, nil
}

// joinable: what was seen so far must have been seen, to the second, before the segment begins. A late stamp can be a second
// ahead of its time (Writer.stamp).
func (d *Draft) joinable(s *repo.Segment) error {
	if d.second > 0 && !time.Unix(d.second, 0).Before(s.From) {
		return &JoinError{s.Name(), "changes before it count as seen later than it begins"}
	}
	return nil
}

// joiner passes on the records of one segment.
type joiner struct {
	draft   *Draft
	segment *repo.Segment
	begun   bool // a stamp of the segment has come, or it is the first
}

func (j *joiner) record(r Record) error {
	switch d := j.draft; r.Kind {
	case KindLease:
		if _, known := d.leases[r.Lease.ID]; !known && len(d.leases) >= MaxLeases {
			return &JoinError{j.segment.Name(), fmt.Sprintf("together they have more than %d leases", MaxLeases)}
		}
		d.Lease(r.Lease.ID, r.Lease.TTL)
	case KindStamp:
		if err := j.first(r.Stamp); err != nil {
			return err
		}
		d.stamp(r.Stamp)
	case KindEntry:
		return d.Append(r.Entry)
	}
	return nil
}

// first looks at the first stamp of a segment. Where it is late, its changes happened at some time since the segment began; in the
// merged one that would be: since the last stamp of the one before.
func (j *joiner) first(s Stamp) error {
	if j.begun {
		return nil
	}
	j.begun = true
	d, second := j.draft, s.Time.Unix()
	if s.Late {
		return &JoinError{j.segment.Name(), "its first changes were seen late"}
	}
	if second < j.segment.From.Unix() || second < d.second || second == d.second && d.late {
		return &JoinError{j.segment.Name(), "its first changes were seen before it begins"}
	}
	return nil
}

// mergedFacts are those of all sources together.
func mergedFacts(sources []Source, build repo.Build) Facts {
	first, last := sources[0].Segment, sources[len(sources)-1].Segment
	f := Facts{
		Cluster: first.Cluster, EtcdClusterID: first.EtcdClusterID, Timeline: first.Timeline, Member: first.Member,
		From: first.From, To: last.To, CompactRevision: last.CompactRevision, Previous: first.Previous, Base: first.Base, Build: build,
	}
	var notes []string
	for _, source := range sources {
		s := source.Segment
		if s.LastRevisionSHA256 != "" {
			f.LastRevisionSHA256 = s.LastRevisionSHA256
		}
		if s.ClockSkewNote != "" && !slices.Contains(notes, s.ClockSkewNote) {
			notes = append(notes, s.ClockSkewNote)
		}
		for _, c := range s.Checkpoints {
			if !slices.Contains(f.Checkpoints, c) {
				f.Checkpoints = append(f.Checkpoints, c)
			}
		}
		f.Checkpoints = f.Checkpoints[max(0, len(f.Checkpoints)-maxCheckpoints):]
	}
	f.ClockSkewNote = joinNotes(notes)
	return f
}

// joinNotes joins as many notes as a manifest may have, and says how many it left out.
func joinNotes(notes []string) string {
	if len(notes) == 0 {
		return ""
	}
	more := fmt.Sprintf("; and %d more", len(notes)) // the longest that it can become
	text, left := notes[0], 0
	for _, n := range notes[1:] {
		if len(text)+len("; ")+len(n)+len(more) > maxNote {
			left++
			continue
		}
		text += "; " + n
	}
	if left > 0 && len(text)+len(more) <= maxNote {
		text += fmt.Sprintf("; and %d more", left)
	}
	return text
}

func mergedOf(sources []Source) *repo.Merged {
	m := new(repo.Merged)
	for _, source := range sources {
		m.Segments = append(m.Segments, source.Segment.Name().Hash)
	}
	last := sources[len(sources)-1]
	if m.Last = last.Digest; last.Segment.Merged != nil {
		m.Last = last.Segment.Merged.Last
	}
	return m
}

// Prove reads a segment to its proved end: sealed object, plain content and every record are what its manifest says.
func Prove(ctx context.Context, s *repo.Segment, open OpenFunc) error {
	return walk(ctx, s, open, func(Record) error { return nil })
}
