package retention_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/storage"
)

const etcdID = "cdf818194e3a8c32"

// holding is what a target may hold: snapshots and segments of a few timelines, by writers whose clocks differ, with holes, overlaps,
// and merged segments, in any state.
type holding struct {
	now       time.Time
	policy    retention.Policy
	snapshots []repo.Entry
	segments  []repo.SegmentEntry
	lives     map[string]*live // the truth, by timeline
	skewed    bool             // the writers' clocks differ: they contradict each other about the second
}

func (h *holding) decide() ([]retention.Decision, []retention.SegmentDecision) {
	return retention.Decide(&repo.Catalogue{Entries: h.snapshots}, h.segments, h.policy, h.now)
}

func (h *holding) since() time.Time { return h.now.Add(-h.policy.ArchiveWithin) }

// live is one timeline as it happened: the revision at each second since begin.
type live struct {
	timeline  string
	begin     time.Time
	revisions []int64 // the last one that there was when the second ended
	compacted []int64 // the last compaction by then, -1: none
}

func (v *live) at(t time.Time) int64 {
	i := int(t.Sub(v.begin) / time.Second)
	return v.revisions[max(0, min(i, len(v.revisions)-1))]
}

func drawLive(t *rapid.T, timeline string, begin time.Time, seconds int) *live {
	v := &live{timeline: timeline, begin: begin}
	revision, compacted := int64(rapid.IntRange(1, 20).Draw(t, "first revision")), int64(-1)
	rate := []int{0, 0, 0, 1}
	for i := range seconds {
		if i%20 == 0 {
			rate = rapid.SampledFrom([][]int{{0}, {0, 0, 0, 1}, {0, 1, 2}}).Draw(t, "writes")
			if rapid.Bool().Draw(t, "compacts") {
				compacted = max(compacted, revision-int64(rapid.IntRange(0, 12).Draw(t, "compacted")))
			}
		}
		revision += int64(rapid.SampledFrom(rate).Draw(t, "written"))
		v.revisions, v.compacted = append(v.revisions, revision), append(v.compacted, compacted)
	}
	return v
}

func (v *live) snapshot(at time.Time, member uint64) repo.Entry {
	revision, compact := v.at(at), v.compacted[at.Sub(v.begin)/time.Second]
	id := repo.ID{Time: at, Revision: revision, Member: member}
	return repo.Entry{
		ID: id, State: repo.StateOK, Modified: at,
		Manifest: &repo.Manifest{
			ID: id.String(), Timeline: v.timeline, EtcdClusterID: etcdID, Revision: revision, CompactRevision: compact, CaptureStart: at, CaptureEnd: at.Add(time.Second / 2),
			Object: repo.Object{Size: 1},
		},
		Payload: storage.Object{Key: "x", Size: 1},
	}
}

// segment is one of revisions after one up to another, with the times that a writer gave them.
func segment(timeline string, after, last int64, from, to time.Time, salt string) repo.SegmentEntry {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s %s %s", timeline, after, last, from, to, salt))
	s := &repo.Segment{
		Timeline: timeline, EtcdClusterID: etcdID, First: after + 1, Last: last, Events: last - after, From: from, To: to,
		Object: repo.Object{SHA256: hex.EncodeToString(sum[:]), Size: 100 + last - after},
	}
	stored := storage.Object{Key: s.Name().String(), Size: s.Object.Size, Modified: to}
	return repo.SegmentEntry{Name: s.Name(), State: repo.StateOK, Segment: s, Payload: stored, Record: stored}
}

// write archives a part of what happened, in segments of some seconds each, by a clock that is wrong by skew.
func (v *live) write(t *rapid.T, from, to int, skew time.Duration, salt string) []repo.SegmentEntry {
	var written []repo.SegmentEntry
	for from < to {
		next := min(to, from+rapid.IntRange(1, 9).Draw(t, "seconds"))
		a, b := v.begin.Add(time.Duration(from)*time.Second), v.begin.Add(time.Duration(next)*time.Second)
		written = append(written, segment(v.timeline, v.at(a), v.at(b), a.Add(skew), b.Add(skew), salt))
		from = next
	}
	return written
}

// merge is what takes the place of some segments that follow each other.
func merge(of []repo.SegmentEntry, stored time.Time) repo.SegmentEntry {
	first, last := of[0].Segment, of[len(of)-1].Segment
	m := segment(first.Timeline, first.First-1, last.Last, first.From, last.To, "merged"+stored.String())
	m.Record.Modified = stored
	m.Segment.Merged = &repo.Merged{}
	for _, s := range of {
		m.Segment.Merged.Segments = append(m.Segment.Merged.Segments, s.Name.Hash)
	}
	return m
}

func drawMerged(t *rapid.T, of []repo.SegmentEntry, now time.Time, most int) []repo.SegmentEntry {
	var merged []repo.SegmentEntry
	for len(of) >= 2 {
		n := min(len(of), rapid.IntRange(2, most).Draw(t, "merged at once"))
		if rapid.IntRange(0, 3).Draw(t, "merges") > 0 {
			merged = append(merged, merge(of[:n], now.Add(-time.Duration(rapid.IntRange(0, 30).Draw(t, "minutes since"))*time.Minute)))
		}
		of = of[n:]
	}
	return merged
}

var otherStates = []repo.State{
	repo.StateUnread, repo.StateUnreadable, repo.StateUnsigned, repo.StateBadSignature, repo.StateUnknownSigner, repo.StatePayloadMissing, repo.StateNewerFormat,
	repo.StateIncomplete,
}

func drawHolding(t *rapid.T) *holding {
	h := &holding{now: time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC), lives: make(map[string]*live), skewed: rapid.Bool().Draw(t, "skewed")}
	h.policy = retention.Policy{
		Last: rapid.IntRange(1, 4).Draw(t, "last"), MinCopies: 1, Period: time.Hour,
		ArchiveWithin: time.Duration(rapid.IntRange(1, 200).Draw(t, "within")) * time.Second,
		ArchiveSpread: time.Duration(rapid.IntRange(1, 20).Draw(t, "spread")) * time.Second,
	}
	seconds := 0
	for _, timeline := range []string{"00000000000000bb", "00000000000000aa"}[:rapid.IntRange(1, 2).Draw(t, "timelines")] {
		seconds += rapid.IntRange(10, 160).Draw(t, "lasts")
		v := drawLive(t, timeline, h.now.Add(-time.Duration(seconds)*time.Second), min(seconds, 160))
		h.lives[timeline] = v
		h.draw(t, v)
	}
	slices.SortStableFunc(h.snapshots, func(a, b repo.Entry) int { return a.ID.Compare(b.ID) })
	h.snapshots = slices.CompactFunc(h.snapshots, func(a, b repo.Entry) bool { return a.ID.Compare(b.ID) == 0 })
	return h
}

// draw adds what several writers left of a timeline.
func (h *holding) draw(t *rapid.T, v *live) {
	seconds := len(v.revisions)
	for range rapid.IntRange(1, 12).Draw(t, "snapshots") {
		h.snapshots = append(h.snapshots, v.snapshot(v.begin.Add(time.Duration(rapid.IntRange(0, seconds-1).Draw(t, "captured"))*time.Second), uint64(rapid.IntRange(1, 2).Draw(t, "member"))))
	}
	for writer := range rapid.IntRange(1, 3).Draw(t, "writers") {
		from := rapid.IntRange(0, seconds-1).Draw(t, "begins")
		skew := time.Duration(0)
		if h.skewed {
			skew = time.Duration(rapid.SampledFrom([]int{0, -7, 5}).Draw(t, "skew")) * time.Second
		}
		small := v.write(t, from, rapid.IntRange(from, seconds).Draw(t, "ends"), skew, fmt.Sprint(writer))
		hours := drawMerged(t, small, h.now, 6)
		days := drawMerged(t, hours, h.now, 3)
		for _, e := range slices.Concat(small, hours, days) {
			switch rapid.IntRange(0, 19).Draw(t, "is") {
			case 0, 1: // lost, or replaced before
				continue
			case 2:
				e.State = rapid.SampledFrom(otherStates).Draw(t, "state")
				if e.State != repo.StatePayloadMissing {
					e.Segment = nil
				}
				if e.State == repo.StateIncomplete {
					e.Record = storage.Object{}
				}
			}
			h.segments = append(h.segments, e)
		}
	}
	slices.SortStableFunc(h.segments, func(a, b repo.SegmentEntry) int {
		return slices.Compare([]byte(a.Name.Timeline+a.Name.String()), []byte(b.Name.Timeline+b.Name.String()))
	})
	h.segments = slices.CompactFunc(h.segments, func(a, b repo.SegmentEntry) bool { return a.Name == b.Name })
}

// without is what is left when some of the deletions were carried out.
func (h *holding) without(snapshots []retention.Decision, segments []retention.SegmentDecision, done func(string) bool) *holding {
	left := &holding{now: h.now, policy: h.policy, lives: h.lives, skewed: h.skewed}
	for _, d := range snapshots {
		if d.Fate == retention.Keep || !done(d.Entry.ID.String()) {
			left.snapshots = append(left.snapshots, *d.Entry)
		}
	}
	for _, d := range segments {
		if d.Fate == retention.Keep || !done(d.Entry.Name.String()) {
			left.segments = append(left.segments, *d.Entry)
		}
	}
	return left
}

func (h *holding) history(timeline string) *archive.History {
	return archive.NewHistory(timeline, h.snapshots, h.segments, false)
}

// archived are the timelines with a segment that reaches into the time to keep.
func (h *holding) archived() []string {
	var found []string
	for _, e := range h.segments {
		if e.Usable(false) && !e.Segment.To.Before(h.since()) && !slices.Contains(found, e.Segment.Timeline) {
			found = append(found, e.Segment.Timeline)
		}
	}
	return found
}

// lowest is the first revision of a timeline that a segment tells of which ends within the time to keep.
func (h *holding) lowest(timeline string) int64 {
	low := int64(1 << 62)
	for _, e := range h.segments {
		if e.Usable(false) && e.Segment.Timeline == timeline && !e.Segment.To.Before(h.since()) {
			low = min(low, max(1, e.Segment.First-1))
		}
	}
	return low
}

// sameRevisions is same for revisions.
func sameRevisions(t *rapid.T, before, after *holding) {
	for _, timeline := range before.archived() {
		was, is := before.history(timeline), after.history(timeline)
		low := before.lowest(timeline)
		for _, r := range was.Window() {
			for revision := max(low, r.First); revision <= r.Last; revision++ {
				if _, err := is.AtRevision(revision); err != nil {
					t.Fatalf("revision %d of %s could be restored before: %v", revision, timeline, err)
				}
			}
		}
	}
}

// same fails unless every point within the time to keep that could be restored before can be restored after.
func same(t *rapid.T, before, after *holding) {
	sameRevisions(t, before, after)
	for _, timeline := range before.archived() {
		was, is := before.history(timeline), after.history(timeline)
		for at := before.since().Truncate(time.Second).Add(time.Second); !at.After(before.now.Add(10 * time.Second)); at = at.Add(time.Second) {
			c, err := was.AtTime(at)
			if err != nil {
				continue
			}
			d, err := is.AtTime(at)
			if err != nil {
				t.Fatalf("%s of %s could be restored before, from %d to %d: %v", at, timeline, c.Low, c.High, err)
			}
			// The clock may be another one now, of a wider range, but what it reads there is the same. Writers that contradict each
			// other may have been asked in another order.
			if truth := before.lives[timeline].at(at); !before.skewed && c.Low <= truth && truth <= c.High && (truth < d.Low || truth > d.High) {
				t.Fatalf("%s of %s is revision %d, of %d to %d; after it is one of %d to %d", at, timeline, truth, c.Low, c.High, d.Low, d.High)
			}
		}
		newest, err := was.Latest()
		if err != nil {
			continue
		}
		if got, err := is.Latest(); err != nil || got.High != newest.High {
			t.Fatalf("the newest point of %s was %d: %v", timeline, newest.High, err)
		}
	}
}

// TestArchiveStaysRestorable: whatever a target holds, and wherever a prune of it ends, every point within the time to keep is
// restorable after as before. The next prune, which begins with what is left, keeps that as well.
func TestArchiveStaysRestorable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHolding(t)
		first := h
		for range 4 {
			snapshots, segments := h.decide()
			all := h.without(snapshots, segments, func(string) bool { return true })
			same(t, first, all)
			part := h.without(snapshots, segments, func(string) bool { return rapid.Bool().Draw(t, "deleted") })
			same(t, first, part)
			h = part
		}
	})
}

// drawTicks is a holding whose time to keep ends just where a snapshot was taken, as it does at each tick of a schedule, and whose rule
// lets that snapshot go about then.
func drawTicks(t *rapid.T) *holding {
	const tick = 10
	ticks := rapid.IntRange(55, 65).Draw(t, "ticks")
	v := &live{timeline: "00000000000000aa", begin: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	for i := range tick*ticks + 20 {
		v.revisions, v.compacted = append(v.revisions, int64(i+2)), append(v.compacted, int64(max(1, i-1)))
	}
	h := &holding{lives: map[string]*live{v.timeline: v}, now: v.begin.Add(time.Duration(tick*ticks)*time.Second + time.Duration(rapid.IntRange(0, 9999).Draw(t, "now"))*time.Millisecond)}
	h.policy = retention.Policy{
		Last: rapid.IntRange(30, 49).Draw(t, "last"), MinCopies: 1, Period: time.Minute,
		ArchiveWithin: 48 * tick * time.Second, ArchiveSpread: 8 * time.Second,
	}
	for i := range ticks {
		at := v.begin.Add(time.Duration(i) * tick * time.Second)
		h.snapshots = append(h.snapshots, v.snapshot(at, 1))
		for from := at; from.Before(at.Add(tick * time.Second)); from = from.Add(tick * time.Second / 2) {
			to := from.Add(tick * time.Second / 2)
			h.segments = append(h.segments, segment(v.timeline, v.at(from), v.at(to), from, to, ""))
		}
	}
	return h
}

// TestTwoPruners: two nodes decide from the same listing, a little apart or with clocks that differ, and both carry it out.
func TestTwoPruners(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHolding(t)
		other, after := pruneTwice(t, h)
		same(t, other, after)
	})
}

// TestTwoPrunersAtATick is that where the time to keep ends at a snapshot.
func TestTwoPrunersAtATick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		other, after := pruneTwice(t, drawTicks(t))
		sameRevisions(t, other, after)
	})
}

// pruneTwice is what two prunes leave, of which the other one decided later.
func pruneTwice(t *rapid.T, h *holding) (other, after *holding) {
	later := *h
	other = &later
	other.now = h.now.Add(time.Duration(rapid.Int64Range(0, int64(h.policy.ArchiveSpread)).Draw(t, "apart")))
	gone := make(map[string]bool)
	snapshots, segments := other.decide()
	for _, d := range snapshots {
		gone[d.Entry.ID.String()] = d.Fate == retention.Delete
	}
	for _, d := range segments {
		gone[d.Entry.Name.String()] = d.Fate == retention.Delete
	}
	snapshots, segments = h.decide()
	for i := range snapshots {
		if gone[snapshots[i].Entry.ID.String()] {
			snapshots[i].Fate = retention.Delete
		}
	}
	for i := range segments {
		if gone[segments[i].Entry.Name.String()] {
			segments[i].Fate = retention.Delete
		}
	}
	return other, other.without(snapshots, segments, func(string) bool { return true })
}

// TestUnreadableArchive: what could not be read when it was decided, and can be afterwards, leads as far as before.
func TestUnreadableArchive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHolding(t)
		blind := *h
		blind.segments = slices.Clone(h.segments)
		for i := range blind.segments {
			if e := &blind.segments[i]; e.State == repo.StateOK && rapid.IntRange(0, 5).Draw(t, "unreadable") == 0 {
				e.State, e.Segment = repo.StateUnreadable, nil
			}
		}
		snapshots, segments := blind.decide()
		for i := range segments {
			segments[i].Entry = &h.segments[i]
		}
		sameRevisions(t, h, h.without(snapshots, segments, func(string) bool { return true }))
	})
}

// TestArchiveLeavesAlone: only what is usable goes, or litter; of what goes for a merged one that one stays, and the newest of each
// timeline stays. What cannot be used changes nothing for the others but to keep more.
func TestArchiveLeavesAlone(t *testing.T) {
	deleted, replaced := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		h := drawHolding(t)
		_, segments := h.decide()
		if len(segments) != len(h.segments) {
			t.Fatalf("%d decisions on %d segments", len(segments), len(h.segments))
		}
		fate := make(map[string]retention.Fate)
		for i, d := range segments {
			if d.Entry != &h.segments[i] || d.Reason == "" || d.Fate != retention.Keep && d.Fate != retention.Delete {
				t.Fatalf("segment %s: %s", h.segments[i].Name, d)
			}
			fate[d.Entry.Name.String()] = d.Fate
		}
		for _, d := range segments {
			if d.Fate == retention.Keep {
				continue
			}
			deleted++
			e := d.Entry
			if e.State != repo.StateOK {
				t.Fatalf("%s segment %s: %s", e.State, e.Name, d)
			}
			if d.By != nil {
				replaced++
				if fate[d.By.Name.String()] != retention.Keep || !d.By.Segment.Replaces(e.Name) || h.now.Sub(d.By.Record.Modified) <= 10*time.Minute {
					t.Fatalf("%s: %s", e.Name, d)
				}
				continue
			}
			if !e.Segment.To.Before(h.since()) {
				t.Fatalf("%s ends at %s: %s", e.Name, e.Segment.To, d)
			}
		}
	})
	if deleted == 0 || replaced == 0 || deleted == replaced {
		t.Errorf("%d were deleted, %d of them for a merged one: the test shows nothing", deleted, replaced)
	}
}
