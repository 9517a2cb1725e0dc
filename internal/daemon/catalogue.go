package daemon

import (
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/metrics"
	"github.com/drd-project/drd/internal/repo"
)

// find picks what matters of a catalogue. Only what can be restored counts: a snapshot by a signer whom this
// node does not trust is none, and one that is dated in the future is not the newest.
func find(c *repo.Catalogue, now time.Time) found {
	compared := &repo.Catalogue{}
	for _, e := range c.Entries {
		if !e.Restorable(false) {
			continue
		}
		if _, said := e.Manifest.Differing(); said {
			compared.Entries = append(compared.Entries, e)
		}
	}
	return found{newest: latest(c, now), compared: latest(compared, now)}
}

// latest is nil where nothing can be restored, which is Latest's only error.
func latest(c *repo.Catalogue, now time.Time) *repo.Entry {
	e, err := c.Latest(now, false)
	if err != nil {
		return nil
	}
	alone := *e // so that the whole catalogue is not kept with it
	return &alone
}

// publish tells what all targets have together. A target that cannot be read counts with what it had.
func (f *freshness) publish() {
	var newest, compared repo.Catalogue
	for _, one := range f.known {
		if one.newest != nil {
			newest.Entries = append(newest.Entries, *one.newest)
		}
		if one.compared != nil {
			compared.Entries = append(compared.Entries, *one.compared)
		}
	}
	var s metrics.Snapshot
	if e := latest(&newest, f.now()); e != nil {
		m := e.Manifest
		s = metrics.Snapshot{End: m.CaptureEnd, Revision: m.Revision, DBSize: m.DBSize, ObjectSize: m.Object.Size}
	}
	f.metrics.SetNewest(s)
	if e := latest(&compared, f.now()); e != nil {
		members, _ := e.Manifest.Differing()
		f.diverged.recorded(len(members))
	}
}

// targetMetrics counts a catalogue. The recovery point is where the capture of the newest snapshot began that no drill found broken: etcd
// fixes a snapshot's content when the stream opens, and what was written during it is not in there.
func targetMetrics(c *repo.Catalogue, newest, sound *repo.Entry) metrics.Target {
	t := metrics.Target{Amounts: map[metrics.Kind]metrics.Amount{
		metrics.KindSnapshot: {}, metrics.KindUnusable: {}, metrics.KindIncomplete: {},
		metrics.KindForeign: {Objects: c.ForeignCount, Bytes: -1},
	}}
	if newest != nil {
		t.RecoveryPoint, t.Replicated = sound.Manifest.CaptureStart, newest.Modified
	}
	for i := range c.Entries {
		e := &c.Entries[i]
		kind := metrics.KindUnusable
		switch {
		case e.Restorable(false):
			kind = metrics.KindSnapshot
		case e.State == repo.StateIncomplete:
			kind = metrics.KindIncomplete
		}
		a := t.Amounts[kind]
		t.Amounts[kind] = metrics.Amount{Objects: a.Objects + 1, Bytes: a.Bytes + e.Payload.Size}
	}
	return t
}

// unreadable is an error when the target did not hand out all of its manifests: it was read, but not whole.
func unreadable(c *repo.Catalogue) error {
	var first error
	count := 0
	for _, e := range c.Entries {
		if e.State != repo.StateUnreadable {
			continue
		}
		if count++; first == nil {
			first = e.Problem
		}
	}
	if count == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d snapshots could not be read: %w", count, len(c.Entries), first)
}
