package repo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/hint"
)

// FutureSkew is how far ahead of the reader's clock a capture may have begun. What lies further
// ahead was dated by a clock that is wrong, and must not be the newest for as long as that takes
// to pass.
const FutureSkew = 5 * time.Minute

// maxNamed bounds how many entries an error names.
const maxNamed = 10

// Latest is the newest restorable entry: the newest by the time of capture, never the one with the
// highest revision, for a rebuilt cluster begins with low ones. Entries of the future do not count; Future names them.
// Entries that stand behind an earlier one do not count either; PassedOver names them, and Behind says what that means.
// Without any it returns an error wrapping ErrNothing. With insecure, signatures do not count.
func (c *Catalogue) Latest(now time.Time, insecure bool) (*Entry, error) {
	latest, _ := newestOf(c.restorable(now, insecure))
	if latest == nil {
		return nil, c.nothing(now, insecure)
	}
	return latest, nil
}

// restorable are the entries among which Latest chooses.
func (c *Catalogue) restorable(now time.Time, insecure bool) []*Entry {
	var all []*Entry
	for i := range c.Entries {
		if e := &c.Entries[i]; e.Restorable(insecure) && !e.future(now) {
			all = append(all, e)
		}
	}
	return all
}

// Future are the entries dated more than FutureSkew after now.
func (c *Catalogue) Future(now time.Time) []*Entry {
	var found []*Entry
	for i := range c.Entries {
		if e := &c.Entries[i]; e.future(now) {
			found = append(found, e)
		}
	}
	return found
}

func (e *Entry) future(now time.Time) bool { return InFuture(e.ID.Time, now) }

// InFuture reports whether an instant is one that no clock can have shown yet: more than FutureSkew after now.
func InFuture(at, now time.Time) bool { return at.After(now.Add(FutureSkew)) }

// wantsTrust reports whether the entry might be restorable for someone who trusts other keys.
func (e *Entry) wantsTrust() bool { return e.State == StateUnverified || e.State == StateUnknownSigner }

// newer orders two entries, whose place in the history is known, by the second in which their captures began. Within
// one second a timeline is newer than its parent, and on one timeline the higher revision is.
func (e *Entry) newer(other *Entry) bool {
	if e.ID.Time.Unix() != other.ID.Time.Unix() {
		return e.ID.Compare(other.ID) > 0
	}
	a, b := e.place(), other.place()
	switch {
	case a.Timeline == b.Timeline:
	case a.TimelineParent == b.Timeline:
		return true
	case b.TimelineParent == a.Timeline:
		return false
	}
	return e.ID.Compare(other.ID) > 0
}

// nothing explains why there is no latest entry.
func (c *Catalogue) nothing(now time.Time, insecure bool) error {
	if len(c.Entries) == 0 {
		return hint.New(fmt.Errorf("%w: no snapshot of cluster %s in %s", ErrNothing, c.Cluster, c.Location),
			"check the name of the cluster and the target, or take a snapshot with `drd snapshot`")
	}
	err := fmt.Errorf("%w: none of %d snapshots of cluster %s in %s can be used (%s)",
		ErrNothing, len(c.Entries), c.Cluster, c.Location, c.tally(now))
	if !insecure && slices.ContainsFunc(c.Entries, func(e Entry) bool { return e.wantsTrust() && !e.future(now) }) {
		return hint.New(err, "give the public keys of your nodes with --trust FILE")
	}
	return hint.New(err, "run `drd list` to see what is wrong with each")
}

// tally counts entries by state, in order of the states' names.
func (c *Catalogue) tally(now time.Time) string {
	count := make(map[string]int)
	for i := range c.Entries {
		state := string(c.Entries[i].State)
		if c.Entries[i].future(now) {
			state = "dated in the future"
		}
		count[state]++
	}
	var parts []string
	for state, n := range count {
		parts = append(parts, fmt.Sprintf("%d %s", n, state))
	}
	slices.SortFunc(parts, func(a, b string) int {
		return strings.Compare(a[strings.IndexByte(a, ' '):], b[strings.IndexByte(b, ' '):])
	})
	return strings.Join(parts, ", ")
}

// Find returns the entry with this ID, or the only one whose ID begins so, whatever its state. No
// such entry is an error wrapping ErrNothing.
func (c *Catalogue) Find(id string) (*Entry, error) {
	var found []*Entry
	for i := range c.Entries {
		e := &c.Entries[i]
		switch name := e.ID.String(); {
		case name == id:
			return e, nil
		case id != "" && strings.HasPrefix(name, id):
			found = append(found, e)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, hint.New(fmt.Errorf("%w: no snapshot %.80q of cluster %s in %s", ErrNothing, id, c.Cluster, c.Location),
			"run `drd list` to see what is there")
	}
	return nil, hint.New(fmt.Errorf("snapshot %q is ambiguous: %s", id, names(found)), "give more of the ID")
}

func names(entries []*Entry) string {
	var all []string
	for _, e := range entries[:min(len(entries), maxNamed)] {
		all = append(all, e.ID.String())
	}
	if more := len(entries) - len(all); more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}
