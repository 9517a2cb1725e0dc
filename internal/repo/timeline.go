package repo

import "strings"

// timelineDigits is the length of a timeline ID: 64 bits in hex.
const timelineDigits = 16

// Position is where a live member stands, as its status says.
type Position struct {
	EtcdClusterID string // hex, as in a Manifest
	Revision      int64
	RaftTerm      uint64
	RaftIndex     uint64
}

// NextTimeline says on which timeline the next snapshot lies, and that timeline's parent. It depends on the
// catalogue and the position alone, so nodes that see the same repository agree without talking.
//
// The live store continues the timeline of the newest entry when it has the same etcd cluster ID
// and stands behind nothing that any entry of that timeline recorded:
//
//   - the revision is not lower,
//   - the raft term is not lower,
//   - the raft index is not lower than half.
//
// A store restored in place keeps its cluster ID; what gives it away is that its raft log begins
// anew, with term 2 and an index of a few entries, even where its revision was bumped beyond
// all. The index is only halved and not compared exactly because each member reports the index
// that it has applied: a follower may stand a little behind what another member recorded a moment
// ago. Revision and term may not stand behind: read the catalogue before the position, and only
// a member that is cut off does. It then starts a timeline of its own, which costs a name; the other error,
// taking a fork for a continuation, would cost the truth.
//
// Otherwise a new timeline begins, with the newest entry's as its parent.
//
// Every entry whose manifest was read is a witness, whether its signer is trusted or not, so that nodes
// that trust different keys agree. Only entries that are certainly not what a drd wrote
// (StateBadSignature, StateUnsigned), and entries from the future, are not. An entry that stands behind an earlier one
// (see Behind) is never the newest: what a member wrote that was cut off must not draw the healthy ones away from
// their timeline.
func (c *Catalogue) NextTimeline(cluster string, live Position) (timeline, parent string) {
	return c.nextTimeline(cluster, live, false)
}

// ForkTimeline is NextTimeline for a live store that was found not to hold what is archived: a new one begins, whatever
// its position says.
func (c *Catalogue) ForkTimeline(cluster string, live Position) (timeline, parent string) {
	return c.nextTimeline(cluster, live, true)
}

func (c *Catalogue) nextTimeline(cluster string, live Position, forked bool) (timeline, parent string) {
	witnesses := c.witnesses()
	newest, _ := newestOf(witnesses)
	if newest == nil {
		return timelineID(cluster, live.EtcdClusterID, "", ""), ""
	}
	p := newest.place()
	if !forked && p.EtcdClusterID == live.EtcdClusterID && !highWater(witnesses, p.Timeline).ahead(live) {
		return p.Timeline, p.TimelineParent
	}
	return timelineID(cluster, live.EtcdClusterID, p.Timeline, newest.ID.String()), p.Timeline
}

// timelineID is specified in docs/format.md.
func timelineID(cluster, etcdClusterID, parent, lastID string) string {
	text := strings.Join([]string{"drd timeline 1", cluster, etcdClusterID, parent, lastID, ""}, "\n")
	return Digest([]byte(text))[:timelineDigits]
}

// witnesses are the entries whose manifests say something about the history.
func (c *Catalogue) witnesses() []*Entry {
	var all []*Entry
	for i := range c.Entries {
		e := &c.Entries[i]
		if e.place() == nil || e.State == StateBadSignature || e.State == StateUnsigned || (!c.Read.IsZero() && e.future(c.Read)) {
			continue
		}
		all = append(all, e)
	}
	return all
}

// highWater is the furthest that any witness saw a timeline, field by field. The term of a member that was cut off is its
// own and not the cluster's: without pre-vote, which etcd 3.4 leaves off, it rises with each election that such a member
// calls in vain.
func highWater(witnesses []*Entry, timeline string) Position {
	var high Position
	for _, e := range witnesses {
		p := e.place()
		if p.Timeline != timeline {
			continue
		}
		high.Revision = max(high.Revision, p.Revision)
		high.RaftIndex = max(high.RaftIndex, p.RaftIndex)
		if !p.cutOff() {
			high.RaftTerm = max(high.RaftTerm, p.RaftTerm)
		}
	}
	return high
}

// ahead reports whether the live store cannot be the continuation of what was seen at p.
func (p Position) ahead(live Position) bool {
	return live.Revision < p.Revision || live.RaftTerm < p.RaftTerm || live.RaftIndex < p.RaftIndex/2
}
