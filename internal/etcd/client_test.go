package etcd_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/test/servers"
)

// patience is how long what must happen may take on a machine that does a lot besides.
const patience = time.Minute

// until waits for what comes by itself, and fails the test where it does not.
func until(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// configOf is how an operator would configure drd for these members, but for the time that they have.
func configOf(members ...*servers.Etcd) etcd.Config {
	cfg := etcd.Config{CAFile: members[0].CAFile, CertFile: members[0].CertFile, KeyFile: members[0].KeyFile, DialTimeout: patience}
	for _, m := range members {
		cfg.Endpoints = append(cfg.Endpoints, m.Endpoint())
	}
	return cfg
}

func connect(tb testing.TB, cfg etcd.Config) *etcd.Client {
	tb.Helper()
	c, err := etcd.Connect(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func status(tb testing.TB, c *etcd.Client) etcd.Status {
	tb.Helper()
	s, err := c.Status(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestEveryVersion compares each answer with that of etcd's own client, over mutual TLS.
func TestEveryVersion(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version, ClientTLS: servers.NewCA(t)})
			fill(t, member, 50, 100)
			c, reference := connect(t, configOf(member)), member.Client(t)
			if c.Endpoint() != member.Endpoint() {
				t.Errorf("endpoint %s, want %s", c.Endpoint(), member.Endpoint())
			}
			compareStatus(t, c, reference)
			compareMembers(t, c, reference)
			compareHash(t, c, reference)
		})
	}
}

// compareStatus asks both at nearly the same time. Between them a commit may make the database grow, and etcd may write down its own
// version, which costs an entry of the log: then both are asked again.
func compareStatus(t *testing.T, c *etcd.Client, reference *clientv3.Client) {
	t.Helper()
	var want, got etcd.Status
	for range 100 {
		want, got = statusBy(t, reference), status(t, c)
		if cmp.Equal(want, got, cmpopts.EquateEmpty()) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if got.Revision < 50 || got.Leader != got.MemberID || got.DBSize == 0 || got.ClusterID == 0 {
		t.Errorf("the status of a filled single member cannot be %+v", got)
	}
}

func statusBy(t *testing.T, reference *clientv3.Client) etcd.Status {
	t.Helper()
	r, err := reference.Status(t.Context(), reference.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	return etcd.Status{
		ClusterID: r.Header.GetClusterId(), MemberID: r.Header.GetMemberId(), Revision: r.Header.GetRevision(),
		RaftTerm: r.RaftTerm, RaftIndex: r.RaftIndex, Leader: r.Leader, DBSize: r.DbSize, DBSizeInUse: r.DbSizeInUse,
		DBSizeQuota: r.DbSizeQuota, Version: r.Version, StorageVersion: r.StorageVersion,
	}
}

func compareMembers(t *testing.T, c *etcd.Client, reference *clientv3.Client) {
	t.Helper()
	r, err := reference.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := r.Members[0]
	want := []etcd.Member{{ID: m.ID, Name: "default", PeerURLs: m.PeerURLs, ClientURLs: []string{c.Endpoint()}}}
	got, err := c.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// compareHash asks at a revision in the middle, and once more after a compaction.
func compareHash(t *testing.T, c *etcd.Client, reference *clientv3.Client) {
	t.Helper()
	const rev = 30
	for _, compacted := range []int64{-1, 20} {
		if compacted > 0 {
			if _, err := reference.Compact(t.Context(), compacted, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
		}
		r, err := reference.HashKV(t.Context(), reference.Endpoints()[0], rev)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.HashKV(t.Context(), "", rev)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(etcd.Hash{Value: r.Hash, Revision: rev, CompactRevision: compacted}, got); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := c.HashKV(t.Context(), "", 5); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("the hash of a revision that is gone: %v", err)
	}
}

// A node that rotates CA and certificates restarts etcd and leaves drd running.
func TestRotatedCertificates(t *testing.T) {
	first := servers.StartEtcd(t, servers.EtcdConfig{ClientTLS: servers.NewCA(t)})
	dir := t.TempDir()
	cfg := etcd.Config{
		Endpoints: []string{first.Endpoint()},
		CAFile:    filepath.Join(dir, "ca.crt"), CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"),
	}
	install := func(from *servers.Etcd) {
		copyFile(t, from.CAFile, cfg.CAFile)
		copyFile(t, from.CertFile, cfg.CertFile)
		copyFile(t, from.KeyFile, cfg.KeyFile)
	}
	install(first)
	c := connect(t, cfg)
	before := status(t, c)

	first.Stop()
	if _, err := c.Status(t.Context()); !errors.Is(err, etcd.ErrUnreachable) {
		t.Errorf("a stopped member: %v, want ErrUnreachable", err)
	}
	client, peer := first.Ports()
	second := servers.StartEtcd(t, servers.EtcdConfig{
		DataDir: first.DataDir(), ExistingDataDir: true, ClientTLS: servers.NewCA(t), ClientPort: client, PeerPort: peer,
	})
	// A call waits for a second until the connection is there again, which a busy machine may not be enough for.
	until(t, "ErrTLS for a new CA that drd's files do not have yet", func() bool {
		_, err := c.Status(t.Context())
		if err == nil {
			t.Fatal("a new CA that drd's files do not have yet is trusted")
		}
		return errors.Is(err, etcd.ErrTLS)
	})
	install(second)
	var after etcd.Status
	until(t, "a status with the new certificates", func() (answered bool) {
		var err error
		after, err = c.Status(t.Context())
		return err == nil
	})
	if after.MemberID != before.MemberID {
		t.Errorf("member %x before, %x after", before.MemberID, after.MemberID)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// steady keeps the members of a cluster from electing another leader because the machine is busy.
func steady(cfg *servers.EtcdConfig) {
	cfg.Args = []string{"--heartbeat-interval", "200", "--election-timeout", "3000"}
}

// A cluster that loses its members one by one must stay readable through the last.
func TestClusterOfThree(t *testing.T) {
	members := servers.StartEtcdCluster(t, "3.7", 3, steady)
	fill(t, members[0], 20, 100)
	members[0].Stop()
	c := connect(t, configOf(members...))
	if c.Endpoint() != members[1].Endpoint() {
		t.Errorf("pinned to %s, want the first that is up, %s", c.Endpoint(), members[1].Endpoint())
	}
	sameHash(t, c, members[2].Endpoint())

	_, err := c.HashKV(t.Context(), members[0].Endpoint(), 10)
	if !errors.Is(err, etcd.ErrUnreachable) || !strings.Contains(err.Error(), members[0].Endpoint()) {
		t.Errorf("the hash of the stopped member: %v", err)
	}
	members[2].Stop()
	withoutQuorum(t, c)
	withoutQuorum(t, connect(t, configOf(members...)))

	members[1].Stop()
	_, err = etcd.Connect(t.Context(), configOf(members...))
	if !errors.Is(err, etcd.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
	for _, m := range members {
		if !strings.Contains(err.Error(), m.Endpoint()+": unreachable: connection refused") {
			t.Errorf("%s is not named in: %v", m.Endpoint(), err)
		}
	}
}

// sameHash compares the pinned member with another. The other may lag for a moment.
func sameHash(t *testing.T, c *etcd.Client, other string) {
	t.Helper()
	rev := status(t, c).Revision
	own, err := c.HashKV(t.Context(), "", rev)
	if err != nil {
		t.Fatal(err)
	}
	var theirs etcd.Hash
	until(t, "the hash of the other", func() bool {
		theirs, err = c.HashKV(t.Context(), other, rev)
		return err == nil
	})
	if diff := cmp.Diff(own, theirs); diff != "" {
		t.Error(diff)
	}
}

func withoutQuorum(t *testing.T, c *etcd.Client) {
	t.Helper()
	// etcd notices after an election timeout, 3 s
	until(t, "no leader", func() bool { return status(t, c).Leader == 0 })
	list, err := c.Members(t.Context())
	if err != nil || len(list) != 3 {
		t.Errorf("%d members, %v", len(list), err)
	}
	if _, err := c.HashKV(t.Context(), "", status(t, c).Revision); err != nil {
		t.Error(err)
	}
	stream, err := c.SnapshotStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, total := read(t, stream, io.Discard); total == 0 {
		t.Error("the snapshot is empty")
	}
}

func TestLearner(t *testing.T) {
	voter := servers.StartEtcd(t, servers.EtcdConfig{Name: "voter"})
	fill(t, voter, 20, 100)
	peer := servers.FreePort(t)
	peerURL := "http://127.0.0.1:" + strconv.Itoa(peer)
	if _, err := voter.Client(t).MemberAddAsLearner(t.Context(), []string{peerURL}); err != nil {
		t.Fatal(err)
	}
	learner := servers.StartEtcd(t, servers.EtcdConfig{
		Name: "learner", PeerPort: peer,
		InitialCluster: "voter=" + voter.PeerURL() + ",learner=" + peerURL,
		Args:           []string{"--initial-cluster-state", "existing"},
	})
	c := connect(t, configOf(learner))
	if !status(t, c).IsLearner {
		t.Error("the status does not say that it is a learner")
	}
	if _, err := c.HashKV(t.Context(), "", 10); !errors.Is(err, etcd.ErrLearner) {
		t.Errorf("HashKV: %v, want ErrLearner", err)
	}
	if _, err := c.Watch(t.Context(), 1); !errors.Is(err, etcd.ErrLearner) {
		t.Errorf("Watch: %v, want ErrLearner", err)
	}
	if _, err := c.Members(t.Context()); !errors.Is(err, etcd.ErrLearner) {
		t.Errorf("Members: %v, want ErrLearner", err)
	}
	ofVoter, got := connect(t, configOf(voter)), []string(nil)
	until(t, "the name of the learner in the voter's list", func() bool { // it tells that by itself
		list, err := ofVoter.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, m := range list {
			got = append(got, fmt.Sprintf("%s %v", m.Name, m.IsLearner))
		}
		return !slices.ContainsFunc(list, func(m etcd.Member) bool { return m.Name == "" })
	})
	slices.Sort(got)
	if diff := cmp.Diff([]string{"learner true", "voter false"}, got); diff != "" {
		t.Error(diff)
	}
	stream, err := c.SnapshotStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, total := read(t, stream, io.Discard); total == 0 {
		t.Error("the snapshot is empty")
	}
}

func TestUnixSocket(t *testing.T) {
	socket, port := filepath.Join(t.TempDir(), "etcd.sock"), servers.FreePort(t)
	listen := fmt.Sprintf("http://127.0.0.1:%d,unix://%s", port, socket)
	member := servers.StartEtcd(t, servers.EtcdConfig{ClientPort: port, Args: []string{"--listen-client-urls", listen}})
	cfg := configOf(member)
	cfg.Endpoints = []string{"unix://" + socket}
	if got, want := status(t, connect(t, cfg)), status(t, connect(t, configOf(member))); got.MemberID != want.MemberID {
		t.Errorf("member %x on the socket, %x on the port", got.MemberID, want.MemberID)
	}
}

func TestFormatID(t *testing.T) {
	for id, want := range map[uint64]string{0: "0", 0xabc: "abc", 1 << 63: "8000000000000000"} {
		if got := etcd.FormatID(id); got != want {
			t.Errorf("%d: got %s, want %s", id, got, want)
		}
	}
}
