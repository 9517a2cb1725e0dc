package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// What is shown of where the time goes: that is how a suite is kept short.
const (
	slowShown = 12 // tests at most
	slowFrom  = 5  // seconds
)

// timed is a test with its subtests.
type timed struct {
	source
	seconds float64
}

// took notes how long a test ran. Subtests count with their test.
func (r *results) took(s source, seconds float64) {
	if seconds >= slowFrom && !strings.Contains(s.name, "/") {
		r.slow = append(r.slow, timed{s, seconds})
	}
}

func writeSlow(out io.Writer, slow []timed) {
	slices.SortStableFunc(slow, func(a, b timed) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, t := range slow[:min(len(slow), slowShown)] {
		fmt.Fprintf(out, "slow: %5.1fs %s\n", t.seconds, t.source)
	}
}
