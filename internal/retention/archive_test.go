package retention

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/storage"
)

// archiveOf is a timeline with a snapshot every six hours and a segment every hour, from some hours ago until others: one revision in
// each minute. compacted is how many revisions before its own a snapshot was compacted.
func archiveOf(line string, now time.Time, from, until int, compacted int64) ([]repo.Entry, []repo.SegmentEntry) {
	var snapshots []repo.Entry
	var segments []repo.SegmentEntry
	for ago := from; ago > until; ago-- {
		at := now.Add(-time.Duration(ago) * time.Hour)
		if ago%6 == 0 {
			e := entry(at, 0xa1, line, repo.StateOK)
			e.Manifest.CaptureEnd, e.Manifest.CompactRevision = at.Add(3*time.Second), e.Manifest.Revision-compacted
			snapshots = append(snapshots, e)
		}
		segments = append(segments, archivedHour(line, at, 1))
	}
	return snapshots, segments
}

// archivedHour is a segment of some hours.
func archivedHour(line string, at time.Time, hours int, merged ...repo.SegmentEntry) repo.SegmentEntry {
	until := at.Add(time.Duration(hours) * time.Hour)
	s := &repo.Segment{
		Timeline: line, EtcdClusterID: "c1", First: 2 + at.Unix()/60, Last: 1 + until.Unix()/60, From: at, To: until,
		Object: repo.Object{SHA256: fmt.Sprintf("%08x", hours) + strings.Repeat("0", 56), Size: int64(hours)},
	}
	if len(merged) > 0 {
		s.Merged = &repo.Merged{}
	}
	for _, e := range merged {
		s.Merged.Segments = append(s.Merged.Segments, e.Name.Hash)
	}
	object := storage.Object{Key: s.Name().String(), Size: 1, Modified: until.Add(time.Minute)}
	return repo.SegmentEntry{Name: s.Name(), State: repo.StateOK, Segment: s, Payload: object, Record: object}
}

func toldSegments(decisions []SegmentDecision) string {
	var b strings.Builder
	for _, d := range decisions {
		from := "unknown"
		if s := d.Entry.Segment; s != nil {
			from = s.From.Format("01-02T15") + fmt.Sprintf(" %dh", int(s.To.Sub(s.From).Hours()))
		}
		fmt.Fprintf(&b, "%s %-12s %s\n", d.Entry.Name.Timeline[14:], from, d)
	}
	return b.String()
}

// TestDecideArchive: golden files of what becomes of an archive and of the snapshots that it needs.
func TestDecideArchive(t *testing.T) {
	now := when(t, "2026-11-22T12:00:00Z")
	policy := Policy{Last: 1, MinCopies: 1, Period: 6 * time.Hour, ArchiveWithin: 24 * time.Hour}
	write := func(name string, snapshots []repo.Entry, segments []repo.SegmentEntry, policy Policy) {
		a, b := Decide(&repo.Catalogue{Entries: snapshots}, segments, policy, now)
		compareGolden(t, name, told(a)+toldSegments(b))
	}
	snapshots, segments := archiveOf(lineA, now, 48, 0, 30)
	write("archive", snapshots, segments, policy)
	late := policy
	late.Period = 2 * time.Hour
	write("archive_late", snapshots, segments, late)

	// Three hours are missing, so what comes after them hangs on a snapshot that nothing else keeps.
	hole := append(append([]repo.SegmentEntry{}, segments[:20]...), segments[23:]...)
	write("archive_hole", snapshots, hole, Policy{Last: 1, MinCopies: 1, Period: 6 * time.Hour, ArchiveWithin: 200 * time.Hour})

	// Four hours were merged; one more, a while ago, cannot be read now; and a payload was given up.
	merged := archivedHour(lineA, segments[30].Segment.From, 4, segments[30:34]...)
	unread := segments[36]
	unread.State, unread.Segment = repo.StateUnreadable, nil
	litter := archivedHour(lineA, now.Add(-60*time.Hour), 1)
	litter.State, litter.Segment, litter.Record = repo.StateIncomplete, nil, storage.Object{}
	all := append(append([]repo.SegmentEntry{litter}, segments[:36]...), unread, merged)
	write("archive_merged", snapshots, append(all, segments[37:]...), policy)

	// The cluster was rebuilt two days ago, and what there was before has ended.
	ended, before := archiveOf(lineA, now, 80, 60, 30)
	current, since := archiveOf(lineB, now, 48, 0, 30)
	write("archive_ended", append(ended, current...), append(before, since...), policy)
}

// TestPlantedSource: something with the name of a source keeps nothing from going, for it never goes itself.
func TestPlantedSource(t *testing.T) {
	now := when(t, "2026-11-22T12:00:00Z")
	policy := Policy{Last: 1, MinCopies: 1, Period: 6 * time.Hour, ArchiveWithin: 240 * time.Hour}
	snapshots, segments := archiveOf(lineA, now, 48, 0, 30)
	sources := segments[30:34]
	few := archivedHour(lineA, sources[0].Segment.From, 2, sources[:2]...)
	few.Name.Hash, few.Segment.Object.SHA256 = "000000aa", "000000aa"+strings.Repeat("0", 56)
	all := archivedHour(lineA, sources[0].Segment.From, 4, few, sources[2], sources[3])
	planted := sources[0]
	planted.State, planted.Segment, planted.Problem = repo.StateUnsigned, nil, errors.New("segment is not signed")
	rest := append(append([]repo.SegmentEntry{}, segments[:30]...), segments[34:]...)
	_, decisions := Decide(&repo.Catalogue{Entries: snapshots}, append(rest, planted, few, sources[2], sources[3], all), policy, now)
	for _, d := range decisions {
		gone := d.Entry.Name == few.Name || d.Entry.Name == sources[2].Name || d.Entry.Name == sources[3].Name
		if (d.Fate == Delete) != gone {
			t.Errorf("%s: %s", d.Entry.Name, d)
		}
	}
}
