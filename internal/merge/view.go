package merge

import (
	"context"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// recent is how long after it came to the target a segment is looked at: longer than this node keeps the keys of small ones. So the
// view stays small where nothing is ever deleted.
const recent = 8 * 24 * time.Hour

// lookPause is for each 1,000 objects of a target how long it is left alone after it was listed: 2,880 LIST requests a day at most, where
// Object Lock or missing permissions keep what was merged.
const lookPause = 30 * time.Second

// maxView is how many records are kept, about 2 KiB each: those of half a day at one every five seconds. There are that many only
// where merging was not done for long, and then what is older comes first.
const maxView = 8000

// view is what is known of the segments of a target, so that each record is read once: they never change.
type view map[repo.SegmentName]*repo.SegmentEntry

// look lists the target and reads the records that are new. more reports whether some were left for another look.
func (m *Merger) look(ctx context.Context, ids []age.Identity) (more bool, err error) {
	listed, err := m.repo.ListSegments(ctx, repo.SegmentQuery{Limit: 1, Since: m.cfg.Now().Add(-recent)}, m.cfg.Trust)
	if err != nil {
		return false, err
	}
	m.rests = m.cfg.Now().Add(time.Duration(2*(len(listed.Entries)+listed.Older)/1000) * lookPause)
	there := make(view, len(listed.Entries))
	for i := range listed.Entries {
		there[listed.Entries[i].Name] = &listed.Entries[i]
	}
	for name, e := range m.view {
		if now := there[name]; now == nil || now.Payload.Key != e.Payload.Key || now.Payload.Size != e.Payload.Size {
			delete(m.view, name)
		}
	}
	unread := m.unread(listed.Entries, there, len(ids) > 0)
	room := max(0, maxView-len(m.view))
	more = len(unread) > room
	unread = unread[:min(len(unread), room)]
	if err := m.repo.ReadSegments(ctx, unread, m.cfg.Trust); err != nil {
		return false, err
	}
	dropped := m.take(unread)
	return more && dropped, nil
}

// unread are the entries, in their order, that this node can open and does not know yet.
func (m *Merger) unread(entries []repo.SegmentEntry, there view, all bool) []*repo.SegmentEntry {
	replaced := m.view.replaced()
	var unread []*repo.SegmentEntry
	for i := range entries {
		e := &entries[i]
		if there[e.Name] == nil || e.Payload.Key == "" || m.view[e.Name] != nil || replaced(e.Name) {
			continue
		}
		if _, aside := m.aside[e.Name]; aside {
			continue
		}
		if _, ok := m.cfg.Keys.Get(e.Payload.Key); ok || all {
			unread = append(unread, e)
		}
	}
	return unread
}

// take keeps what may be merged, and what says that others were. It reports whether there is room again.
func (m *Merger) take(read []*repo.SegmentEntry) (dropped bool) {
	until := m.cfg.Now().Add(leaveFor)
	for _, e := range read {
		switch {
		case e.State == repo.StateOK:
			alone := *e // so that the whole listing is not kept with it
			m.view[e.Name] = &alone
		case e.State != repo.StateUnreadable && e.State != repo.StateUnread: // `drd list` says what is wrong with it
			m.aside[e.Name] = until
		}
	}
	replaced := m.view.replaced()
	for name, e := range m.view {
		if e.Segment.Merged == nil && replaced(name) {
			delete(m.view, name)
			dropped = true
		}
	}
	return dropped
}

// replaced tells which segments a merged one takes the place of.
func (v view) replaced() func(repo.SegmentName) bool {
	by := make(map[string][]*repo.Segment) // by the hash of what is replaced
	for _, e := range v {
		if e.Segment.Merged != nil {
			for _, hash := range e.Segment.Merged.Segments {
				by[hash] = append(by[hash], e.Segment)
			}
		}
	}
	return func(n repo.SegmentName) bool {
		return slices.ContainsFunc(by[n.Hash], func(s *repo.Segment) bool { return s.Replaces(n) })
	}
}

// usable are the segments that count for a plan.
func (m *Merger) usable(ids []age.Identity) []*repo.SegmentEntry {
	replaced := m.view.replaced()
	var usable []*repo.SegmentEntry
	for name, e := range m.view {
		if _, aside := m.aside[name]; !aside && !replaced(name) && m.opens(e.Segment, ids) && m.forAll(e.Segment) {
			usable = append(usable, e)
		}
	}
	return usable
}

// forAll reports whether who can open a segment can open what this node makes of it. A node with an old list of recipients would
// take the archive away from those who have its identity: retention deletes what is merged.
func (m *Merger) forAll(s *repo.Segment) bool {
	ours := m.cfg.Recipients.Fingerprints()
	return !slices.ContainsFunc(s.Object.Recipients, func(of string) bool { return !slices.Contains(ours, of) })
}

// opens reports whether this node has what a segment is sealed for. An identity whose recipient is not known, such as a plugin's,
// may open anything.
func (m *Merger) opens(s *repo.Segment, ids []age.Identity) bool {
	_, ok := m.cfg.Keys.Get(m.repo.SegmentPayloadKey(s))
	return ok || slices.ContainsFunc(ids, func(id age.Identity) bool {
		of := seal.Fingerprint(id)
		return of == "" || slices.Contains(s.Object.Recipients, of)
	})
}
