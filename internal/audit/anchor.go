package audit

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Witness is where hashes of records are kept besides the log.
type Witness string

// The witnesses.
const (
	Journal   Witness = "journal"   // the system's, on the same host
	Snapshots Witness = "snapshots" // the signed manifests of what the host backed up
)

// Anchor is a record that a witness knows of.
type Anchor struct {
	Sequence int64
	Hash     string // of its line, without the newline: SHA-256 in hex
	Witness  Witness
	Where    string    // who knows, for errors: "the journal", "snapshot …"
	Time     time.Time // when it was known, by the clock of the log's host; zero: not told
}

var (
	// ErrTampered is wrapped where the log is not what drd wrote.
	ErrTampered = errors.New("the audit log is not what drd wrote")
	// ErrReplaced is wrapped where the log begins only after a witness knew another record: it is another log. A new state directory looks
	// so, and so does a log that was removed.
	ErrReplaced = errors.New("the audit log is another one than before")
)

// comparison is of the log with what witnesses know.
type comparison struct {
	anchors map[int64][]Anchor // by sequence
	found   []finding
}

// finding is an anchor whose record is not in the log.
type finding struct {
	Anchor
	place string // FILE:LINE of the record that has its number; "": there is none
}

func compareWith(anchors []Anchor) *comparison {
	c := &comparison{anchors: make(map[int64][]Anchor)}
	for _, a := range anchors {
		c.anchors[a.Sequence] = append(c.anchors[a.Sequence], a)
	}
	return c
}

// record compares a record of the log, of which hash is that of its line.
func (c *comparison) record(chain *Chain, place string, sequence int64, hash string) {
	for _, a := range c.anchors[sequence] {
		if a.Hash == hash {
			chain.Matched[a.Witness]++
		} else {
			c.found = append(c.found, finding{a, place})
		}
	}
}

// conclude says what the whole log lacks. Records before its first were taken away with their file, which is no fault.
func (c *comparison) conclude(chain *Chain, anchors []Anchor) []error {
	var witnesses []Witness
	for _, a := range anchors {
		if !slices.Contains(witnesses, a.Witness) {
			witnesses = append(witnesses, a.Witness)
		}
		switch {
		case a.Sequence > chain.Last:
			c.found = append(c.found, finding{Anchor: a})
		case a.Sequence < chain.First:
			chain.Older = append(chain.Older, a)
		}
	}
	var problems []error
	for _, w := range witnesses {
		problems = append(problems, c.of(w, chain)...)
	}
	return problems
}

// of tells the worst of what one witness knows, and not all of it.
func (c *comparison) of(w Witness, chain *Chain) (problems []error) {
	var replaced, beyond, differs *finding
	more := -1
	for i := range c.found {
		f := &c.found[i]
		switch {
		case f.Witness != w:
		case chain.Records > 0 && !f.Time.IsZero() && chain.Since.After(f.Time):
			replaced = higher(replaced, f)
		case f.place == "":
			beyond = higher(beyond, f)
		default:
			more++
			if differs == nil || f.Sequence < differs.Sequence {
				differs = f
			}
		}
	}
	if replaced != nil {
		problems = append(problems, fmt.Errorf("%w: it begins with record %d, of %s, and before that there was record %d, which %s has: "+
			"the state directory is a new one, the log was removed, or the clock was wrong", ErrReplaced, chain.First, at(chain.Since), replaced.Sequence, replaced.Where))
	}
	if differs != nil {
		problems = append(problems, fmt.Errorf("%w: %s, record %d, is another one than %s has%s: its end was cut off and it went on, it was written anew, "+
			"or the state directory is an old copy", ErrTampered, differs.place, differs.Sequence, differs.Where, also(more)))
	}
	if beyond != nil {
		problems = append(problems, fmt.Errorf("%w: %s, and %s has record %d: its end was cut off, the file was removed, "+
			"or the state directory is an old copy", ErrTampered, chain.end(), beyond.Where, beyond.Sequence))
	}
	return problems
}

func higher(a, b *finding) *finding {
	if a == nil || b.Sequence > a.Sequence {
		return b
	}
	return a
}

func also(more int) string {
	if more == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more are", more)
}

// end says where a log ends.
func (c *Chain) end() string {
	if c.Records == 0 {
		return "there is none"
	}
	return fmt.Sprintf("it ends with record %d, of %s", c.Last, at(c.Until))
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }
