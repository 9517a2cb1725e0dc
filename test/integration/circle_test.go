package integration

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/test/servers"
)

// kubernetesBump is how far drd moves a store with Kubernetes objects forward unless told otherwise.
const kubernetesBump = 1_000_000_000

// TestCircle is the promise as a whole: a cluster is backed up, lost, and brought back as it was, from every kind
// of target.
func TestCircle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version string
		tls           bool
		store         func(*testing.T) store
	}{
		{"etcd-3.7-mTLS-to-MinIO", "3.7", true, onMinIO},
		{"etcd-3.5-to-versitygw", "3.5", false, onVersityGW},
		{"etcd-3.6-to-directory", "3.6", false, inDirectory},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := servers.EtcdConfig{Version: c.version}
			if c.tls {
				cfg.ClientTLS = servers.NewCA(t)
			}
			circle(t, servers.StartEtcd(t, cfg), c.store(t))
		})
	}
}

func circle(t *testing.T, e *servers.Etcd, st store) {
	s := newSite(t, ofEtcd(e), st)
	s.must("config", "check").shows(t, "is good: cluster prod-east, 1 target")
	s.must("check").shows(t, "lists, stores and refuses to overwrite", "the member serves snapshots")

	load(t, e, "/registry/configmaps/default/", s.value)
	lost1 := contentOf(t, e)
	first := s.snapshot()
	wantManifest(t, first, lost1)
	write(t, e.Client(t), "/registry/pods/default/", s.value, 30)
	lost2 := contentOf(t, e)
	second := s.snapshot()
	wantManifest(t, second, lost2)
	if second.Previous == "" || second.Timeline != first.Timeline {
		t.Errorf("the second snapshot does not continue the first: %+v, %+v", first, second)
	}
	wantListed(t, s, first, second)
	refusesLive(t, s, e)

	e.Kill()
	if err := os.RemoveAll(e.DataDir()); err != nil {
		t.Fatal(err)
	}
	exactly(t, s, e, second, lost2)
	withoutConfiguration(t, s, e, st, first, lost1)
}

// wantManifest compares what drd read out of the snapshot with what the member said of itself.
func wantManifest(t *testing.T, m manifest, live content) {
	t.Helper()
	if m.Revision != live.Revision || m.CompactRevision != live.Compact || m.Keys != live.Keys || m.HashKV.Hash != live.Hash || m.Leases != len(live.Leases) {
		t.Errorf("the manifest says %+v, the member %+v", m, live)
	}
	if len(m.Compared) != 1 || m.Compared[0].Result != "equal" {
		t.Errorf("the member's own hash was not compared: %+v", m.Compared)
	}
}

func wantListed(t *testing.T, s *site, want ...manifest) {
	t.Helper()
	listed := s.list(0)
	if len(listed) != len(want) {
		t.Fatalf("%d snapshots are listed, want %d", len(listed), len(want))
	}
	text := s.must("list")
	for i, item := range listed {
		if item.ID != want[i].ID || item.State != "ok" || item.Proof != "unproven" || item.Signer != "this node" || item.Manifest.Keys != want[i].Keys {
			t.Errorf("listed is %+v, want %+v", item, want[i])
		}
		text.shows(t, item.ID)
	}
	text.shows(t, "unproven", "target t1: ")
}

// refusesLive tries to restore over a member that runs.
func refusesLive(t *testing.T, s *site, e *servers.Etcd) {
	t.Helper()
	before := contentOf(t, e)
	s.fails(1, "restore", "--yes", "--identity", s.identity(), "--data-dir", e.DataDir()).wants(t, "in use", "hint: stop ")
	if diff := cmp.Diff(before, contentOf(t, e)); diff != "" {
		t.Errorf("the running member changed:\n%s", diff)
	}
}

// exactly restores the newest snapshot with the node's configuration and every revision as it was.
func exactly(t *testing.T, s *site, e *servers.Etcd, newest manifest, lost content) {
	t.Helper()
	m := s.newMember("exact")
	flags := slices.Concat([]string{"restore", "--json", "--identity", s.identity(), "--bump-revision", "0"}, m.flags())
	plan := decode[planDocument](t, s.must(append(flags, "--dry-run")...))
	if plan.Snapshot.ID != newest.ID || plan.Signature.State != "verified" || plan.Changes.BumpBy == nil || *plan.Changes.BumpBy != 0 || len(plan.Newer) != 0 {
		t.Errorf("the plan: %+v", plan)
	}
	wantNothing(t, m.dir)
	done := decode[restoreDocument](t, s.must(append(flags, "--yes")...))
	if done.ID != newest.ID || done.Path != m.dir || done.Bumped != 0 || done.Facts.HashKV != lost.Hash || done.Facts.Revision != lost.Revision || len(done.Notices) != 0 {
		t.Errorf("the result: %+v", done)
	}
	restored := m.start(t, e.Version())
	wantContent(t, restored, lost)
	goOn(t, s, restored, newest)
	restored.Stop()
}

// goOn protects the restored cluster with the same targets. Its history is another one from here on.
func goOn(t *testing.T, s *site, restored *servers.Etcd, before manifest) {
	t.Helper()
	s.write(ofEtcd(restored))
	after := s.snapshot()
	if after.Timeline == before.Timeline || after.TimelineParent != before.Timeline {
		t.Errorf("after the restore the timeline is %s with parent %s, before it was %s", after.Timeline, after.TimelineParent, before.Timeline)
	}
	plan := decode[planDocument](t, s.must("restore", "--dry-run", "--json", "--output", s.path("f")))
	if plan.Snapshot.ID != after.ID {
		t.Errorf("the newest snapshot is said to be %s, not %s of the restored cluster", plan.Snapshot.ID, after.ID)
	}
}

// withoutConfiguration restores an older snapshot on a machine that knows nothing but what a person brings along. The
// store holds Kubernetes objects, and nobody says that it should not be moved forward.
func withoutConfiguration(t *testing.T, s *site, e *servers.Etcd, st store, older manifest, lost content) {
	t.Helper()
	if err := os.Rename(s.config, s.config+".lost"); err != nil {
		t.Fatal(err)
	}
	m := s.newMember("bumped")
	flags := slices.Concat([]string{"restore", "--yes", "--id", older.ID, "--identity", s.identity()}, s.elsewhere(st), m.flags())
	s.must(flags...).shows(t, "moved forward by 1000000000 and marked compacted")
	restored := m.start(t, e.Version())
	wantBumped(t, restored, lost, kubernetesBump)
	restored.Stop()
}

// TestThreeMembers: one snapshot restored on three machines makes a cluster of three with the old content.
func TestThreeMembers(t *testing.T) {
	t.Parallel()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	st := inDirectory(t)
	s := newSite(t, ofEtcd(e), st)
	load(t, e, "app/", s.value)
	lost := contentOf(t, e)
	id := s.snapshot().ID
	e.Kill()

	members := []member{s.newMember("cp-1"), s.newMember("cp-2"), s.newMember("cp-3")}
	var initial string
	for _, m := range members {
		initial += "," + m.name + "=" + m.url()
	}
	started := make([]*servers.Etcd, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		m.initial = initial[1:]
		s.must(slices.Concat([]string{"restore", "--yes", "--id", id, "--identity", s.identity(), "--initial-cluster-token", "again"}, s.elsewhere(st), m.flags())...)
		wg.Go(func() { started[i] = m.start(t, e.Version()) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, e := range started {
		wantContent(t, e, lost)
	}
	wantVoters(t, started)
}

// wantVoters wants a cluster of these members that takes a write.
func wantVoters(t *testing.T, members []*servers.Etcd) {
	t.Helper()
	list, err := members[0].Client(t).MemberList(t.Context())
	if err != nil || len(list.Members) != len(members) {
		t.Errorf("members: %v, %v", list, err)
	}
	_, err = members[0].Client(t).Put(t.Context(), "after", "restore")
	for _, m := range members {
		var got *clientv3.GetResponse
		if err == nil {
			got, err = m.Client(t).Get(t.Context(), "after")
		}
		if err == nil && got.Count != 1 {
			err = errors.New("a member does not see the write")
		}
	}
	if err != nil {
		t.Error(err)
	}
}
