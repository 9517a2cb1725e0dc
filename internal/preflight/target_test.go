package preflight

import (
	"math"
	"strings"
	"testing"
)

func TestCheckRoom(t *testing.T) {
	here := t.TempDir()
	for name, c := range map[string]struct {
		path   string
		dbSize int64
		status Status
		detail string
		hints  int
	}{
		"room":         {here, 1, OK, " free in " + here, 0},
		"unknown size": {here, 0, OK, " free in " + here, 0},
		"too small":    {here, math.MaxInt64, Warn, "a snapshot of a database of 8.0 EiB may not fit", 1},
		"gone":         {here + "/gone", 1, Warn, "no such file", 0},
	} {
		got := checkRoom("target nas room", c.path, c.dbSize)
		if got.Name != "target nas room" || got.Status != c.status || !strings.Contains(got.Detail, c.detail) || len(got.Hints) != c.hints {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
