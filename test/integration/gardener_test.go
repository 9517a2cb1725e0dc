package integration

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/test/faults"
	"github.com/drd-project/drd/test/program"
	"github.com/drd-project/drd/test/servers"
)

// These are the failures that were reproduced with another tool that archives etcd, etcd-backup-restore of Gardener, each as a test that
// drd passes. Those that have a test elsewhere:
//
//	a new timeline with lower revisions                  TestRebuiltInPlace
//	a read error while compressing counts as the end     TestInterruptedSnapshot, and TestGardenerReadError here
//	two writers                                          follow.TestTwoFollowers, archiver.TestTwoArchivers, archiver.TestTakeOver
//	memory that grows with what is behind                follow.TestMemory, archiver.TestBusyWithoutTarget
//	one fixed name for scratch data in /tmp              TestKilledRestore
//	a local store writes to the final name               TestKilledSnapshot, and storagetest of package storage/dir
//	etcd does not start without the store                drd is not in the way of its start; TestAllTargetsDead
//	a full snapshot after a defragmentation never comes  archiver.TestBusyMember: none is needed

// TestGardenerChains: what makes a chain of events unrestorable there. Every moment comes back by revision and by time, on a cluster of
// three, with its leases.
func TestGardenerChains(t *testing.T) {
	t.Parallel()
	a := newArchived(t, "3.7")
	t.Run("leases run out during replay", func(t *testing.T) { a.shortLease() })
	t.Run("leases of archived keys are dropped", func(t *testing.T) { a.longLease() })
	t.Run("a deletion of 12,000 keys in one call", func(t *testing.T) { a.deletes(12_000) })
	t.Run("the first events do not follow the snapshot", func(t *testing.T) { a.snapshotUnderLoad() })
	if t.Failed() {
		t.FailNow()
	}
	a.ends()
	a.restoresAll()
	t.Run("several members", a.threeMembers)
	t.Run("a segment that cannot be fetched, and the run after it", a.lostSegment)
}

// shortLease has a lease run out that a snapshot holds. Its end is a revision of its own.
func (a *archived) shortLease() {
	a.t.Helper()
	// Long enough for the snapshot to have it, and to be looked at while it has seconds to live.
	lease, err := a.client.Grant(a.t.Context(), 20)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.client.Put(a.t.Context(), "short", a.value, clientv3.WithLease(lease.ID)); err != nil {
		a.t.Fatal(err)
	}
	a.snapshot()
	write(a.t, a.client, "meanwhile/", a.value, 20)
	a.remember()
	program.Eventually(a.t, 2*time.Minute, func() error {
		r, err := a.client.Get(a.t.Context(), "short")
		if err == nil && r.Count > 0 {
			time.Sleep(100 * time.Millisecond)
			err = errors.New("the key is still there")
		}
		return err
	})
	write(a.t, a.client, "after it/", a.value, 20)
	a.remember()
}

func (a *archived) longLease() {
	a.t.Helper()
	for i := range int64(3) {
		lease, err := a.client.Grant(a.t.Context(), 7200+i)
		if err != nil {
			a.t.Fatal(err)
		}
		if _, err := a.client.Put(a.t.Context(), fmt.Sprint("leased/", i), a.value, clientv3.WithLease(lease.ID)); err != nil {
			a.t.Fatal(err)
		}
	}
	a.remember()
}

// deletes makes so many keys, in small requests, and deletes them in one.
func (a *archived) deletes(keys int) {
	a.t.Helper()
	for i := 0; i < keys; {
		var ops []clientv3.Op
		for range 100 {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("many/%06d", i), a.value))
			i++
		}
		if _, err := a.client.Txn(a.t.Context()).Then(ops...).Commit(); err != nil {
			a.t.Fatal(err)
		}
	}
	r, err := a.client.Delete(a.t.Context(), "many/", clientv3.WithPrefix())
	if err != nil || r.Deleted != int64(keys) {
		a.t.Fatal(r, err)
	}
	a.remember()
}

// snapshotUnderLoad takes snapshots while large values are written: an event is then in the snapshot and in a segment.
func (a *archived) snapshotUnderLoad() {
	a.t.Helper()
	large := a.value + strings.Repeat("large", 10_000)
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range 150 {
			if _, err := a.client.Put(a.t.Context(), fmt.Sprint("large/", i%20), large); err != nil {
				a.t.Error(err)
				return
			}
		}
	})
	a.snapshot()
	a.snapshot()
	writing.Wait()
	a.remember()
}

// threeMembers restores the moment with the leases, which lies behind a snapshot, on three machines.
func (a *archived) threeMembers(t *testing.T) {
	m := a.past[2]
	members := []member{a.newMember("cp-1"), a.newMember("cp-2"), a.newMember("cp-3")}
	var initial []string
	for _, to := range members {
		initial = append(initial, to.name+"="+to.url())
	}
	started := make([]*servers.Etcd, len(members))
	var all sync.WaitGroup
	for i, to := range members {
		to.initial = strings.Join(initial, ",")
		a.must(slices.Concat([]string{"restore", "--yes", "--revision", fmt.Sprint(m.Revision), "--identity", a.identity()}, to.flags())...)
		all.Go(func() { started[i] = to.start(t, a.e.Version()) })
	}
	all.Wait()
	if t.Failed() {
		return
	}
	// Leases that ran out since the snapshot was taken are in its store still, and hold no key.
	got := contentOf(t, started[0])
	maps.DeleteFunc(got.Leases, func(id, _ int64) bool { return m.Leases[id] == 0 })
	if diff := cmp.Diff(m.content, got); diff != "" {
		t.Errorf("-live +restored:\n%s", diff)
	}
	wantVoters(t, started)
}

// lostSegment: nothing hangs, the error names what is missing, nothing is left at the final name, and the same command works when
// the segment is there again.
func (a *archived) lostSegment(t *testing.T) {
	last := a.past[len(a.past)-1]
	st, out := a.stores[0], a.path("lost-segment")
	objects := st.objects(t)
	lost := ""
	for key := range objects {
		var first, end int64
		name := filepath.Base(key)
		if strings.Contains(key, "/archive/") && strings.HasSuffix(name, ".zst.age") {
			if _, err := fmt.Sscanf(name, "%d-%d-", &first, &end); err == nil && first <= last.Revision && last.Revision <= end {
				lost = key
				st.remove(t, key)
			}
		}
	}
	if lost == "" {
		t.Fatalf("no segment has revision %d", last.Revision)
	}
	restore := []string{"restore", "--yes", "--revision", fmt.Sprint(last.Revision), "--identity", a.identity(), "--output", out}
	began := time.Now()
	r := a.run(restore...)
	if name, _, _ := strings.Cut(filepath.Base(lost), "."); r.code == 0 || !strings.Contains(r.stderr, name) && !strings.Contains(r.stderr, fmt.Sprint(last.Revision)) {
		t.Errorf("without %s: %v", lost, r)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s to fail", took)
	}
	wantNothing(t, out)
	for key, content := range objects {
		if key == lost {
			st.put(t, key, content)
		}
	}
	a.must(restore...)
}

// TestGardenerPrefix: a prefix that looks like a part of somebody's layout hides nothing, and where there is nothing the exit code says so.
func TestGardenerPrefix(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	for _, path := range []string{"dev1/etcd", "v1", "snapshots/archive"} {
		st := directory{filepath.Join(t.TempDir(), path)}
		if err := os.MkdirAll(st.path, 0o700); err != nil {
			t.Fatal(err)
		}
		s := newSite(t, ofEtcd(e), st)
		s.fails(4, "restore", "--yes", "--identity", s.identity(), "--output", s.path("f"))
		wantNothing(t, s.path("f"))
		id := s.snapshot().ID
		if listed := s.list(0); len(listed) != 1 || listed[0].ID != id || listed[0].State != "ok" {
			t.Errorf("below %s: %+v", path, listed)
		}
		s.must("restore", "--yes", "--identity", s.identity(), "--output", s.path("f"))
	}
}

// TestGardenerRefusedUploads: a store that refuses uploads is not flooded with snapshots, and the node does not say that all is well.
func TestGardenerRefusedUploads(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	st, server := behind(t, servers.StartMinIO(t).S3, "drd-test")
	server.Script(faults.Step{On: writes, Times: faults.Always, Do: faults.Error(403, "AccessDenied")})
	s := newSite(t, ofEtcd(e), st)
	s.more = "archive: {enabled: true, flush_interval: 1s}\n"
	s.write(ofEtcd(e))
	c := s.start("daemon")
	snapshots := func() int {
		t.Helper()
		taken, err := filepath.Glob(filepath.Join(s.state, "spool", cluster, "snapshots", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(taken)
	}
	program.Eventually(t, time.Minute, func() error {
		if snapshots() == 0 {
			return errors.New("no snapshot was taken")
		}
		return nil
	})
	time.Sleep(20 * time.Second)
	if taken := snapshots(); taken > 3 {
		t.Errorf("%d snapshots in 20 s", taken)
	}
	if r := s.run("status"); r.code != 3 {
		t.Errorf("status: %v", r)
	}
	s.terminate(c)
}

// TestGardenerTLS: nothing is trusted that is not told to be.
func TestGardenerTLS(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: servers.NewCA(t)})
	other := servers.NewCA(t)
	section := fmt.Sprintf("endpoints: [%q], ca_file: %q, cert_file: %q, key_file: %q", e.Endpoint(), other.CertFile(), e.CertFile, e.KeyFile)
	s := newSite(t, section, inDirectory(t))
	s.fails(1, "snapshot").wants(t, "certificate")

	minio := servers.StartMinIO(t).S3
	st := newBucket(t, minio, "drd-test")
	strange := *minio
	strange.CAFile = other.CertFile()
	st.server = &strange
	s = newSite(t, ofEtcd(e), st)
	s.fails(1, "snapshot").wants(t, "certificate")
	st.server = minio
}

// TestGardenerSSE: an encryption by keys that the client sends is none of drd's, and no configuration pretends that it is.
func TestGardenerSSE(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	st := newBucket(t, servers.StartMinIO(t).S3, "drd-test")
	st.options = ", sse: customer"
	s := newSite(t, ofEtcd(e), st)
	s.fails(2, "snapshot").wants(t, "sse", "AES256")
}

// TestGardenerReadError: a member that dies in the middle of its snapshot leaves no backup that looks like one.
func TestGardenerReadError(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	l := newLink(t, e, stallAfter)
	s := newSite(t, l.section(), inDirectory(t))
	fill(t, e.Client(t), s.value, 24)
	c := s.start("snapshot")
	s.stallCapture(l, e, c)
	e.Kill()
	l.open()
	if r := s.end(c); r.code != 1 {
		t.Error(r)
	}
	s.wantSpooled(0)
	if found := s.stores[0].objects(t); len(found) != 0 {
		t.Errorf("the target holds %d objects", len(found))
	}
}
