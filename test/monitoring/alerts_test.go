package monitoring

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drd-project/drd/test/program"
)

// patient is how long a test waits for what takes a minute or two when nothing else uses the machine.
const patient = 8 * time.Minute

// everyMinute is the shortest schedule: the limits of the rules follow it.
const everyMinute = `snapshot: {schedule: "* * * * *"}`

// TestStoreGone: MinIO is stopped. The alert names that target and no other, and ends when MinIO is back.
func TestStoreGone(t *testing.T) {
	t.Parallel()
	minio, primary := bucket(t, "primary")
	_, nas := directory(t, "nas")
	n := newNode(t, everyMinute+"\narchive: {enabled: true}\ntargets: ["+primary+", "+nas+"]")
	n.start()
	for _, target := range []string{"primary", "nas"} {
		n.shows(patient, `drd_target_up{target="`+target+`"}`)
		n.shows(patient, `drd_replication_last_success_timestamp_seconds{target="`+target+`"}`)
	}
	n.shows(patient, `drd_certificate_not_after_timestamp_seconds{target="primary",use="target_ca"}`)
	m := watch(t, n)
	minio.Stop()
	m.tells(patient, "firing", "DrdTargetUnreadable", "primary")
	minio.Start()
	m.tells(patient, "resolved", "DrdTargetUnreadable", "primary")
	if m.count("firing", "DrdTargetUnreadable", "nas") > 0 {
		t.Error("the target that was there all the time was called unreadable")
	}
	// The archive and the queue of the target may have been found late as well.
	m.onlyTold("DrdTargetUnreadable", "DrdArchiveLag", "DrdQueueStuck")
	if m.count("firing", "DrdArchiveLag", "nas")+m.count("firing", "DrdQueueStuck", "nas") > 0 {
		t.Error("a dead target delays another")
	}
}

// TestDaemonGone: the daemon is stopped. Nothing but its absence can tell.
func TestDaemonGone(t *testing.T) {
	t.Parallel()
	_, nas := directory(t, "nas")
	n := newNode(t, "targets: ["+nas+"]")
	n.start()
	n.shows(patient, `drd_replication_last_success_timestamp_seconds{target="nas"}`)
	m := watch(t, n)
	n.daemon.Stop(t)
	m.tells(patient, "firing", "DrdAllNodesGone", "")
	m.tells(patient, "firing", "DrdNodeGone", "")
	n.start()
	m.tells(patient, "resolved", "DrdAllNodesGone", "")
	m.tells(patient, "resolved", "DrdNodeGone", "")
	m.onlyTold("DrdAllNodesGone", "DrdNodeGone")
}

// TestBackupBroken: a byte of a backup changes in the target. The next drill finds it, and the dashboard stops saying yes. When the
// byte is mended, a drill by hand takes it back.
func TestBackupBroken(t *testing.T) {
	t.Parallel()
	path, nas := directory(t, "nas")
	// One snapshot, at the start, so that the drills are of it; and one drill a minute.
	n := newNode(t, `snapshot: {schedule: "0 0 1 1 *"}`+"\n"+drillEveryMinute+"\nretention: {last: 3}\ntargets: ["+nas+"]")
	n.start()
	n.shows(patient, `drd_verify_last_success_timestamp_seconds{target="nas"}`)
	m := watch(t, n)
	m.wantsDashboard()
	program.Eventually(t, patient, func() error { return m.has(`cluster_target:drd_restorable:state{target="nas"} == 2`) })

	mend := corrupt(t, path)
	m.tells(patient, "firing", "DrdProofFailed", "nas")
	program.Eventually(t, patient, func() error { return m.has(`cluster_target:drd_restorable:state{target="nas"} == 1`) })

	// drd takes drills of one host that follow each other within two minutes for one run, so the schedule is taken out first.
	n.daemon.Stop(t)
	n.change(drillEveryMinute, "verify: {fresh: data}")
	mend()
	run(t, n.dir, "verify", "--config", n.config)
	n.start()
	m.tells(patient, "resolved", "DrdProofFailed", "nas")
	m.onlyTold("DrdProofFailed", "DrdNodeGone", "DrdAllNodesGone")
}

const drillEveryMinute = `verify: {schedule: "* * * * *"}`

// wantsDashboard: Prometheus understands all that the dashboard asks, and the first row has an answer to each question.
func (m *monitor) wantsDashboard() {
	m.t.Helper()
	for _, p := range panels(m.t) {
		for _, q := range p.queries() {
			if err := m.answers(q); err != nil {
				m.t.Errorf("%s: %v", p.Title, err)
			}
		}
	}
	for _, p := range firstRow(panels(m.t)) {
		for _, q := range p.queries() {
			program.Eventually(m.t, time.Minute, func() error { return m.has(q) })
		}
	}
}

// corrupt changes a byte in the middle of each snapshot below dir. mend changes it back.
func corrupt(t *testing.T, dir string) (mend func()) {
	t.Helper()
	objects, err := filepath.Glob(filepath.Join(dir, "*", "snapshots", "*", "snapshot.db.zst.age"))
	if err != nil || len(objects) == 0 {
		t.Fatalf("no snapshot below %s (%v)", dir, err)
	}
	flip := func() {
		t.Helper()
		for _, path := range objects {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip()
	return flip
}
