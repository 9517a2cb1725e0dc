package repo

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// idTime is the first part of an identifier: sortable, UTC, to the second.
const idTime = "20060102T150405Z"

var idPattern = regexp.MustCompile(`^([0-9]{8}T[0-9]{6}Z)-r([1-9][0-9]{0,18})-([1-9a-f][0-9a-f]{0,15})$`)

// ID names one snapshot, for example 20261122T100000Z-r48211-8e9e05c52164694d. Keys that begin
// with an ID sort by time.
type ID struct {
	Time     time.Time // start of the capture; only whole seconds in UTC count
	Revision int64     // etcd revision of the snapshot, from 1
	Member   uint64    // etcd ID of the member it was taken from, never 0
}

// ParseID reads an identifier. It is strict: what it accepts, String renders identically.
func ParseID(s string) (ID, error) {
	part := idPattern.FindStringSubmatch(s)
	if part == nil {
		return ID{}, fmt.Errorf("%.80q is not a snapshot ID (YYYYMMDDThhmmssZ-r<revision>-<member>)", s)
	}
	t, err := time.Parse(idTime, part[1])
	if err != nil {
		return ID{}, fmt.Errorf("snapshot ID %q: no such time", s)
	}
	revision, err := strconv.ParseInt(part[2], 10, 64)
	if err != nil {
		return ID{}, fmt.Errorf("snapshot ID %q: revision is out of range", s)
	}
	member, err := strconv.ParseUint(part[3], 16, 64)
	if err != nil {
		return ID{}, fmt.Errorf("snapshot ID %q: member is out of range", s)
	}
	return ID{Time: t, Revision: revision, Member: member}, nil
}

// String renders the identifier as it stands in keys and manifests.
func (id ID) String() string {
	return id.Time.UTC().Format(idTime) + "-r" + strconv.FormatInt(id.Revision, 10) + "-" + strconv.FormatUint(id.Member, 16)
}

// Compare orders identifiers by second, then revision, then member: -1, 0 or 1.
func (id ID) Compare(other ID) int {
	return cmp.Or(
		cmp.Compare(id.Time.Unix(), other.Time.Unix()),
		cmp.Compare(id.Revision, other.Revision),
		cmp.Compare(id.Member, other.Member),
	)
}
