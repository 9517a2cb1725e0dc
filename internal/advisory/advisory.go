// Package advisory knows releases of etcd that can damage or lose data by a known bug of their own. A backup of such an etcd is as good
// as the data that it took: the operator should hear of it before the day it matters.
//
// The table holds what the etcd project says of itself, in its change logs and issues, and only bugs that lose writes, make
// members disagree or spoil the files. It is about the server, from etcd 3.4 on, and ends with what was known when this drd
// was built: that a release is not in it proves nothing.
package advisory

import (
	"slices"
	"strconv"
	"strings"
)

// Issue is a bug that a given release has.
type Issue struct {
	ID      string `json:"id"`      // "etcd-io/etcd#13766"
	Summary string `json:"summary"` // what can happen and when; lower case, no full stop
	Fixed   string `json:"fixed"`   // the first release without it: "3.5.3"
	// Patch is true when Fixed is a release of the same minor version, so that no more than a patch update is needed.
	Patch bool `json:"patch"`
}

// Known returns the bugs of a release, such as "3.5.2", oldest first. What follows the three numbers is ignored: a release candidate
// counts as the release, and a distribution's own patches are unknown. For a version that is none, or that the
// table does not cover, it returns nil; see Covers.
func Known(version string) []Issue {
	v, ok := parse(version)
	if !ok || !covered(v) {
		return nil
	}
	var found []Issue
	for _, b := range bugs() {
		if fixed, affected := b.affects(v); affected {
			found = append(found, Issue{ID: b.id, Summary: b.summary, Fixed: fixed.String(), Patch: fixed.sameMinor(v)})
		}
	}
	return found
}

// Covers says whether the table was written for releases such as this one: etcd 3.4 and later, up to the newest that was known.
func Covers(version string) bool {
	v, ok := parse(version)
	return ok && covered(v)
}

func covered(v release) bool {
	return v.compare(release{3, 4, 0}) >= 0 && (v.compare(newest) < 0 || v.sameMinor(newest))
}

// release is major, minor, patch.
type release [3]int

func (r release) String() string {
	return strconv.Itoa(r[0]) + "." + strconv.Itoa(r[1]) + "." + strconv.Itoa(r[2])
}

func (r release) compare(o release) int        { return slices.Compare(r[:], o[:]) }
func (r release) sameMinor(o release) bool     { return r[0] == o[0] && r[1] == o[1] }
func (r release) within(first, f release) bool { return r.compare(first) >= 0 && r.compare(f) < 0 }

// parse reads "3.5.2", "v3.5.2", "3.5.13-k3s1" and "3.6.0+dirty".
func parse(version string) (release, bool) {
	core := strings.TrimPrefix(version, "v")
	if i := strings.IndexAny(core, "-+~"); i >= 0 {
		core = core[:i]
	}
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return release{}, false
	}
	var r release
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return release{}, false
		}
		r[i] = int(n)
	}
	return r, true
}

// bug is a line of the table.
type bug struct {
	id      string
	summary string
	spans   []span
}

// span is a run of releases that have the bug.
type span struct{ first, fixed release }

// affects returns the release that ends the span of v.
func (b bug) affects(v release) (fixed release, affected bool) {
	for _, s := range b.spans {
		if v.within(s.first, s.fixed) {
			return s.fixed, true
		}
	}
	return release{}, false
}
