package integration

import (
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drd-project/drd/test/servers"
)

// statusDocument is what drd status --json says.
type statusDocument struct {
	Healthy       bool       `json:"healthy"`
	RecoveryPoint *time.Time `json:"recovery_point"`
	ArchiveProved *struct {
		Revision int64 `json:"revision"`
	} `json:"archive_proved"`
	Targets []struct {
		Name          string     `json:"name"`
		Readable      bool       `json:"readable"`
		RecoveryPoint *time.Time `json:"recovery_point"`
		Restorable    int        `json:"restorable"`
		Waiting       int        `json:"waiting"`
		Lost          int        `json:"lost"`
	} `json:"targets"`
	Problems []struct {
		Text string `json:"text"`
	} `json:"problems"`
}

// status runs drd status, whose exit code must fit what it says.
func (s *site) status() statusDocument {
	s.t.Helper()
	r := s.run("status", "--json")
	doc := decode[statusDocument](s.t, r)
	if want := map[bool]int{true: 0, false: 3}[doc.Healthy]; r.code != want {
		s.t.Errorf("exit code %d, want %d: %v", r.code, want, r)
	}
	return doc
}

// TestStoreComesAndGoes: one of two stores is away while snapshots are taken. Nothing waits for it, status and metrics tell
// the story, and when it is back it gets what it missed. Then somebody wipes it, and that is told too.
func TestStoreComesAndGoes(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	away, there := servers.StartMinIO(t), servers.StartMinIO(t)
	wiped := newBucket(t, away.S3, "drd-test")
	s := newSite(t, ofEtcd(e), wiped, newBucket(t, there.S3, "drd-test"))
	load(t, e, "app/", s.value)
	queue := `drd_replication_queue_objects{target="t1"}`

	c := s.start("daemon")
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, is(1))
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t2"}`, is(1))
	if st := s.status(); !st.Healthy || st.Targets[0].Restorable != 1 || st.Targets[1].Restorable != 1 {
		t.Errorf("before the outage: %+v", st)
	}

	away.Stop()
	var last time.Time
	for i := range 3 {
		last = time.Now().Truncate(time.Second) // what a recovery point is given in
		write(t, e.Client(t), fmt.Sprintf("during-%d/", i), s.value, 1)
		s.fails(1, "snapshot").wants(t, "upload to t1: ", "the daemon goes on trying")
	}
	st := s.status()
	if one, two := st.Targets[0], st.Targets[1]; st.Healthy || one.Readable || one.Waiting != 3 || two.Restorable != 4 || two.Waiting != 0 {
		t.Errorf("during the outage: %+v", st)
	}
	if st.RecoveryPoint == nil || st.RecoveryPoint.Before(last) {
		t.Errorf("the outage of one target holds back the recovery point: %v, the last snapshot began at %v", st.RecoveryPoint, last)
	}
	s.metric(90*time.Second, queue, is(3))
	s.metric(time.Minute, `drd_replication_queue_objects{target="t2"}`, is(0))
	s.metric(time.Minute, `drd_errors_total{stage="replication"}`, func(v float64) bool { return v > 0 })

	away.Start()
	s.metric(6*time.Minute, queue, is(0)) // after the longest wait between two attempts, at the latest
	s.metric(time.Minute, `drd_repo_objects{kind="snapshot",target="t1"}`, is(4))
	if st := s.status(); !st.Healthy || st.Targets[0].Restorable != 4 || st.Targets[0].Waiting != 0 || st.Targets[0].Lost != 0 {
		t.Errorf("after the outage: %+v", st)
	}
	s.wantSpooled(0)

	for key := range wiped.objects(t) {
		wiped.remove(t, key)
	}
	st = s.status()
	if st.Healthy || st.Targets[0].RecoveryPoint != nil || len(st.Problems) != 1 || !strings.Contains(st.Problems[0].Text, "target t1: nothing to restore") {
		t.Errorf("wiped: %+v", st)
	}
	lost := contentOf(t, e)
	s.snapshot()
	if st := s.status(); !st.Healthy || st.Targets[0].Restorable != 1 || st.Targets[1].Restorable != 5 {
		t.Errorf("after the next snapshot: %+v", st)
	}
	s.terminate(c)

	m := s.newMember("m")
	s.must(slices.Concat([]string{"restore", "--yes", "--repo", wiped.repo(), "--cluster", cluster, "--trust", s.trust(), "--identity", s.identity()}, m.flags())...)
	wantContent(t, m.start(t, e.Version()), lost)
}

// killDaemon starts the daemon n times on a day on which it takes a snapshot, uploads it and prunes, and kills it at a
// moment of that. After each, everything listed must restore, and at last one undisturbed run must leave nothing behind.
func killDaemon(t *testing.T, n int) {
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	st := newBucket(t, servers.StartMinIO(t).S3, "drd-test")
	st.options = ", part_size: 5MiB"
	s := newSite(t, ofEtcd(e), st)
	s.more = "retention: {last: 3, min_copies: 2}\n"
	s.write(ofEtcd(e))
	fill(t, e.Client(t), s.value, 8)

	s.dayOfDaemon()
	write(t, e.Client(t), "second/", s.value, 1)
	took := s.dayOfDaemon() // with two good snapshots from here on
	hits := 0
	all := moments(n, took+took/5)
	mathrand.New(mathrand.NewPCG(3, 11)).Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] }) // early deaths after late ones, too
	for i, after := range all {
		write(t, e.Client(t), fmt.Sprintf("after-%d/", i), s.value, 1)
		if r, hit := s.interrupt(s.freshDaemon(), after, syscall.SIGKILL); hit && r.code == -1 {
			hits++
		}
		s.secrets.checkAll(t, "the state directory", filesBelow(t, s.state))
		wantAllRestore(t, s)
	}
	if hits < n*9/10 {
		t.Errorf("only %d of %d daemons were killed", hits, n)
	}
	write(t, e.Client(t), "last/", s.value, 1)
	lost := contentOf(t, e)
	s.dayOfDaemon()
	wantAllRestore(t, s)
	s.wantSpooled(0)
	if s.sealing() > 0 {
		t.Errorf("%d bytes of unfinished snapshots are left", s.sealing())
	}
	m := s.newMember("m")
	s.must(slices.Concat([]string{"restore", "--yes", "--identity", s.identity()}, m.flags())...)
	wantContent(t, m.start(t, e.Version()), lost)
}

// freshDaemon starts a daemon that has never answered a tick, and so takes a snapshot at once.
func (s *site) freshDaemon() *command {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.state, "schedule.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return s.start("daemon")
}

// dayOfDaemon lets a daemon take a snapshot, bring it to its target and prune, and returns how long that takes.
func (s *site) dayOfDaemon() time.Duration {
	s.t.Helper()
	began := time.Now()
	c := s.freshDaemon()
	s.metric(time.Minute, `drd_replication_last_success_timestamp_seconds{target="t1"}`, func(v float64) bool { return v >= float64(began.Unix()) })
	s.metric(time.Minute, `drd_prune_last_success_timestamp_seconds{target="t1"}`, func(v float64) bool { return v >= float64(began.Unix()) })
	s.metric(time.Minute, `drd_replication_queue_objects{target="t1"}`, is(0))
	took := time.Since(began)
	s.terminate(c)
	return took
}

// TestKilledDaemon is the short version of the soak.
func TestKilledDaemon(t *testing.T) {
	t.Parallel()
	killDaemon(t, 10)
}
