package metrics

import (
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var update = flag.Bool("update", false, "rewrite the golden files from what the code does now")

// full has a value in every series.
func full() *Metrics {
	m := New(Build{Version: "1.2.3", GoVersion: "go1.26.8", FIPSModule: "v1.0.0"})
	at := time.Date(2026, 11, 22, 10, 0, 0, 250e6, time.UTC)
	m.SetNewest(Snapshot{End: at.Add(3 * time.Second), Revision: 48211, DBSize: 1 << 30, ObjectSize: 1 << 28})
	m.SetTarget("nas", Target{})
	m.SetTarget("primary", Target{RecoveryPoint: at, Replicated: at.Add(9 * time.Second), Amounts: map[Kind]Amount{
		KindSnapshot: {12, 3 << 30}, KindUnusable: {1, 1 << 28}, KindIncomplete: {}, KindForeign: {2, -1},
	}})
	m.SetQueue("primary", 0, time.Time{})
	m.SetQueue("nas", 3, at.Add(-18*time.Hour))
	m.AddLost("primary", 0)
	m.AddLost("nas", 2)
	m.SetEtcdRevision(48300)
	m.SetArchive("primary", 48290, at.Add(50*time.Second), at.Add(54500*time.Millisecond))
	m.SetArchive("nas", 48100, at.Add(20*time.Second), at.Add(54500*time.Millisecond))
	m.SetArchivePoint("primary", at.Add(50*time.Second), at)
	m.SetArchivePoint("nas", at.Add(20*time.Second), at) // which has no snapshot
	m.SetWindow("primary", at.Add(40*time.Second), true)
	m.ArchiveGap()
	m.Pruned("primary", at.Add(time.Minute))
	m.SetProof("primary", Proof{LastPassed: at.Add(-6 * time.Hour), Result: ResultFailed, Failed: 1, Uncovered: 4})
	m.SetProof("nas", Proof{Since: at.AddDate(0, 0, -9), Uncovered: 12})
	m.SetRecovery(Recovery{Whole: 31 * time.Second, Etcd: 24500 * time.Millisecond})
	m.SetDiverged(0)
	m.SetSnapshotSchedule(Schedule{Interval: 6 * time.Hour, Next: at.Add(2 * time.Hour)})
	m.SetDrillSchedule(Schedule{Interval: 24*time.Hour + 15*time.Minute, Next: at.Add(17 * time.Hour)})
	m.SetFlushInterval(5 * time.Second)
	m.SetTargetUp("primary", true)
	m.SetTargetUp("nas", false)
	m.SetClockSkew("primary", -1500*time.Millisecond)
	m.PruneFailed("nas")
	m.PruneFailed("nas")
	m.SetDisk(DirectoryState, 7<<30, 20<<30)
	m.SetCertificate(CertificateEtcdClient, "", at.AddDate(0, -6, 0), at.AddDate(0, 6, 0))
	m.SetCertificate(CertificateTargetServer, "primary", at.AddDate(0, -1, 0), at.AddDate(0, 2, 0))
	m.SetCredential(CredentialSigning, "", at.AddDate(1, 0, 0))
	m.ConfigLoaded(at)
	m.TextfileBegun(at.Add(55 * time.Second))
	m.SnapshotTook(42 * time.Second)
	m.Error(StageReplication)
	return m
}

// scrape is what Prometheus gets, of drd's own metrics.
func scrape(tb testing.TB, m *Metrics) string {
	tb.Helper()
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		tb.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var own strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "drd_") {
			own.WriteString(line)
		}
	}
	return own.String()
}

func TestExposition(t *testing.T) {
	const golden = "testdata/metrics.golden"
	got := scrape(t, full())
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

// TestLint checks names, units and help texts as promtool does.
func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(full().Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestNothingKnown: what was not found out has no series, and every stage of errors is there.
func TestNothingKnown(t *testing.T) {
	var names []string
	for line := range strings.Lines(scrape(t, New(Build{}))) {
		if !strings.HasPrefix(line, "#") {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if !strings.HasPrefix(name, "drd_snapshot_duration_seconds_") {
				names = append(names, name+" "+value)
			}
		}
	}
	want := []string{
		`drd_archive_gaps_total 0`,
		`drd_build_info{fips_module="",go_version="",version=""} 1`,
		`drd_errors_total{stage="catalogue"} 0`, `drd_errors_total{stage="etcd"} 0`, `drd_errors_total{stage="heartbeat"} 0`, `drd_errors_total{stage="merge"} 0`, `drd_errors_total{stage="prune"} 0`, `drd_errors_total{stage="replication"} 0`,
		`drd_errors_total{stage="snapshot"} 0`, `drd_errors_total{stage="state"} 0`, `drd_errors_total{stage="textfile"} 0`, `drd_errors_total{stage="verify"} 0`,
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
}

// TestNothingLeft: when the last snapshot is gone, the timestamp says so at once, and no size of it stays.
func TestNothingLeft(t *testing.T) {
	m := full()
	m.SetNewest(Snapshot{})
	got := scrape(t, m)
	if !strings.Contains(got, "drd_snapshot_last_success_timestamp_seconds 0\n") {
		t.Error("the timestamp is not 0")
	}
	for _, gone := range []string{"drd_snapshot_revision", "drd_snapshot_size_bytes"} {
		if strings.Contains(got, "\n"+gone) {
			t.Errorf("%s is still there", gone)
		}
	}
}

// TestNoRecovery: when nothing is proved any more, no time that a restore took stays.
func TestNoRecovery(t *testing.T) {
	m := full()
	m.SetRecovery(Recovery{})
	got := scrape(t, m)
	for _, gone := range []string{"drd_verify_duration_seconds", "drd_restore_estimated_seconds"} {
		if strings.Contains(got, "\n"+gone) {
			t.Errorf("%s is still there", gone)
		}
	}
}

// TestOneResult: of the results of a target one is 1, and a target where nothing was tried has none.
func TestOneResult(t *testing.T) {
	m := full()
	m.SetProof("nas", Proof{Result: ResultFailed})
	m.SetProof("nas", Proof{Result: ResultPassed})
	got := scrape(t, m)
	for result, value := range map[Result]string{ResultPassed: "1", ResultFailed: "0", ResultInconclusive: "0"} {
		if line := `drd_verify_last_result{result="` + string(result) + `",target="nas"} ` + value + "\n"; !strings.Contains(got, line) {
			t.Errorf("no line %s", line)
		}
	}
	m.SetProof("nas", Proof{})
	if strings.Contains(scrape(t, m), `drd_verify_last_result{result="passed",target="nas"}`) {
		t.Error("a target where nothing was tried has a result")
	}
}

// TestQueueEmpties: nothing that waits has no age.
func TestQueueEmpties(t *testing.T) {
	m := full()
	m.SetQueue("nas", 0, time.Time{})
	got := scrape(t, m)
	if !strings.Contains(got, `drd_replication_queue_objects{target="nas"} 0`) {
		t.Error("the number of waiting snapshots is not 0")
	}
	if strings.Contains(got, "drd_replication_queue_oldest_timestamp_seconds{") {
		t.Error("the oldest one is still there")
	}
}

// TestPruneFailures: a prune that does all ends the count.
func TestPruneFailures(t *testing.T) {
	m := full()
	if got := testutil.ToFloat64(m.pruneFailed.WithLabelValues("nas")); got != 2 {
		t.Errorf("%v attempts failed, want 2", got)
	}
	m.Pruned("nas", time.Unix(1_000_000, 0))
	if got := testutil.ToFloat64(m.pruneFailed.WithLabelValues("nas")); got != 0 {
		t.Errorf("%v attempts failed after one that did not", got)
	}
}

// TestReload: a configuration that was refused leaves the time of the one in force.
func TestReload(t *testing.T) {
	m := full()
	m.ConfigRefused()
	got := scrape(t, m)
	for _, line := range []string{"drd_config_last_reload_successful 0\n", "drd_config_last_reload_success_timestamp_seconds 1.79534160025e+09\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %s", line)
		}
	}
}

// TestCredentialForgotten: one that does not expire any more has no time.
func TestCredentialForgotten(t *testing.T) {
	m := full()
	m.SetCredential(CredentialSigning, "", time.Time{})
	if strings.Contains(scrape(t, m), "drd_credential_expiry_timestamp_seconds{") {
		t.Error("the time of its end is still there")
	}
}

// What is archived beyond a hole can be restored only where a snapshot is that reaches beyond it, and only what the target was seen to hold
// counts.
func TestArchivePoint(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	hour := func(n int) time.Time { return at.Add(time.Duration(n) * time.Hour) }
	for _, tc := range []struct {
		name                    string
		snapshot, since, window time.Time
		reaches                 bool
		want                    time.Time
	}{
		{"no snapshot", time.Time{}, time.Time{}, hour(-1), true, time.Time{}},
		{"an older snapshot", hour(-2), hour(-1), time.Time{}, true, hour(-2)},
		{"the snapshot", hour(-1), hour(-1), time.Time{}, true, at},
		{"any snapshot", hour(-1), time.Time{}, time.Time{}, true, at},
		{"a newer snapshot", hour(1), hour(-1), time.Time{}, true, hour(1)},
		{"seen to be there, and brought since", hour(-3), time.Time{}, hour(-1), true, at},
		{"brought there, and gone", hour(-3), time.Time{}, hour(-2), false, hour(-2)},
		{"brought there, and gone right behind the snapshot", hour(-3), time.Time{}, time.Time{}, false, hour(-3)},
		{"brought there, and nobody looked yet", hour(-3), hour(-4), time.Time{}, false, hour(-3)},
		{"written by another node", hour(-3), time.Time{}, hour(1), true, hour(1)},
	} {
		m := New(Build{})
		m.SetTarget("nas", Target{RecoveryPoint: tc.snapshot})
		m.SetArchivePoint("nas", at, tc.since)
		m.SetWindow("nas", tc.window, tc.reaches)
		if got := testutil.ToFloat64(m.recoveryPoint.WithLabelValues("nas")); got != timestamp(tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, timestamp(tc.want))
		}
	}
}

// TestArchiveOfTheFuture: what a wrong clock dated ahead is not fresh.
func TestArchiveOfTheFuture(t *testing.T) {
	m := New(Build{})
	now := time.Unix(1_000_000, 0)
	m.SetArchive("nas", 7, now.Add(time.Hour), now)
	if got := testutil.ToFloat64(m.archiveLag.WithLabelValues("nas")); got != 3600 {
		t.Errorf("an hour ahead is %v s behind", got)
	}
}

// TestCountOn: counters go on where those before were, and count for both; what stands on disk and what is the state of now begins anew.
func TestCountOn(t *testing.T) {
	before := full()
	m := New(Build{})
	m.CountOn(before)
	m.Error(StageReplication)
	before.ArchiveGap() // by something that has not ended yet
	m.SnapshotTook(time.Second)
	got := scrape(t, m)
	for _, want := range []string{`drd_errors_total{stage="replication"} 2`, `drd_errors_total{stage="etcd"} 0`, `drd_archive_gaps_total 2`, `drd_snapshot_duration_seconds_count 2`} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	for _, name := range []string{"drd_replication_lost_total{", "drd_target_up{"} {
		if strings.Contains(got, name) {
			t.Errorf("%s was taken over", name)
		}
	}
}
