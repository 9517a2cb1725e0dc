package repo

import "time"

// place is where an entry stands in the history of its cluster: what is kept of a manifest whose signer is not trusted.
type place struct {
	Format         int     `json:"format"`
	ID             string  `json:"id"`
	Cluster        string  `json:"cluster"`
	EtcdClusterID  string  `json:"etcd_cluster_id"`
	Timeline       string  `json:"timeline"`
	TimelineParent string  `json:"timeline_parent"`
	Revision       int64   `json:"revision"`
	RaftTerm       uint64  `json:"raft_term"`
	RaftIndex      uint64  `json:"raft_index"`
	Leader         *string `json:"leader"`
	Learner        bool    `json:"learner"`
}

// place is nil for an entry of which no manifest is known.
func (e *Entry) place() *place {
	m := e.Manifest
	if m == nil {
		return e.claimed
	}
	return &place{
		Format: m.Format, ID: m.ID, Cluster: m.Cluster,
		EtcdClusterID: m.EtcdClusterID, Timeline: m.Timeline, TimelineParent: m.TimelineParent,
		Revision: m.Revision, RaftTerm: m.RaftTerm, RaftIndex: m.RaftIndex, Leader: m.Leader, Learner: m.Learner,
	}
}

// valid reports whether a place that somebody claims can be that of the entry.
func (p *place) valid(id ID, cluster string) bool {
	return p.Format == ManifestFormat && p.ID == id.String() && p.Cluster == cluster && p.Revision == id.Revision &&
		hex64Pattern.MatchString(p.EtcdClusterID) && timelinePattern.MatchString(p.Timeline) &&
		(p.TimelineParent == "" || timelinePattern.MatchString(p.TimelineParent)) && p.TimelineParent != p.Timeline
}

// cutOff reports whether the member may have stood still while the cluster went on: it knew no leader, or it was a
// learner. Where that was not recorded the answer is no.
func (p *place) cutOff() bool { return p.Learner || (p.Leader != nil && *p.Leader == "") }

// Passed is an entry that is later than another one and yet stands behind it.
type Passed struct {
	Entry  *Entry
	Behind *Entry // has the same history, further on, and was dated earlier
}

// PassedOver are the entries that are later than Latest and were not chosen because they stand behind an earlier one, the
// latest first.
func (c *Catalogue) PassedOver(now time.Time, insecure bool) []Passed {
	_, passed := newestOf(c.restorable(now, insecure))
	return passed
}

// Behind returns the entry behind which e stands, nil when there is none. An entry stands behind an earlier one of the
// same etcd cluster ID that has a higher revision, when it should have gone on from there:
//
//   - on the same timeline, and its raft term is not higher: the clock that dated it was wrong, or its
//     member had fallen behind;
//   - from a member that was cut off (no leader, or a learner) and has made a timeline on which nobody else ever
//     wrote: it is an old state of the cluster, and no rebuilt one. A rebuilt or restored cluster begins with lower
//     revisions, too, but it has a leader.
//
// Without a recorded leader only the first holds. An entry with a good signature does not stand behind one without.
// With insecure, signatures do not count.
func (c *Catalogue) Behind(e *Entry, now time.Time, insecure bool) *Entry {
	all := c.restorable(now, insecure)
	return e.behind(all, grown(all))
}

// newestOf picks the newest of entries whose place is known, and says which later ones it passed over.
func newestOf(all []*Entry) (newest *Entry, passed []Passed) {
	lines := grown(all)
	skip := make(map[*Entry]bool)
	for range all {
		newest = nil
		for _, e := range all {
			if !skip[e] && (newest == nil || e.newer(newest)) {
				newest = e
			}
		}
		other := newest.behind(all, lines)
		if other == nil {
			return newest, passed
		}
		passed = append(passed, Passed{Entry: newest, Behind: other})
		skip[newest] = true
	}
	return newest, passed // not reached: the one with the highest revision stands behind none
}

// grown are the timelines on which a member wrote that was not cut off. If they began at lower revisions, then because
// the cluster was rebuilt.
func grown(all []*Entry) map[string]bool {
	lines := make(map[string]bool)
	for _, e := range all {
		if p := e.place(); !p.cutOff() {
			lines[p.Timeline] = true
		}
	}
	return lines
}

// behind returns the newest entry behind which e stands.
func (e *Entry) behind(all []*Entry, grown map[string]bool) *Entry {
	mine := e.place()
	if mine == nil {
		return nil
	}
	var found *Entry
	for _, other := range all {
		if mine.behind(other.place(), grown) && e.newer(other) && (e.State != StateOK || other.State == StateOK) &&
			(found == nil || other.newer(found)) {
			found = other
		}
	}
	return found
}

func (p *place) behind(other *place, grown map[string]bool) bool {
	if p.EtcdClusterID != other.EtcdClusterID || p.Revision >= other.Revision {
		return false
	}
	if p.cutOff() {
		return p.Timeline == other.Timeline || !grown[p.Timeline]
	}
	return p.Timeline == other.Timeline && p.RaftTerm <= other.RaftTerm
}
