package restore

import (
	"fmt"
	"math"
	"strconv"

	"github.com/drd-project/drd/internal/hint"
)

// kubernetesBump is etcd's own advice for Kubernetes: more revisions than a cluster writes in a week
// at 1,500 writes a second (etcd operations guide, "Disaster recovery").
const kubernetesBump = 1_000_000_000

// maxBump and maxRevision leave room for as many further revisions as were ever skipped.
const (
	maxBump     = math.MaxInt64 / 4
	maxRevision = math.MaxInt64 / 2
)

// Bump says how many revisions a restored store is moved forward. Clients that cached revisions of
// the lost cluster then see time go on, not back; everything up to the new revision is marked
// compacted, so that their old watches end and they read afresh. The zero value is "auto":
// 1,000,000,000 for a store with Kubernetes keys, 0 for any other.
type Bump struct {
	fixed bool
	by    int64
}

// BumpBy returns a Bump by exactly n revisions; 0 keeps every revision as it was.
func BumpBy(n int64) (Bump, error) {
	if n < 0 || n > maxBump {
		return Bump{}, fmt.Errorf("revision bump %d is not between 0 and %d", n, int64(maxBump))
	}
	return Bump{fixed: true, by: n}, nil
}

// ParseBump reads "auto" or a number of revisions.
func ParseBump(s string) (Bump, error) {
	if s == "auto" {
		return Bump{}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return Bump{}, hint.New(fmt.Errorf("revision bump %q is not a number", s), "give auto, 0 or a number of revisions such as 1000000000")
	}
	return BumpBy(n)
}

// String renders what ParseBump reads.
func (b Bump) String() string {
	if !b.fixed {
		return "auto"
	}
	return strconv.FormatInt(b.by, 10)
}

// amount is the number of revisions for a store that holds Kubernetes objects, or does not.
func (b Bump) amount(kubernetes bool) int64 {
	switch {
	case b.fixed:
		return b.by
	case kubernetes:
		return kubernetesBump
	}
	return 0
}
