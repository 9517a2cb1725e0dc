package main

import (
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/proof"
)

// TestArchivedText: what a drill of an archived point says it tried, and who vouches for it; nobody is named where it did not come that far.
func TestArchivedText(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 15, 30, 0, time.UTC)
	for name, test := range map[string]struct {
		outcome  proof.Outcome
		archived proof.Archived
		want     []string
	}{
		"nobody vouches for it": {proof.Passed, proof.Archived{Revision: 500, Segments: 1}, []string{
			"PASSED  revision 500 from nas (drill of the archive)", "made of   snapshot S and 1 segment", "members   no live hash covers it"}},
		"one hash": {proof.Passed, proof.Archived{Revision: 500, Segments: 2, Compared: 1}, []string{
			"made of   snapshot S and 2 segments", "members   1 hash of live members agrees"}},
		"a time": {proof.Passed, proof.Archived{Revision: 500, At: &at, Compared: 2}, []string{
			"PASSED  revision 500 from nas", "time      2026-11-22T10:15:30Z", "members   2 hashes of live members agree"}},
		"outvoted": {proof.Passed, proof.Archived{Revision: 500, Compared: 2, Differed: 1}, []string{"members   2 of 3 hashes of live members agree"}},
		"failed":   {proof.Failed, proof.Archived{Revision: 500, Segments: 2}, []string{"FAILED  revision 500 from nas", "cause     segments: gone"}},
		"failed before the revision was known": {proof.Failed, proof.Archived{At: &at, Segments: 2}, []string{
			"FAILED  what was there at 2026-11-22T10:15:30Z from nas", "made of   snapshot S and 2 segments"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := proof.Drill{Snapshot: "S", Level: proof.LevelArchive, Outcome: test.outcome, Archived: &test.archived}
			if test.outcome != proof.Passed {
				d.Cause = "segments: gone"
			}
			var out strings.Builder
			(&verifyReport{app: &app{out: &out}}).writeDrill("nas", &d)
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, &out)
				}
			}
			if members := strings.Contains(out.String(), "\nmembers "); members != (test.outcome == proof.Passed) {
				t.Errorf("who vouches for it: %t:\n%s", members, &out)
			}
		})
	}
}
