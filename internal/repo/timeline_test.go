package repo

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"time"
)

const (
	etcdCluster  = "cdf818194e3a8c32"
	otherCluster = "1"
	lineA        = "00000000000000a1"
	lineB        = "00000000000000b2"
)

// recorded is an entry that says how far a timeline had come.
func recorded(after time.Duration, revision int64, term, index uint64, timeline string) Entry {
	return entry(StateOK, at(after, revision, memberA), func(m *Manifest) {
		m.Timeline, m.RaftTerm, m.RaftIndex = timeline, term, index
		if timeline == lineB {
			m.TimelineParent = lineA
		}
	})
}

func TestTimelineContinues(t *testing.T) {
	for _, c := range []struct {
		name    string
		live    Position
		entries []Entry
	}{
		{"further on", Position{etcdCluster, 2000, 4, 9000}, []Entry{recorded(0, 1000, 3, 5000, lineA)}},
		{"idle", Position{etcdCluster, 1000, 3, 5000}, []Entry{recorded(0, 1000, 3, 5000, lineA)}},
		{"a follower that applies a moment later", Position{etcdCluster, 1000, 3, 4990}, []Entry{recorded(0, 1000, 3, 5000, lineA)}},
		{"on the newest timeline", Position{etcdCluster, 60, 2, 70},
			[]Entry{recorded(0, 9000, 8, 9000, lineA), recorded(time.Hour, 50, 2, 60, lineB)}},
		{"an import without raft state", Position{etcdCluster, 60, 2, 70}, []Entry{recorded(0, 50, 0, 0, lineA)}},
	} {
		newest := c.entries[len(c.entries)-1].Manifest
		timeline, parent := catalogue(c.entries...).NextTimeline(testCluster, c.live)
		if timeline != newest.Timeline || parent != newest.TimelineParent {
			t.Errorf("%s: %s after %s, want %s after %s", c.name, timeline, parent, newest.Timeline, newest.TimelineParent)
		}
	}
}

func TestTimelineForks(t *testing.T) {
	before := recorded(0, 1000, 3, 5000, lineA)
	for _, c := range []struct {
		name    string
		live    Position
		entries []Entry
	}{
		{"other cluster ID", Position{otherCluster, 2000, 4, 9000}, []Entry{before}},
		{"restored in place", Position{etcdCluster, 800, 2, 3}, []Entry{before}},
		{"restored in place at the very revision", Position{etcdCluster, 1000, 3, 3}, []Entry{before}},
		{"restored in place with bumped revision", Position{etcdCluster, 1_000_001_000, 2, 3}, []Entry{before}},
		{"restored in place, both of term 2", Position{etcdCluster, 1100, 2, 120}, []Entry{recorded(0, 1000, 2, 5000, lineA)}},
		{"revision went backwards", Position{etcdCluster, 999, 3, 6000}, []Entry{before}},
		{"term went backwards", Position{etcdCluster, 1001, 2, 6000}, []Entry{before}},
		{"index is far behind", Position{etcdCluster, 1001, 3, 2499}, []Entry{before}},
		{"behind an earlier entry of a faster clock", Position{etcdCluster, 1500, 3, 6000},
			[]Entry{recorded(-time.Minute, 2000, 3, 6000, lineA), before}},
		{"continues only an older timeline", Position{etcdCluster, 2000, 3, 6000},
			[]Entry{before, recorded(time.Hour, 3000, 3, 6000, lineB)}},
	} {
		newest := c.entries[len(c.entries)-1].Manifest
		timeline, parent := catalogue(c.entries...).NextTimeline(testCluster, c.live)
		if parent != newest.Timeline || timeline == lineA || timeline == lineB {
			t.Errorf("%s: %s after %s, want a new one after %s", c.name, timeline, parent, newest.Timeline)
		}
		if !timelinePattern.MatchString(timeline) {
			t.Errorf("%s: timeline %q", c.name, timeline)
		}
	}
}

// Once the fork has an entry, everybody is on it.
func TestTimelineStaysForked(t *testing.T) {
	before := recorded(0, 1000, 3, 5000, lineA)
	restored := Position{etcdCluster, 800, 2, 3}
	timeline, parent := catalogue(before).NextTimeline(testCluster, restored)
	after := entry(StateOK, at(time.Hour, 810, memberB), func(m *Manifest) {
		m.Timeline, m.TimelineParent, m.RaftTerm, m.RaftIndex = timeline, parent, 2, 20
	})
	got, gotParent := catalogue(before, after).NextTimeline(testCluster, Position{etcdCluster, 900, 2, 130})
	if got != timeline || gotParent != parent {
		t.Errorf("%s after %s, want %s after %s", got, gotParent, timeline, parent)
	}
}

func TestTimelineID(t *testing.T) {
	sum := sha256.Sum256([]byte("drd timeline 1\nprod-east\ncdf818194e3a8c32\n\n\n"))
	want := hex.EncodeToString(sum[:8])
	first, parent := catalogue().NextTimeline(testCluster, Position{EtcdClusterID: etcdCluster, Revision: 1})
	if first != want || parent != "" {
		t.Errorf("first timeline is %s after %q, want %s", first, parent, want)
	}
	sum = sha256.Sum256([]byte("drd timeline 1\nprod-east\n1\n00000000000000a1\n20261122T100000Z-r1000-8e9e05c52164694d\n"))
	want = hex.EncodeToString(sum[:8])
	next, parent := catalogue(recorded(0, 1000, 3, 5000, lineA)).NextTimeline(testCluster, Position{EtcdClusterID: otherCluster})
	if next != want || parent != lineA {
		t.Errorf("next timeline is %s after %s, want %s", next, parent, want)
	}
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(next) {
		t.Errorf("timeline %q", next)
	}
}

// Two nodes see the same objects in whatever order, and with different trust.
func TestTimelineIsTheSameForEveryNode(t *testing.T) {
	entries := []Entry{
		recorded(0, 1000, 3, 5000, lineA), recorded(time.Hour, 50, 2, 60, lineB), recorded(time.Hour, 51, 2, 61, lineB),
		recorded(2*time.Hour, 70, 2, 80, lineB),
		entry(StateOK, at(2*time.Hour, 70, memberB), onTimeline(lineB, lineA)),
	}
	live := Position{etcdCluster, 60, 2, 70}
	want, wantParent := catalogue(entries...).NextTimeline(testCluster, live)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		other := slices.Clone(entries)
		random.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
		for i := range other {
			other[i].State = []State{StateOK, StateUnknownSigner, StateUnverified, StateExpiredSigner}[random.IntN(4)]
		}
		if got, parent := catalogue(other...).NextTimeline(testCluster, live); got != want || parent != wantParent {
			t.Fatalf("%s after %s, want %s after %s", got, parent, want, wantParent)
		}
	}
}

func TestTimelineWitnesses(t *testing.T) {
	before := recorded(0, 1000, 3, 5000, lineA)
	live := Position{etcdCluster, 2000, 3, 9000}
	for name, e := range map[string]Entry{
		"unsigned":      withState(recorded(time.Hour, 90_000, 9, 90_000, lineB), StateUnsigned),
		"bad signature": withState(recorded(time.Hour, 90_000, 9, 90_000, lineB), StateBadSignature),
		"no manifest":   {ID: at(time.Hour, 90_000, memberB), State: StateIncomplete},
		"of the future": recorded(48*time.Hour, 90_000, 9, 90_000, lineB),
	} {
		if timeline, _ := catalogue(before, e).NextTimeline(testCluster, live); timeline != lineA {
			t.Errorf("%s: an entry that says nothing led to timeline %s", name, timeline)
		}
	}
	c := catalogue(before, recorded(48*time.Hour, 1500, 3, 5500, lineB))
	c.Read = time.Time{} // nobody knows what is the future
	if timeline, _ := c.NextTimeline(testCluster, live); timeline != lineB {
		t.Errorf("without a time of reading: timeline %s", timeline)
	}
}

func withState(e Entry, s State) Entry {
	e.State = s
	return e
}
