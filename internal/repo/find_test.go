package repo

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// entry is an entry as a catalogue has it, in a state that goes with a payload as recorded.
func entry(state State, id ID, change func(*Manifest)) Entry {
	m := sample(id, []byte("x"))
	if change != nil {
		change(m)
	}
	e := Entry{ID: id, State: state, Manifest: m}
	e.Payload.Key, e.Payload.Size = "x", m.Object.Size
	return e
}

func catalogue(entries ...Entry) *Catalogue {
	return &Catalogue{Location: "memory", Cluster: testCluster, Read: testTime.Add(24 * time.Hour), Entries: entries}
}

func onTimeline(timeline, parent string) func(*Manifest) {
	return func(m *Manifest) { m.Timeline, m.TimelineParent = timeline, parent }
}

func TestLatest(t *testing.T) {
	now := testTime.Add(24 * time.Hour)
	a, b := strings.Repeat("a", 16), strings.Repeat("b", 16)
	for _, c := range []struct {
		name     string
		insecure bool
		entries  []Entry
		want     ID
	}{
		{"by time", false,
			[]Entry{entry(StateOK, at(0, 5, 1), nil), entry(StateOK, at(time.Hour, 9, 1), nil)}, at(time.Hour, 9, 1)},
		{"never by revision", false, // the cluster was rebuilt
			[]Entry{entry(StateOK, at(0, 90_000, 1), nil), entry(StateOK, at(time.Hour, 9, 1), onTimeline(b, a))}, at(time.Hour, 9, 1)},
		{"on one timeline in one second, by revision", false,
			[]Entry{entry(StateOK, at(0, 5, 2), nil), entry(StateOK, at(0, 6, 1), nil)}, at(0, 6, 1)},
		{"in one second, the child", false,
			[]Entry{entry(StateOK, at(0, 5, 1), onTimeline(b, a)), entry(StateOK, at(0, 90, 1), onTimeline(a, ""))}, at(0, 5, 1)},
		{"in one second, the child, listed last", false,
			[]Entry{entry(StateOK, at(0, 4, 1), onTimeline(a, "")), entry(StateOK, at(0, 5, 1), onTimeline(b, a))}, at(0, 5, 1)},
		{"only signed ones", false,
			[]Entry{entry(StateOK, at(0, 5, 1), nil), entry(StateUnsigned, at(time.Hour, 9, 1), nil)}, at(0, 5, 1)},
		{"unsigned ones when told so", true,
			[]Entry{entry(StateOK, at(0, 5, 1), nil), entry(StateUnsigned, at(time.Hour, 9, 1), nil)}, at(time.Hour, 9, 1)},
		{"not of the future", false,
			[]Entry{entry(StateOK, at(0, 5, 1), nil), entry(StateOK, at(24*time.Hour+FutureSkew+time.Second, 9, 1), nil)}, at(0, 5, 1)},
		{"a clock may be a little ahead", false,
			[]Entry{entry(StateOK, at(0, 5, 1), nil), entry(StateOK, at(24*time.Hour+FutureSkew, 9, 1), nil)}, at(24*time.Hour+FutureSkew, 9, 1)},
	} {
		got, err := catalogue(c.entries...).Latest(now, c.insecure)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got.ID.Compare(c.want) != 0 {
			t.Errorf("%s: %s, want %s", c.name, got.ID, c.want)
		}
	}
}

func TestLatestOfNothing(t *testing.T) {
	now := testTime.Add(time.Hour)
	for _, c := range []struct {
		entries []Entry
		want    []string
	}{
		{nil, []string{"no snapshot of cluster prod-east in memory", "name of the cluster"}},
		{[]Entry{{ID: at(0, 1, 1), State: StateIncomplete}, entry(StatePayloadSize, at(0, 2, 1), func(m *Manifest) { m.Object.Size = 9 })},
			[]string{"none of 2 snapshots", "1 incomplete", "drd list"}},
		{[]Entry{entry(StateUnknownSigner, at(0, 1, 1), nil), entry(StateUnknownSigner, at(0, 2, 1), nil), {ID: at(0, 1, 1), State: StateIncomplete}},
			[]string{"none of 3 snapshots", "1 incomplete, 2 unknown-signer", "--trust"}},
		{[]Entry{entry(StateOK, at(2*time.Hour, 1, 1), nil)}, []string{"1 dated in the future"}},
	} {
		cat := catalogue(c.entries...)
		for i := range cat.Entries { // what was planted with another size
			if m := cat.Entries[i].Manifest; m != nil && m.Object.Size == 9 {
				cat.Entries[i].Payload.Size = 1
			}
		}
		_, err := cat.Latest(now, false)
		if !errors.Is(err, ErrNothing) {
			t.Errorf("error is %v", err)
		}
		wantError(t, err, c.want...)
	}
}

func TestFuture(t *testing.T) {
	c := catalogue(entry(StateOK, at(0, 1, 1), nil), entry(StateUnsigned, at(time.Hour, 2, 1), nil), Entry{ID: at(48*time.Hour, 3, 1)})
	got := c.Future(testTime)
	if len(got) != 2 || got[0].ID.Revision != 2 || got[1].ID.Revision != 3 {
		t.Errorf("of the future: %+v", got)
	}
}

func TestFind(t *testing.T) {
	c := catalogue(
		entry(StateOK, at(0, 5, 0xb), nil), entry(StateOK, at(0, 5, 0xb1), nil),
		Entry{ID: at(time.Hour, 6, 1), State: StateIncomplete})
	for prefix, want := range map[string]ID{
		at(0, 5, 0xb).String():  at(0, 5, 0xb), // also a prefix of the next
		at(0, 5, 0xb1).String(): at(0, 5, 0xb1),
		"20261122T11":           at(time.Hour, 6, 1), // in whatever state
	} {
		if e, err := c.Find(prefix); err != nil || e.ID.Compare(want) != 0 {
			t.Errorf("Find(%q) = %+v, %v", prefix, e, err)
		}
	}
	for _, none := range []string{"", "x", "20261122T12", at(0, 5, 0xb1).String() + "1"} {
		_, err := c.Find(none)
		if !errors.Is(err, ErrNothing) {
			t.Errorf("Find(%q): error is %v", none, err)
		}
		wantError(t, err, "no snapshot", "drd list")
	}
	_, err := c.Find("20261122T10")
	wantError(t, err, "ambiguous", at(0, 5, 0xb).String(), at(0, 5, 0xb1).String(), "more of the ID")
	if errors.Is(err, ErrNothing) {
		t.Error("an ambiguous ID is taken for none")
	}
}

func TestFindNamesAFew(t *testing.T) {
	var entries []Entry
	for i := range int64(30) {
		entries = append(entries, entry(StateOK, at(0, i+1, 1), nil))
	}
	_, err := catalogue(entries...).Find("2026")
	wantError(t, err, "and 20 more")
}
