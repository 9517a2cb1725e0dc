package repo

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestID(t *testing.T) {
	for s, want := range map[string]ID{
		"20261122T100000Z-r48211-8e9e05c52164694d": {testTime, 48211, memberA},
		"20261122T100000Z-r1-b1":                   {testTime, 1, memberB},
		"20240229T235959Z-r9223372036854775807-ffffffffffffffff": {
			time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC), math.MaxInt64, math.MaxUint64},
	} {
		got, err := ParseID(s)
		if err != nil {
			t.Errorf("ParseID(%q): %v", s, err)
			continue
		}
		if got.Compare(want) != 0 || got.String() != s || want.String() != s {
			t.Errorf("ParseID(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestIDKeepsSecondsInUTC(t *testing.T) {
	id := ID{time.Date(2026, 11, 22, 11, 0, 0, 999, time.FixedZone("CET", 3600)), 7, 1}
	if got := id.String(); got != "20261122T100000Z-r7-1" {
		t.Errorf("String() = %s", got)
	}
	if id.Compare(ID{testTime, 7, 1}) != 0 {
		t.Error("an ID differs from what its string parses to")
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{
		"",
		"20261122T100000Z",
		"20261122T100000Z-r5",
		"20261122T100000Z-r5-",
		"20261122T100000Z-r0-b1",                   // etcd begins with revision 1
		"20261122T100000Z-r05-b1",                  // leading zero
		"20261122T100000Z-r-5-b1",                  // sign
		"20261122T100000Z-r5-0",                    // no member has ID 0
		"20261122T100000Z-r5-0b1",                  // leading zero
		"20261122T100000Z-r5-B1",                   // upper case
		"20261122T100000Z-r5-b1 ",                  // trailing space
		"20261122T100000Z-r5-b1\n",                 // trailing newline
		"20261122T100000Z-r5-b1/x",                 // more
		"20261122t100000z-r5-b1",                   // lower case
		"20261131T100000Z-r5-b1",                   // November has 30 days
		"20261122T246000Z-r5-b1",                   // no such time
		"20261122T100000+0000-r5-b1",               // other zone
		"20261122T100000Z-r9223372036854775808-b1", // above int64
		"20261122T100000Z-r5-10000000000000000",    // above uint64
	} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v, want an error", s, id)
		}
	}
	_, err := ParseID(strings.Repeat("x", 5000))
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("the error echoes a long input: %v", err)
	}
}

func TestIDOrder(t *testing.T) {
	ordered := []ID{at(0, 9, 1), at(0, 10, 1), at(0, 10, 2), at(time.Second, 3, 1), at(time.Hour, 1, 1)}
	shuffled := []ID{ordered[3], ordered[1], ordered[4], ordered[0], ordered[2]}
	slices.SortFunc(shuffled, ID.Compare)
	if !slices.Equal(shuffled, ordered) {
		t.Errorf("sorted: %v", shuffled)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("20261122T100000Z-r48211-8e9e05c52164694d")
	f.Add("20261122T100000Z-r1-b1")
	f.Add("00000101T000000Z-r1-1")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if id.String() != s {
			t.Errorf("ParseID(%q) renders as %q", s, id)
		}
		if id.Revision < 1 || id.Member == 0 {
			t.Errorf("ParseID(%q) = %+v", s, id)
		}
	})
}
