package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/test/program"
)

// TestArchiveDrills: a node without any identity proves its archive, in the daemon and by hand; a segment that is damaged in the store is
// found and named, and what is said of the target is red until it is mended.
func TestArchiveDrills(t *testing.T) {
	t.Parallel()
	a := newArchived(t, "3.7")
	for i := range 2 {
		a.archives(fmt.Sprintf("part-%d/", i), 20)
	}
	a.drillsByHand(a.drillsOnSchedule())
	if t.Failed() {
		t.FailNow()
	}
	mend := a.damages(a.past[1])
	a.isRed(a.past[1])
	mend()
	a.isMended()
	a.wantNoPlaintext()
}

// drillsOnSchedule: the daemon tries the newest archived revision and another one beside the snapshot. A tick each minute has the
// first one come at once: nodes begin apart, by half a period at most. It returns how many archived revisions it has tried: another tick may
// come meanwhile.
func (a *archived) drillsOnSchedule() (tried int) {
	a.t.Helper()
	archiving := a.more
	passed := func(log string) (lines []string) {
		return slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool {
			return !strings.Contains(line, `msg="drill passed"`) || !strings.Contains(line, "level=archive ")
		})
	}
	a.restart(archiving + "verify: {schedule: \"* * * * *\", fresh: none}\n")
	drilling := a.daemon
	for _, point := range []string{"newest", "older"} {
		program.Eventually(a.t, 5*time.Minute, func() error {
			log := drilling.Stderr.String()
			if !slices.ContainsFunc(passed(log), func(line string) bool { return strings.Contains(line, "kind="+point) }) {
				return fmt.Errorf("no %s archived revision is proved:\n%s", point, log)
			}
			return nil
		})
	}
	a.metric(time.Minute, `drd_verify_last_result{result="passed",target="t1"}`, is(1))
	a.metric(time.Minute, `drd_errors_total{stage="verify"}`, is(0))
	a.restart(archiving + "verify: {schedule: \"0 0 1 1 *\", fresh: none}\n") // so that what follows is made by hand
	return len(passed(drilling.Stderr.String()))
}

// restart starts the daemon again, with another end of the configuration.
func (a *archived) restart(more string) {
	a.t.Helper()
	a.terminate(a.daemon)
	a.more = more
	a.write(ofEtcd(a.e))
	a.daemon = a.start("daemon")
}

// drillsByHand tries each moment by its revision and its time, and what drd verify chooses by itself. So many archived revisions were tried
// before.
func (a *archived) drillsByHand(before int) {
	a.t.Helper()
	for _, m := range a.past {
		a.proves(m, "--revision", fmt.Sprint(m.Revision))
		a.proves(m, "--at", m.at.Format(time.RFC3339))
	}
	kinds := make(map[string]int)
	for _, d := range a.verified(a.must("verify", "--json")) {
		kinds[d.kind()]++
		if d.Outcome != "passed" || d.OpenedWith != "retained file key" {
			a.t.Errorf("%+v", d)
		}
	}
	if len(kinds) != 3 || kinds["snapshot"] == 0 || kinds["newest"] != 1 || kinds["older"] != 1 {
		a.t.Errorf("tried %v", kinds)
	}
	if got := a.proofOf(0); got != "proved" {
		a.t.Errorf("the snapshot is %s", got)
	}
	if doc := a.status(); !doc.Healthy || doc.ArchiveProved == nil {
		a.t.Errorf("%+v", doc)
	}
	a.must("report").shows(a.t, fmt.Sprintf("archive drills       %d passed, 0 failed, 0 inconclusive", before+2+2*len(a.past)), fmt.Sprintf("archive r%d ", a.past[1].Revision))
}

// drilled is one drill of a run of drd verify.
type drilled struct {
	Outcome    string `json:"outcome"`
	Cause      string `json:"cause"`
	Level      string `json:"level"`
	OpenedWith string `json:"opened_with"`
	Archived   *struct {
		Kind     string `json:"kind"`
		Revision int64  `json:"revision"`
		Segments int    `json:"segments"`
	} `json:"archived"`
	Checks []struct {
		Name  string `json:"name"`
		Found string `json:"found"`
	} `json:"checks"`
}

func (d drilled) kind() string {
	if d.Archived == nil {
		return "snapshot"
	}
	return d.Archived.Kind
}

func (d drilled) found(check string) string {
	for _, c := range d.Checks {
		if c.Name == check {
			return c.Found
		}
	}
	return ""
}

// verified are the drills of a run, each of which the target has a record of.
func (a *archived) verified(r result) []drilled {
	a.t.Helper()
	doc := decode[struct {
		Results []struct {
			Recorded bool
			Record   struct{ Drills []drilled }
		}
	}](a.t, r)
	var all []drilled
	for _, one := range doc.Results {
		if !one.Recorded || len(one.Record.Drills) != 1 {
			a.t.Errorf("%v", r)
		}
		all = append(all, one.Record.Drills...)
	}
	return all
}

// proves wants an etcd that was started on this point to have answered as the live one did, with keys of this node alone.
func (a *archived) proves(m moment, point ...string) {
	a.t.Helper()
	all := a.verified(a.must(append([]string{"verify", "--json"}, point...)...))
	if len(all) != 1 || all[0].Archived == nil {
		a.t.Fatalf("%v: %+v", point, all)
	}
	d := all[0]
	if d.Level != "archive" || d.OpenedWith != "retained file key" || d.Archived.Revision != m.Revision || d.Archived.Segments == 0 || d.found("etcd-hashkv") != fmt.Sprint(m.Hash) {
		a.t.Errorf("%v: %+v, want revision %d with HashKV %d", point, d, m.Revision, m.Hash)
	}
}

// damages flips a bit of the segment that holds the last revision of a moment, and returns what puts it back.
func (a *archived) damages(m moment) (mend func()) {
	a.t.Helper()
	st, key := a.stores[0], a.segmentOf(m)
	content := st.objects(a.t)[key]
	st.put(a.t, key, flipped(content))
	return func() { st.put(a.t, key, content) }
}

// segmentOf is the key of the payload that holds the last revision of a moment.
func (a *archived) segmentOf(m moment) string {
	a.t.Helper()
	for key := range a.stores[0].objects(a.t) {
		var first, last int64
		name := filepath.Base(key)
		if !strings.Contains(key, "/archive/") || !strings.HasSuffix(name, ".zst.age") {
			continue
		}
		if _, err := fmt.Sscanf(name, "%d-%d-", &first, &last); err == nil && first <= m.Revision && m.Revision <= last {
			return key
		}
	}
	a.t.Fatalf("no segment has revision %d", m.Revision)
	return ""
}

// isRed wants the damage to be found, named, told everywhere, and tried again by itself.
func (a *archived) isRed(m moment) {
	a.t.Helper()
	segment, _, _ := strings.Cut(filepath.Base(a.segmentOf(m)), ".")
	r := a.fails(3, "verify", "--revision", fmt.Sprint(m.Revision))
	r.shows(a.t, fmt.Sprintf("FAILED  revision %d from t1", m.Revision), "cause     segments: ", segment, "recorded in t1 as ")
	r.wants(a.t, "not proved: drills failed in t1")
	red := fmt.Sprintf("target t1: the drill of the archive at revision %d FAILED on ", m.Revision)
	if doc := a.status(); doc.Healthy || len(doc.Problems) != 1 || !strings.HasPrefix(doc.Problems[0].Text, red) || !strings.Contains(doc.Problems[0].Text, segment) {
		a.t.Errorf("want %q, and segment %s: %+v", red, segment, doc)
	}
	a.must("report").shows(a.t, fmt.Sprintf("t1: archived, failed, and none of its kind passed since: revision %d", m.Revision))
	if got := a.proofOf(0); got != "proved" {
		a.t.Errorf("the snapshot, which is sound, is %s", got)
	}

	failed := 0
	for _, d := range a.verified(a.fails(3, "verify", "--json", "--data-only")) {
		if d.Outcome == "failed" && d.Archived != nil && strings.Contains(d.Cause, segment) {
			failed++
		} else if d.Outcome != "passed" { // another older point may be tried beside the bad one
			a.t.Errorf("%+v", d)
		}
	}
	if failed != 2 {
		a.t.Errorf("%d archived revisions failed, want the newest and the one that failed before", failed)
	}
	a.restart(a.more) // it reads the records that others write every half an hour, and at its start
	a.metric(time.Minute, `drd_verify_last_result{result="failed",target="t1"}`, is(1))
}

// isMended: drills of both kinds that pass take the word back.
func (a *archived) isMended() {
	a.t.Helper()
	a.must("verify")
	if doc := a.status(); !doc.Healthy {
		a.t.Errorf("%+v", doc)
	}
	if r := a.must("report"); strings.Contains(r.stdout, "none of its kind passed since") {
		a.t.Errorf("%v", r)
	}
}
