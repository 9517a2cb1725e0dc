package prune

import (
	"fmt"
	"strings"
)

// Results are those of one run, in the order of the plan.
type Results []Result

// Count is how many have the outcome.
func (rs Results) Count(o Outcome) int {
	n := 0
	for _, r := range rs {
		if r.Outcome == o {
			n++
		}
	}
	return n
}

// Freed is what was deleted, in bytes as listed. In a versioned bucket the versions stay until the store's own rules
// remove them.
func (rs Results) Freed() int64 {
	var n int64
	for _, r := range rs {
		if r.Outcome == Deleted {
			n += r.Item.Size()
		}
	}
	return n
}

// Err is nil unless something should have been deleted and could not be. What is locked, gone or changed is no failure.
// It wraps the first cause.
func (rs Results) Err() error {
	var first error
	for _, r := range rs {
		if first == nil && (r.Outcome == Failed || r.Outcome == NotTried) {
			first = r.Err
		}
	}
	if first == nil {
		return nil
	}
	return fmt.Errorf("%d of %d could not be deleted: %w", rs.Count(Failed)+rs.Count(NotTried), len(rs), first)
}

// String sums the results up for people, "" when nothing was to be deleted.
func (rs Results) String() string {
	var parts []string
	for _, p := range []struct {
		outcome Outcome
		text    string
	}{
		{Deleted, "deleted"}, {Gone, "deleted by another node"}, {Locked, "locked until retention ends"},
		{Changed, "changed meanwhile and left alone"}, {Failed, "failed"}, {NotTried, "not tried"},
	} {
		if n := rs.Count(p.outcome); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, p.text))
		}
	}
	return strings.Join(parts, ", ")
}
