package members_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/internal/snapshot/snapshottest"
	"github.com/drd-project/drd/test/servers"
)

// withCache are the versions that keep the hashes of compactions.
var withCache = []string{"3.5", "3.6", "3.7"}

// TestDivergenceAtACompaction has one of three members come up with other data than it went down with, and finds it at the
// next compactions. No member ever has to scan its store.
func TestDivergenceAtACompaction(t *testing.T) {
	for _, version := range withCache {
		t.Run(version, func(t *testing.T) {
			c := newCluster(t, 0, servers.StartEtcdCluster(t, version, 3)...)
			c.put(30)
			r := c.poll()
			for _, name := range []string{"m0", "m1", "m2"} {
				c.notCompared(r, name, "never compacted")
			}
			first := c.compact()
			c.notCompared(c.poll(), "m0", "no compaction that it could be asked about")
			c.put(20)
			second := c.compact()
			r = c.poll()
			c.agreed(r, 3)
			if got := c.member(r, "m1").Triple; r.Compaction != second || got == nil || got.Revision != first {
				t.Errorf("compaction %d, triple %+v; want %d and %d", r.Compaction, got, second, first)
			}

			c.etcd[2].Stop()
			damage(t, c.etcd[2], "/key/007")
			c.etcd[2].Start()
			c.put(5)
			c.agreed(c.poll(), 3) // nothing new is there to be compared
			third := c.compact()
			c.notCompared(c.poll(), "m2", "restarted")
			c.put(5)
			c.compact()
			r = c.poll()
			c.expectOdd(r, "m2", third)
			c.restartDaemon()
			c.expectOdd(c.poll(), "m2", third)
			c.noScans()
			if strings.Contains(c.log.String(), "another history") {
				t.Error("the restart of a member passes for a restore of the cluster")
			}
		})
	}
}

// expectOdd fails the test unless one member of three is reported to differ from two that agree.
func (c *cluster) expectOdd(r members.Report, name string, revision int64) {
	c.t.Helper()
	odd := []string{c.id(r, name)}
	if len(r.Diverged) != 1 || !cmp.Equal(r.Diverged[0].Suspects(), odd) || !cmp.Equal(r.Differing(), odd) || r.Diverged[0].Revision != revision {
		c.t.Fatalf("diverged: %v, want %s at revision %d\n%s", r.Diverged, name, revision, reasons(r))
	}
	for _, want := range []string{"suspect: " + odd[0], "do not prove who is right", "at revision " + strconv.FormatInt(revision, 10)} {
		if text := r.Diverged[0].String(); !strings.Contains(text, want) {
			c.t.Errorf("%q does not say %q", text, want)
		}
	}
}

// TestDivergenceOfSmallDatabases scans, in every version, and sees also that the difference is over.
func TestDivergenceOfSmallDatabases(t *testing.T) {
	for _, version := range append([]string{"3.4"}, withCache...) {
		t.Run(version, func(t *testing.T) {
			c := newCluster(t, scanBelow, servers.StartEtcdCluster(t, version, 3)...)
			c.put(10)
			c.agreed(c.poll(), 3)
			c.etcd[1].Stop()
			damage(t, c.etcd[1], "/key/007")
			r := c.poll()
			c.notCompared(r, "m1", "connection refused")
			c.etcd[1].Start()
			c.put(1)
			r = c.poll()
			if len(r.Diverged) != 1 {
				t.Fatalf("diverged: %v\n%s", r.Diverged, reasons(r))
			}
			c.expectOdd(r, "m1", r.Diverged[0].Revision)

			c.put(10)
			c.compact() // what was damaged is overwritten and gone
			c.put(1)
			c.agreed(c.poll(), 3)
		})
	}
}

// TestTwoMembersSayNotWho: of two that differ, neither is the suspect.
func TestTwoMembersSayNotWho(t *testing.T) {
	c := newCluster(t, scanBelow, servers.StartEtcdCluster(t, "3.7", 2)...)
	c.put(10)
	c.etcd[1].Stop()
	damage(t, c.etcd[1], "/key/007")
	c.etcd[1].Start()
	r := c.poll()
	if len(r.Diverged) != 1 || r.Diverged[0].Suspects() != nil || len(r.Differing()) != 2 {
		t.Errorf("diverged: %v", r.Diverged)
	}
}

// TestCopyOfOneMember finds a member that went astray where there is no other: its answers no longer fit to the copy.
func TestCopyOfOneMember(t *testing.T) {
	for _, below := range []int64{0, scanBelow} {
		t.Run("scan below "+strconv.FormatInt(below, 10), func(t *testing.T) {
			c := newCluster(t, below, servers.StartEtcd(t, servers.EtcdConfig{}))
			c.put(10)
			c.compact()
			c.poll()
			c.put(10)
			snapshot := c.copyOf()
			c.answerForCopy()
			if triples := c.covering(snapshot); len(triples) != 1 || !c.matches(snapshot, triples[0]) {
				t.Errorf("the copy and the member that it is of: %+v", triples)
			}

			c.etcd[0].Stop()
			damage(t, c.etcd[0], "/key/007")
			c.etcd[0].Start()
			c.clock = c.clock.Add(time.Hour)
			c.put(10)
			later := c.copyOf()
			c.etcd[0].Stop()
			damage(t, c.etcd[0], "/key/008")
			c.etcd[0].Start()
			c.answerForCopy()
			triples := c.covering(later)
			if len(triples) == 0 || c.matches(later, triples[0]) {
				t.Errorf("the copy fits to a member that was damaged since: %+v", triples)
			}
			if below == 0 {
				c.noScans()
			}
		})
	}
}

// answerForCopy has the member say something that a copy taken just now can be compared with.
func (c *cluster) answerForCopy() {
	c.t.Helper()
	if c.cfg.ScanBelow > 0 {
		c.poll()
		return
	}
	kv := c.kv
	for range 2 { // the one compaction is at the copy's revision, the other lets the first be asked about
		s, err := kv.Status(c.t.Context(), kv.Endpoints()[0])
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err := kv.Compact(c.t.Context(), s.Header.GetRevision()); err != nil {
			c.t.Fatal(err)
		}
		c.finished(s.Header.GetRevision(), c.etcd[0])
		c.poll()
		c.put(1)
	}
	c.poll()
}

func (c *cluster) covering(f *os.File) []members.Triple {
	c.t.Helper()
	facts, err := snapshottest.Inspector(c.t).InspectFile(c.t.Context(), f, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.cfg.Answers.Covering(facts.Revision, facts.CompactRevision)
}

func (c *cluster) matches(f *os.File, triple members.Triple) bool {
	c.t.Helper()
	h, err := snapshottest.Inspector(c.t).HashFile(c.t.Context(), f, triple.Revision, triple.CompactRevision)
	if err != nil {
		c.t.Fatal(err)
	}
	return h.Value == triple.Hash
}

// TestCompactionsWhilePolling: members at work, one compaction after the other, and polls that meet them at any moment.
// No two members ever seem to differ, and none scans.
func TestCompactionsWhilePolling(t *testing.T) {
	for _, version := range withCache {
		t.Run(version, func(t *testing.T) {
			c := newCluster(t, 0, servers.StartEtcdCluster(t, version, 3, steady)...)
			c.cfg.Settle = 1e6 * time.Minute // of the watch's clock: the newest is never asked, as beside Kubernetes
			c.restartDaemon()
			c.put(50)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- c.load(ctx) }()
			polls, compared := 0, 0
			for end := time.Now().Add(time.Minute); polls < 60 || compared < 10 && time.Now().Before(end); polls++ {
				r := c.poll()
				if len(r.Diverged) != 0 {
					t.Errorf("diverged: %v", r.Diverged)
				}
				if r.Compared() == 3 {
					compared++
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if compared < 10 {
				t.Errorf("only %d of %d polls compared all members", compared, polls)
			}
			c.noScans()
		})
	}
}

// load writes, deletes and compacts until ctx ends.
func (c *cluster) load(ctx context.Context) error {
	for i := 0; ctx.Err() == nil; i++ {
		key := "/load/" + strconv.Itoa(i%40)
		r, err := c.kv.Put(ctx, key, strconv.Itoa(i))
		if err == nil && i%7 == 0 {
			_, err = c.kv.Delete(ctx, key)
		}
		if err == nil && i%50 == 0 {
			_, err = c.kv.Compact(ctx, r.Header.GetRevision()-int64(i%3))
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// TestScansDuringCompactions is the same for small databases of every version.
func TestScansDuringCompactions(t *testing.T) {
	for _, version := range append([]string{"3.4"}, withCache...) {
		t.Run(version, func(t *testing.T) {
			c := newCluster(t, scanBelow, servers.StartEtcdCluster(t, version, 3, steady)...)
			c.cfg.Confirm = 3 * time.Second // longer than a compaction takes, as in production
			c.restartDaemon()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- c.load(ctx) }()
			for range 30 {
				if r := c.poll(); len(r.Diverged) != 0 {
					t.Errorf("diverged: %v", r.Diverged)
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEmptyKeySpace: while a compaction goes on, members without a single live key have different hashes and the same data.
func TestEmptyKeySpace(t *testing.T) {
	started := 0
	c := newCluster(t, scanBelow, servers.StartEtcdCluster(t, "3.7", 3, func(cfg *servers.EtcdConfig) {
		if started++; started%3 == 2 { // this one removes a revision an hour
			cfg.Args = []string{"--compaction-batch-limit", "1", "--compaction-sleep-interval", "1h"}
		}
	}, steady)...)
	for range 2 {
		if _, err := c.kv.Put(t.Context(), "key", "value"); err != nil {
			t.Fatal(err)
		}
		r, err := c.kv.Delete(t.Context(), "key")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.kv.Compact(t.Context(), r.Header.GetRevision()-1); err != nil {
			t.Fatal(err)
		}
		c.finished(r.Header.GetRevision()-1, c.etcd[0], c.etcd[2])
	}
	c.level()
	r := c.poll()
	if len(r.Diverged) != 0 {
		t.Errorf("diverged: %v", r.Diverged)
	}
	for _, name := range []string{"m0", "m1", "m2"} {
		c.notCompared(r, name, "no key is live")
	}
}

// TestOldVersion: a large database of etcd 3.4 is not asked.
func TestOldVersion(t *testing.T) {
	c := newCluster(t, 1, servers.StartEtcd(t, servers.EtcdConfig{Version: "3.4"}))
	c.put(10)
	for range 3 {
		c.compact()
		c.notCompared(c.poll(), "default", "etcd 3.4.")
	}
	c.noScans()
}

// TestRestartedMember has lost its cache and is not asked about the compaction that stands, until another one came.
func TestRestartedMember(t *testing.T) {
	c := newCluster(t, 0, servers.StartEtcd(t, servers.EtcdConfig{}))
	c.put(10)
	c.compact()
	c.poll()
	c.put(10)
	c.compact()
	c.poll()
	c.clock = c.clock.Add(time.Hour)
	c.etcd[0].Stop()
	c.etcd[0].Start()
	c.notCompared(c.poll(), "default", "restarted")

	c.put(10)
	c.compact()
	c.poll()
	c.put(10)
	last := c.compact()
	c.poll()
	c.clock = c.clock.Add(time.Hour)
	r := c.poll() // the newest compaction has settled, and the one before is remembered
	if got := c.member(r, "default").Triple; got == nil || got.Revision != last {
		t.Errorf("the newest triple is %+v, want of revision %d", got, last)
	}
	c.notCompared(r, "default", "the only voting member")
	c.noScans()
}

func TestLearner(t *testing.T) {
	voter := servers.StartEtcd(t, servers.EtcdConfig{Name: "voter"})
	peer := servers.FreePort(t)
	peerURL := "http://127.0.0.1:" + strconv.Itoa(peer)
	if _, err := voter.Client(t).MemberAddAsLearner(t.Context(), []string{peerURL}); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, scanBelow, voter)
	c.put(10)
	c.notCompared(c.poll(), "", "not started yet")
	servers.StartEtcd(t, servers.EtcdConfig{
		Name: "learner", PeerPort: peer,
		InitialCluster: "voter=" + voter.PeerURL() + ",learner=" + peerURL,
		Args:           []string{"--initial-cluster-state", "existing"},
	})
	c.level() // it has told its name when it is ready, which the voter may not have taken in yet
	r := c.poll()
	c.notCompared(r, "learner", "learner")
	c.notCompared(r, "voter", "the only voting member")
	if m := c.member(r, "learner"); !m.Learner || !strings.HasPrefix(m.Version, "3.7.") {
		t.Errorf("%+v", m)
	}
}

// TestMemberIsAway: one that is dead or does not answer is named, and the others are compared.
func TestMemberIsAway(t *testing.T) {
	ca := servers.NewCA(t)
	c := newCluster(t, scanBelow, servers.StartEtcdCluster(t, "3.6", 3, func(cfg *servers.EtcdConfig) { cfg.ClientTLS = ca })...)
	c.put(10)
	c.agreed(c.poll(), 3)
	c.etcd[2].Pause()
	r := c.poll()
	c.notCompared(r, "m2", "no answer within")
	c.agreed(r, 2)
	c.etcd[2].Kill()
	c.etcd[1].Kill() // and no quorum
	r = c.poll()
	c.notCompared(r, "m1", "connection refused")
	if m := c.member(r, "m0"); m.Triple == nil || len(r.Diverged) != 0 {
		t.Errorf("%+v, diverged %v", m, r.Diverged)
	}
	c.etcd[0].Kill()
	if r, err := c.watch.Poll(t.Context()); err == nil || !r.At.IsZero() {
		t.Errorf("no member answers: %+v, %v", r, err)
	}
}

// TestWrongAddress: what answers where a member says that it is must be that member.
func TestWrongAddress(t *testing.T) {
	stranger := servers.StartEtcd(t, servers.EtcdConfig{})
	started := 0
	c := newCluster(t, scanBelow, servers.StartEtcdCluster(t, "3.7", 2, func(cfg *servers.EtcdConfig) {
		if started++; started%2 == 0 {
			cfg.Args = []string{"--advertise-client-urls", stranger.Endpoint()}
		}
	})...)
	c.put(10)
	c.notCompared(c.poll(), "m1", "answers member")
}

// TestUsers: the others are asked with the login of the own member.
func TestUsers(t *testing.T) {
	c := newCluster(t, scanBelow, servers.StartEtcdCluster(t, "3.6", 3, steady)...)
	c.put(10)
	ctx, kv := t.Context(), c.kv
	for i, step := range []func() error{
		func() error { _, err := kv.RoleAdd(ctx, "root"); return err },
		func() error { _, err := kv.UserAdd(ctx, "root", "correct horse"); return err },
		func() error { _, err := kv.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := kv.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("correct horse"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.cfg.Connect = func(ctx context.Context) (*etcd.Client, error) {
		return etcd.Connect(ctx, etcd.Config{Endpoints: []string{c.etcd[0].Endpoint()}, Username: "root", PasswordFile: password, DialTimeout: dialTimeout})
	}
	c.restartDaemon()
	r := c.poll()
	for end := time.Now().Add(time.Minute); r.Compared() < 3 && time.Now().Before(end); { // a member may hear of the login later than it is asked
		r = c.poll()
	}
	c.agreed(r, 3)
}

// TestAlarms: an alarm is reported once, though every member tells of it.
func TestAlarms(t *testing.T) {
	c := newCluster(t, scanBelow, servers.StartEtcdCluster(t, "3.7", 3, steady)...)
	c.put(3)
	if got := c.poll().Alarms; len(got) != 0 {
		t.Errorf("a healthy cluster: %v", got)
	}
	list, err := c.kv.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pb := etcdserverpb.NewMaintenanceClient(c.kv.ActiveConnection())
	raise := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, Alarm: etcdserverpb.AlarmType_CORRUPT, MemberID: list.Members[0].ID}
	if _, err := pb.Alarm(t.Context(), raise); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]etcd.Alarm{{Member: list.Members[0].ID, Type: etcd.AlarmCorrupt}}, c.poll().Alarms); diff != "" {
		t.Error(diff)
	}
}

// TestClusterGoesBack: after a restore in place all IDs are as before, and the same revisions have other content. Nothing of
// before is compared with it.
func TestClusterGoesBack(t *testing.T) {
	c := newCluster(t, scanBelow, servers.StartEtcd(t, servers.EtcdConfig{}))
	c.put(10)
	c.etcd[0].Stop()
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(c.etcd[0].DataDir())); err != nil {
		t.Fatal(err)
	}
	c.etcd[0].Start()
	c.put(20)
	c.poll()
	before := c.cfg.Answers.Since()
	c.etcd[0].Stop()
	if err := os.RemoveAll(c.etcd[0].DataDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(c.etcd[0].DataDir(), os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	c.etcd[0].Start()
	c.poll()
	if since := c.cfg.Answers.Since(); !since.After(before) {
		t.Errorf("the log goes back to %s, of which the cluster knows nothing any more", since)
	}
	if got := c.cfg.Answers.Covering(1<<40, etcd.NeverCompacted); len(got) != 1 {
		t.Errorf("the log holds %+v", got)
	}
	if !strings.Contains(c.log.String(), "another history") {
		t.Errorf("nobody was told: %s", c.log.String())
	}
}
