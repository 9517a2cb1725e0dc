package members

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/etcd"
)

// Report is what one poll found. Names, endpoints and versions are other machines' words, made printable.
type Report struct {
	At        time.Time // UTC
	ClusterID string    // in hex
	// Compaction is the revision of the newest compaction that was noticed; etcd.NeverCompacted where there was none, and 0
	// where databases are small and nobody looked.
	Compaction int64
	Members    []Member
	// Diverged are the differences that no newer comparison of the same members has overtaken. Empty is good news only
	// for the members that were compared.
	Diverged []Divergence
	Alarms   []etcd.Alarm // raised now
}

// Member is what the poll learned of one member.
type Member struct {
	ID       string // in hex
	Name     string // "" until it has started once
	Endpoint string // that answered, or was tried last
	Version  string // of the server; "" where it did not answer
	Learner  bool
	Revision int64   // newest of its store; 0 where it did not answer
	DBSize   int64   // bytes
	Triple   *Triple // its newest known hash; nil: none
	// NotCompared says why this member is not known to agree or differ now; "" where it is.
	NotCompared string
}

// Divergence is a pair of revisions for which members gave different hashes: they do not hold the same data.
type Divergence struct {
	Revision, CompactRevision int64
	Seen                      time.Time // of the newest of the answers
	// Sides are the different answers, the one that most members gave first. A member that is on two of them
	// changed its answer, which the data of one history never does.
	Sides []Side
}

// Side are the members that gave one answer.
type Side struct {
	Hash    uint32
	Members []string // IDs in hex, ascending
}

// Suspects are the members that differ from a majority of at least two that agree; nil where there is no such majority.
// That a member is alone makes it likely to be the wrong one, and proves nothing.
func (d Divergence) Suspects() []string {
	agree := len(d.Sides[0].Members)
	others := d.minority()
	if agree < 2 || agree <= len(others) {
		return nil
	}
	return others
}

// minority are the members of all sides but the first.
func (d Divergence) minority() []string {
	var out []string
	for _, s := range d.Sides[1:] {
		out = append(out, s.Members...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Differing are the members that no majority agrees with: the suspects, or all where there is no majority.
func (d Divergence) Differing() []string {
	if suspects := d.Suspects(); suspects != nil {
		return suspects
	}
	all := append(d.minority(), d.Sides[0].Members...)
	slices.Sort(all)
	return slices.Compact(all)
}

// Differing are the members that differ in any of the divergences, ascending.
func (r Report) Differing() []string {
	var out []string
	for _, d := range r.Diverged {
		out = append(out, d.Differing()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Compared is how many members are known to agree or to differ.
func (r Report) Compared() int {
	n := 0
	for _, m := range r.Members {
		if m.NotCompared == "" {
			n++
		}
	}
	return n
}

// String tells the divergence in one line, for a log.
func (d Divergence) String() string {
	var sides []string
	for _, s := range d.Sides {
		sides = append(sides, fmt.Sprintf("%d on %s", s.Hash, strings.Join(s.Members, ", ")))
	}
	text := fmt.Sprintf("at revision %d (compacted at %s) the hash is %s", d.Revision, compactedAt(d.CompactRevision), strings.Join(sides, ", but "))
	if suspects := d.Suspects(); suspects != nil {
		return text + "; suspect: " + strings.Join(suspects, ", ") + ", though hashes do not prove who is right"
	}
	return text + "; hashes do not say who is right"
}

func compactedAt(revision int64) string {
	if revision == etcd.NeverCompacted {
		return "none"
	}
	return fmt.Sprint(revision)
}
