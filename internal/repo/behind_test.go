package repo

import (
	"testing"
	"time"
)

const lineC = "00000000000000c3"

// seen is an entry of one member that knew the leader, or "" for none; parent is the timeline's.
func seen(after time.Duration, p Position, timeline, parent, leader string) Entry {
	return entry(StateOK, at(after, p.Revision, memberA), func(m *Manifest) {
		m.EtcdClusterID, m.RaftTerm, m.RaftIndex = p.EtcdClusterID, p.RaftTerm, p.RaftIndex
		m.Timeline, m.TimelineParent, m.Leader = timeline, parent, &leader
	})
}

// The healthy majority is at revision 100,000 in term 9.
var healthy = seen(0, Position{etcdCluster, 100_000, 9, 100_100}, lineA, "", "91bc3c398fb3c146")

func TestBehind(t *testing.T) {
	const leader, later = "8e9e05c52164694d", 30 * time.Second
	unrecorded := func(e Entry) Entry { e.Manifest.Leader = nil; return e }
	learner := func(e Entry) Entry { e.Manifest.Learner = true; return e }
	for _, c := range []struct {
		name    string
		entries []Entry // the last one by time is the last
		behind  bool    // the last
	}{
		{"cut off, on a timeline of its own", []Entry{healthy, seen(later, Position{etcdCluster, 500, 8, 600}, lineB, lineA, "")}, true},
		{"cut off, on the timeline", []Entry{healthy, seen(later, Position{etcdCluster, 500, 8, 600}, lineA, "", "")}, true},
		{"cut off without pre-vote, its term has risen", []Entry{healthy, seen(later, Position{etcdCluster, 500, 70, 600}, lineB, lineA, "")}, true},
		{"a learner that catches up", []Entry{healthy, learner(seen(later, Position{etcdCluster, 500, 9, 600}, lineB, lineA, leader))}, true},
		{"an old state under a wrong clock", []Entry{healthy, seen(later, Position{etcdCluster, 500, 8, 600}, lineA, "", leader)}, true},
		{"the same, leader not recorded", []Entry{healthy, unrecorded(seen(later, Position{etcdCluster, 500, 8, 600}, lineA, "", ""))}, true},

		{"no leader and the furthest of all", []Entry{healthy, seen(later, Position{etcdCluster, 100_010, 9, 100_200}, lineA, "", "")}, false},
		{"no leader, an idle cluster", []Entry{healthy, seen(later, Position{etcdCluster, 100_000, 9, 100_100}, lineA, "", "")}, false},
		{"rebuilt under another cluster ID", []Entry{healthy, seen(later, Position{otherCluster, 5, 2, 9}, lineB, lineA, leader)}, false},
		{"rebuilt under another cluster ID, no leader yet", []Entry{healthy, seen(later, Position{otherCluster, 5, 2, 9}, lineB, lineA, "")}, false},
		{"restored in place", []Entry{healthy, seen(later, Position{etcdCluster, 500, 2, 4}, lineB, lineA, leader)}, false},
		{"restored in place, many writes later", []Entry{healthy, seen(later, Position{etcdCluster, 70_000, 9, 90_000}, lineB, lineA, leader)}, false},
		{"restored in place, leader not recorded", []Entry{healthy, unrecorded(seen(later, Position{etcdCluster, 500, 2, 4}, lineB, lineA, ""))}, false},
		{"forced new cluster from a member that was behind", []Entry{healthy, seen(later, Position{etcdCluster, 99_990, 9, 100_090}, lineB, lineA, leader)}, false},
		{"restored in place, then the quorum was lost", []Entry{
			healthy,
			seen(time.Hour, Position{etcdCluster, 600, 2, 104}, lineB, lineA, leader),
			seen(2*time.Hour, Position{etcdCluster, 710, 2, 214}, lineB, lineA, ""),
		}, false},
		{"restored in place, then the quorum was lost, from a slow member", []Entry{
			healthy,
			seen(time.Hour, Position{etcdCluster, 600, 2, 104}, lineB, lineA, leader),
			seen(2*time.Hour, Position{etcdCluster, 590, 2, 94}, lineC, lineB, ""),
		}, true},
	} {
		cat := catalogue(c.entries...)
		now := testTime.Add(24 * time.Hour)
		last := &cat.Entries[len(cat.Entries)-1]
		if got := cat.Behind(last, now, false); (got != nil) != c.behind {
			t.Errorf("%s: behind %+v", c.name, got)
		}
		latest, err := cat.Latest(now, false)
		if err != nil {
			t.Fatal(err)
		}
		passed := cat.PassedOver(now, false)
		if (latest != last) != c.behind || (len(passed) > 0) != c.behind {
			t.Errorf("%s: latest %s, passed over %+v", c.name, latest.ID, passed)
		}
		if c.behind && (passed[0].Entry != last || passed[0].Behind != &cat.Entries[len(cat.Entries)-2] || latest != passed[0].Behind) {
			t.Errorf("%s: latest %s, passed over %+v", c.name, latest.ID, passed[0])
		}
	}
}

// The clock of one member was four days ahead; when that day comes, what it took then is not the newest.
func TestBehindAfterTheFutureHasCome(t *testing.T) {
	wrong := seen(96*time.Hour, Position{etcdCluster, 1000, 4, 1100}, lineA, "", "1")
	right := seen(95*time.Hour, Position{etcdCluster, 90_000, 4, 90_100}, lineA, "", "1")
	for _, now := range []time.Duration{95*time.Hour + 30*time.Minute, 96 * time.Hour, 200 * time.Hour} {
		latest, err := catalogue(right, wrong).Latest(testTime.Add(now), false)
		if err != nil || latest.Manifest.Revision != 90_000 {
			t.Errorf("after %s: %+v, %v", now, latest, err)
		}
	}
}

// Without the entry that shows more, or with one that is not as well vouched for, an entry is as good as any.
func TestBehindNeedsAWitness(t *testing.T) {
	stale := seen(time.Minute, Position{etcdCluster, 500, 8, 600}, lineB, lineA, "")
	now := testTime.Add(time.Hour)
	for name, other := range map[string]Entry{
		"none":          entry(StateOK, at(0, 400, 1), nil),
		"no payload":    {ID: healthy.ID, State: StatePayloadMissing, Manifest: healthy.Manifest},
		"unsigned":      withState(healthy, StateUnsigned),
		"of the future": seen(2*time.Hour, Position{etcdCluster, 100_000, 9, 100_100}, lineA, "", "1"),
	} {
		for _, insecure := range []bool{false, true} {
			got, err := catalogue(other, stale).Latest(now, insecure)
			if err != nil || got.ID.Revision != 500 {
				t.Errorf("%s, insecure %v: %+v, %v", name, insecure, got, err)
			}
		}
	}
}

// What a member wrote that was cut off does not draw the others away from their timeline.
func TestTimelineOutlivesACutOffMember(t *testing.T) {
	cat := catalogue(healthy)
	timeline, parent := cat.NextTimeline(testCluster, Position{etcdCluster, 500, 8, 600})
	if timeline == lineA || parent != lineA {
		t.Fatalf("the member that was cut off is on %s after %s", timeline, parent)
	}
	for _, term := range []uint64{8, 500} {
		stale := seen(30*time.Second, Position{etcdCluster, 500, term, 600}, timeline, parent, "")
		again := seen(60*time.Second, Position{etcdCluster, 500, term, 600}, timeline, parent, "")
		for _, state := range []State{StateOK, StateUnknownSigner} {
			cat = catalogue(withState(healthy, state), withState(stale, state), withState(again, state))
			if got, _ := cat.NextTimeline(testCluster, Position{etcdCluster, 100_100, 9, 100_300}); got != lineA {
				t.Errorf("the healthy members go on on %s", got)
			}
			if got, _ := cat.NextTimeline(testCluster, Position{etcdCluster, 500, 8, 600}); got != timeline {
				t.Errorf("the member that was cut off goes on on %s", got)
			}
		}
	}
}

// An idle cluster looks the same to a member that was cut off, but its term may have risen.
func TestTimelineDoesNotBelieveTheTermOfACutOffMember(t *testing.T) {
	idle := seen(time.Minute, Position{etcdCluster, 100_000, 500, 100_100}, lineA, "", "")
	if got, _ := catalogue(healthy, idle).NextTimeline(testCluster, Position{etcdCluster, 100_001, 10, 100_105}); got != lineA {
		t.Errorf("the healthy members go on on %s", got)
	}
}
