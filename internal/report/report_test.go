package report_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/report"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	until = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	since = until.AddDate(0, 0, -30)
)

const cluster = "prod-east"

// site is a target with a signer and snapshots of which only the manifests matter here.
type site struct {
	t    *testing.T
	keys *sealtest.Keys
	repo *repo.Repository
	name string
	made []*repo.Entry
}

func newSite(t *testing.T, keys *sealtest.Keys, name string) *site {
	t.Helper()
	b, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(b, cluster)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, keys: keys, repo: r, name: name}
}

func (s *site) target() proof.Target {
	return proof.Target{Name: s.name, Location: s.repo.Bucket().Location()}
}

// snapshot is an entry as a catalogue has it.
func (s *site) snapshot(at time.Time, revision int64) *repo.Entry {
	id := repo.ID{Time: at, Revision: revision, Member: 0xa1}
	e := &repo.Entry{ID: id, State: repo.StateOK, Digest: strings.Repeat("ab", 32), Manifest: &repo.Manifest{
		ID: id.String(), CaptureStart: at, CaptureEnd: at, Revision: revision, Timeline: "0123456789abcdef", Object: repo.Object{Name: "snapshot.db.zst.age", Size: 40 << 20},
	}}
	e.Payload = storage.Object{Key: s.repo.PayloadKey(id, "snapshot.db.zst.age"), Size: 40 << 20}
	s.made = append(s.made, e)
	return e
}

func (s *site) catalogue() *repo.Catalogue {
	c := &repo.Catalogue{Location: s.repo.Bucket().Location(), Cluster: cluster, Read: until}
	for _, e := range s.made {
		c.Entries = append(c.Entries, *e)
	}
	return c
}

func drillOf(e *repo.Entry, at time.Time, level proof.Level, outcome proof.Outcome) proof.Drill {
	d := proof.Drill{
		Snapshot: e.ID.String(), ManifestSHA256: e.Digest, CapturedAt: e.Manifest.CaptureStart, Revision: e.Manifest.Revision,
		Level: level, Outcome: outcome, Started: at, Seconds: 45, ObjectBytes: 40 << 20, DBSize: 180 << 20,
		Checks: []proof.Check{{Name: "signature", Outcome: proof.Passed}},
	}
	if level == proof.LevelDrill {
		d.Etcd = "3.7.0 (embedded)"
		if outcome == proof.Passed {
			d.RecoverySeconds = 41.5
		}
	}
	if outcome != proof.Passed {
		d.Cause = "object: <b>content</b> differs"
		d.Checks[0].Outcome = outcome
	}
	return d
}

// record stores the record of a run.
func (s *site) record(signer *seal.Signer, at time.Time, drills ...proof.Drill) {
	s.t.Helper()
	rec := &proof.Record{
		Kind: proof.RecordKind, Format: proof.RecordFormat, ID: proof.NewID(at, "cp-1"), Cluster: cluster, Host: "cp-1",
		Trigger: proof.TriggerSchedule, Target: s.target(), Started: at, Ended: at.Add(time.Minute), Drills: drills, Drd: repo.Build{Version: "1.0.0"},
	}
	if _, _, err := proof.Store(s.t.Context(), s.repo, rec, signer); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) source() report.Source {
	s.t.Helper()
	h, err := proof.Read(s.t.Context(), s.repo, s.keys.Trust, proof.ReadOptions{Target: s.target(), Now: until})
	if err != nil {
		s.t.Fatal(err)
	}
	return report.Source{Target: s.target(), Catalogue: s.catalogue(), History: h}
}

func hours(n int) time.Duration { return time.Duration(n) * time.Hour }

// sixHourly are ticks at 00, 06, 12 and 18 o'clock.
func sixHourly(from, to time.Time) []time.Time {
	var ticks []time.Time
	for t := from.Truncate(hours(6)); t.Before(to); t = t.Add(hours(6)) {
		if !t.Before(from) {
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// story is a month with everything in it: passes, a failure, a drill that could not find out, a foreign record, a missed tick.
func story(t *testing.T) report.Config {
	t.Helper()
	keys := sealtest.New(t)
	primary, nas := newSite(t, keys, "primary"), newSite(t, keys, "nas")
	old := primary.snapshot(until.Add(-hours(36)), 100)
	mid := primary.snapshot(until.Add(-hours(30)), 200)
	// 24 hours ago: missed
	later := primary.snapshot(until.Add(-hours(18)), 300)
	newest := primary.snapshot(until.Add(-hours(6)), 500)
	primary.snapshot(until.Add(-hours(12)), 400)
	primary.record(keys.Signer, until.Add(-hours(60)), drillOf(old, until.Add(-hours(60)), proof.LevelDrill, proof.Inconclusive))
	primary.record(keys.Signer, until.Add(-hours(29)), drillOf(mid, until.Add(-hours(29)), proof.LevelDrill, proof.Passed), drillOf(old, until.Add(-hours(28)), proof.LevelDrill, proof.Failed))
	primary.record(keys.Signer, until.Add(-hours(5)), drillOf(newest, until.Add(-hours(5)), proof.LevelDrill, proof.Passed), drillOf(later, until.Add(-hours(4)), proof.LevelData, proof.Passed))
	primary.record(sealtest.New(t).Signer, until.Add(-hours(3)), drillOf(newest, until.Add(-hours(3)), proof.LevelDrill, proof.Failed))
	nas.snapshot(until.Add(-hours(6)), 500)
	return report.Config{
		Cluster: cluster, Since: since, Until: until, Ticks: sixHourly, Pruned: true, Kept: hours(48),
		Sources: []report.Source{primary.source(), nas.source()},
		Lost:    []replicate.Loss{{At: until.Add(-hours(10)), Target: "nas", Snapshot: newest.ID.String(), Reason: "the spool is full", Total: 1}, {At: since.Add(-hours(1)), Target: "nas", Reason: "before the period"}},
		Build:   repo.Build{Version: "1.0.0"},
	}
}

func TestCounts(t *testing.T) {
	r := report.Make(story(t))
	got := map[string]any{
		"drills": r.Summary.Drills, "data": r.Summary.Data, "ticks": *r.Schedule, "lost": len(r.Lost), "records": len(r.Records),
		"primary": []int{r.Targets[0].Restorable, r.Targets[0].Proved, len(r.Targets[0].Unproven)},
		"nas":     []int{r.Targets[1].Restorable, r.Targets[1].Proved, len(r.Targets[1].Unproven)},
		"longest": r.Summary.LongestInterval.Seconds, "recovery": *r.Summary.RecoverySeconds,
		"point": r.Summary.RecoveryPoint.String(), "passed": r.Summary.LastPassed.String(),
	}
	want := map[string]any{
		"drills": report.Count{Passed: 2, Failed: 1, Inconclusive: 1}, "data": report.Count{Passed: 1},
		// 120 ticks in 30 days; the last one, 06:00, is not over before 12:00. Of those within the 48 hours kept that are over, those of
		// 36, 30, 18 and 12 hours ago were answered, and that of 24 hours ago was missed. 36 hours ago is the first point that is known.
		"ticks": report.Schedule{Ticks: 119, Answered: 4, Missed: 1, NoEvidence: 114, MissedTicks: []time.Time{until.Add(-hours(24))}},
		"lost":  1, "records": 4,
		"primary": []int{5, 2, 3}, "nas": []int{1, 0, 1},
		"longest": int64(hours(12) / time.Second), "recovery": report.Spread{Newest: 41.5, Median: 41.5, Max: 41.5},
		"point": until.Add(-hours(6)).String(), "passed": until.Add(-hours(5) + 45*time.Second).String(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A report about nothing must not read like one about success.
func TestNothingIsNotGood(t *testing.T) {
	r := report.Make(report.Config{Cluster: cluster, Since: since, Until: until, Sources: []report.Source{
		{Target: proof.Target{Name: "primary", Location: "s3://b"}, Err: errors.New("the bucket does not exist")},
	}})
	var text, page bytes.Buffer
	if err := errors.Join(r.WriteText(&text), r.WriteHTML(&page)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"restore drills       none", "never in this period", "nothing can be restored", "the bucket does not exist", "could not be read whole", "missed ticks could not be counted"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text does not say %q:\n%s", want, text.String())
		}
	}
	if !strings.Contains(page.String(), "Not every target has a passed restore drill") {
		t.Error("the page's verdict is good")
	}
}

func TestText(t *testing.T) {
	var text bytes.Buffer
	if err := report.Make(story(t)).WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", masked(text.String()))
}

// masked replaces what differs between two runs: keys, digests and directories.
func masked(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		fields := strings.Fields(line)
		for _, f := range fields {
			switch {
			case strings.HasPrefix(f, "SHA256:"):
				line = strings.ReplaceAll(line, f, "KEY"+strings.Repeat(" ", len(f)-len("KEY")))
			case len(f) == 64 && strings.Trim(f, "0123456789abcdef") == "":
				line = strings.ReplaceAll(line, f, "DIGEST")
			case strings.HasPrefix(f, "file://"):
				line = strings.ReplaceAll(line, f, "file://DIR")
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestPage: the page says what the text says, needs nothing from outside, runs nothing, and shows what a target or a record
// says as text.
func TestPage(t *testing.T) {
	var page bytes.Buffer
	r := report.Make(story(t))
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 passed, 1 failed, 1 inconclusive", "&lt;b&gt;content&lt;/b&gt;", r.Records[0].SHA256, r.Targets[0].Location, "Not every target has"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not contain %q", want)
		}
	}
	for tokens := html.NewTokenizer(&page); ; {
		kind := tokens.Next()
		if kind == html.ErrorToken {
			break
		}
		token := tokens.Token()
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		if strings.Contains(" script link img iframe object embed base form ", " "+token.Data+" ") {
			t.Errorf("the page has a <%s>", token.Data)
		}
		for _, a := range token.Attr {
			if a.Key == "src" || a.Key == "href" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has %s=%q", token.Data, a.Key, a.Val)
			}
		}
	}
}

// A passed drill on every target, with nothing failed since, is what the page calls good.
func TestGoodPage(t *testing.T) {
	keys := sealtest.New(t)
	s := newSite(t, keys, "primary")
	e := s.snapshot(until.Add(-hours(6)), 100)
	s.record(keys.Signer, until.Add(-hours(5)), drillOf(e, until.Add(-hours(5)), proof.LevelDrill, proof.Passed))
	cfg := report.Config{Cluster: cluster, Since: since, Until: until, Sources: []report.Source{s.source()}}
	if page := pageOf(t, cfg); !strings.Contains(page, "Restores were tried and passed on every target") {
		t.Error("the page's verdict is not good")
	}
	s.record(keys.Signer, until.Add(-hours(4)), drillOf(e, until.Add(-hours(4)), proof.LevelData, proof.Failed))
	cfg.Sources = []report.Source{s.source()}
	if page := pageOf(t, cfg); strings.Contains(page, "Restores were tried and passed on every target") {
		t.Error("the verdict is good although the newest result is a failure")
	}
}

// TestStandsFailed: a drill of long ago that failed makes the page bad as long as its snapshot is there, and neither the pass of
// another snapshot nor a data proof hides it.
func TestStandsFailed(t *testing.T) {
	keys := sealtest.New(t)
	s := newSite(t, keys, "primary")
	old, newest := s.snapshot(since.Add(-hours(9)), 100), s.snapshot(until.Add(-hours(6)), 200)
	s.record(keys.Signer, since.Add(-hours(5)), drillOf(old, since.Add(-hours(5)), proof.LevelDrill, proof.Failed))
	s.record(keys.Signer, until.Add(-hours(5)), drillOf(newest, until.Add(-hours(5)), proof.LevelDrill, proof.Passed))
	s.record(keys.Signer, until.Add(-hours(4)), drillOf(old, until.Add(-hours(4)), proof.LevelData, proof.Passed))
	cfg := report.Config{Cluster: cluster, Since: since, Until: until, Sources: []report.Source{s.source()}}
	r := report.Make(cfg)
	if diff := cmp.Diff([]string{old.ID.String()}, r.Targets[0].Failed); diff != "" {
		t.Error(diff)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "primary: failed, and not passed since: "+old.ID.String()) {
		t.Errorf("%v\n%s", err, &text)
	}
	if page := pageOf(t, cfg); strings.Contains(page, "passed on every target") || !strings.Contains(page, "1 of primary failed, and not passed since") {
		t.Error("the page's verdict is good although a snapshot stands failed")
	}
	s.record(keys.Signer, until.Add(-hours(3)), drillOf(old, until.Add(-hours(3)), proof.LevelDrill, proof.Passed))
	cfg.Sources = []report.Source{s.source()}
	if page := pageOf(t, cfg); !strings.Contains(page, "Restores were tried and passed on every target") {
		t.Error("the page's verdict is not good although the snapshot was restored since")
	}
}

func pageOf(t *testing.T, cfg report.Config) string {
	t.Helper()
	var page bytes.Buffer
	if err := report.Make(cfg).WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}
