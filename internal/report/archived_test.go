package report_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/report"
	"github.com/drd-project/drd/internal/seal/sealtest"
)

// pointOf is a drill of an archived point that begins with a snapshot.
func pointOf(e *repo.Entry, at time.Time, level proof.Level, outcome proof.Outcome, point proof.Archived) proof.Drill {
	d := drillOf(e, at, proof.LevelData, outcome)
	d.Level, d.Archived = level, &point
	if level.Boots() && outcome == proof.Passed {
		d.Etcd, d.RecoverySeconds = "3.7.0 (embedded)", 52.25
	}
	point.Timeline = e.Manifest.Timeline
	if point.Segments > 0 {
		point.First, point.Last = "0000000000000000501-0000000000000000600-00c0ffee", "0000000000000000801-0000000000000000900-0ddba11c"
		point.SHA256, point.Bytes = strings.Repeat("5e", 32), 3<<20
	}
	return d
}

// archiveStory is a target whose archive was drilled: with and without hashes of live members, one that a snapshot holds itself, one whose
// data alone were checked, one that could not be found out, and a time that failed before its revision was known, and stands.
func archiveStory(t *testing.T) report.Config {
	t.Helper()
	keys := sealtest.New(t)
	s := newSite(t, keys, "primary")
	e := s.snapshot(until.Add(-hours(30)), 500)
	asked := until.Add(-hours(26)).Add(15*time.Minute + 30*time.Second)
	point := func(kind string, revision int64) proof.Archived {
		return proof.Archived{Kind: kind, Revision: revision, Segments: 4, Replayed: revision - 500, Base: proof.Passed}
	}
	newest, older, alone, outvoted := point(proof.PointNewest, 900), point(proof.PointOlder, 620), point(proof.PointOlder, 480), point(proof.PointNewest, 880)
	newest.Compared = 12
	alone.Segments, alone.Replayed = 0, 0
	outvoted.Compared, outvoted.Differed = 2, 1
	at := func(ago int) time.Time { return until.Add(-hours(ago)) }
	s.record(keys.Signer, at(29), drillOf(e, at(29), proof.LevelDrill, proof.Passed))
	s.record(keys.Signer, at(28), pointOf(e, at(28), proof.LevelArchive, proof.Passed, outvoted))
	s.record(keys.Signer, at(27), pointOf(e, at(27), proof.LevelArchiveData, proof.Passed, alone))
	s.record(keys.Signer, at(6), pointOf(e, at(6), proof.LevelArchive, proof.Passed, newest))
	s.record(keys.Signer, at(5), pointOf(e, at(5), proof.LevelArchive, proof.Passed, older))
	s.record(keys.Signer, at(4), pointOf(e, at(4), proof.LevelArchive, proof.Inconclusive, point(proof.PointOlder, 700)))
	s.record(keys.Signer, at(3), pointOf(e, at(3), proof.LevelArchive, proof.Failed, proof.Archived{Kind: proof.PointOlder, At: &asked, Segments: 3}))
	return report.Config{
		Cluster: cluster, Since: until.AddDate(0, 0, -2), Until: until, Ticks: sixHourly, Sources: []report.Source{s.source()}, Lost: []replicate.Loss{},
		Build: repo.Build{Version: "1.0.0"},
	}
}

// withoutChance replaces what differs between two runs: keys, digests of records, and the directory.
func withoutChance(r *report.Report, text string) string {
	var pairs []string
	hide := func(chance, name string) {
		pairs = append(pairs, chance, name, strings.ReplaceAll(chance, "+", "&#43;"), name) // the second as html/template writes a key
	}
	for _, x := range r.Records {
		hide(x.SHA256, "DIGEST")
		hide(x.Fingerprint, "KEY")
	}
	for _, x := range r.Targets {
		hide(x.Location, "file://DIR")
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// TestArchived: the drills of the archive stand apart, say what each point was made of and who vouches for it, and one that stands failed
// is named, in all three forms of the report.
func TestArchived(t *testing.T) {
	r := report.Make(archiveStory(t))
	var text, page, document bytes.Buffer
	enc := json.NewEncoder(&document)
	enc.SetIndent("", "  ")
	for _, err := range []error{r.WriteText(&text), r.WriteHTML(&page), enc.Encode(r)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "archived.txt", withoutChance(r, text.String()))
	golden(t, "archived.html", withoutChance(r, page.String()))
	golden(t, "archived.json", withoutChance(r, document.String()))
	if strings.Contains(page.String(), "passed on every target") {
		t.Error("the page's verdict is good although an archived point stands failed")
	}
}

// TestArchivedMended: when one of its kind passes the page is good again.
func TestArchivedMended(t *testing.T) {
	keys := sealtest.New(t)
	s := newSite(t, keys, "primary")
	e := s.snapshot(until.Add(-hours(30)), 500)
	point := proof.Archived{Kind: proof.PointOlder, Revision: 620, Segments: 4, Base: proof.Passed}
	s.record(keys.Signer, until.Add(-hours(9)), drillOf(e, until.Add(-hours(9)), proof.LevelDrill, proof.Passed))
	for i, outcome := range []proof.Outcome{proof.Failed, proof.Passed} {
		at := until.Add(-hours(8 - i))
		s.record(keys.Signer, at, pointOf(e, at, proof.LevelArchive, outcome, point))
		r := report.Make(report.Config{Cluster: cluster, Since: since, Until: until, Sources: []report.Source{s.source()}})
		var page bytes.Buffer
		if err := r.WriteHTML(&page); err != nil {
			t.Fatal(err)
		}
		good := outcome == proof.Passed
		if (len(r.Targets[0].ArchiveFailed) == 0) != good || strings.Contains(page.String(), "passed on every target") != good {
			t.Errorf("after a drill that %s: %+v", outcome, r.Targets[0])
		}
	}
}
