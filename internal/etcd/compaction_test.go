package etcd_test

import (
	"errors"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/test/servers"
)

// TestCompactRevision finds each compaction of every version, with users, whatever was known before.
func TestCompactRevision(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version})
			fill(t, member, 300, 10)
			kv := member.Client(t)
			enableAuth(t, member)
			c := connect(t, withUser(t, configOf(member), "root", rootPassword))
			expectCompaction(t, c, etcd.NeverCompacted)

			admin := rootClient(t, kv)
			revision := status(t, c).Revision
			for _, at := range []int64{2, 3, 150, 151, 280, revision} {
				if _, err := admin.Compact(t.Context(), at); err != nil {
					t.Fatal(err)
				}
				expectCompaction(t, c, at)
			}
			if _, err := c.Compacted(t.Context(), revision+1000); !errors.Is(err, rpctypes.ErrFutureRev) {
				t.Errorf("a revision that is still to come: %v", err)
			}
		})
	}
}

// rootClient is a client of the same member that is logged in.
func rootClient(t *testing.T, kv *clientv3.Client) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: kv.Endpoints(), Username: "root", Password: rootPassword})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func expectCompaction(t *testing.T, c *etcd.Client, want int64) {
	t.Helper()
	for _, known := range []int64{0, 2, want - 1, want, want + 7, 1 << 40} {
		got, err := c.CompactRevision(t.Context(), known)
		if err != nil || got != want {
			t.Errorf("compaction at %d, known %d: found %d, %v", want, known, got, err)
		}
	}
}

func TestEmpty(t *testing.T) {
	member := servers.StartEtcd(t, servers.EtcdConfig{})
	c, kv := connect(t, configOf(member)), member.Client(t)
	for _, key := range []string{"\x00", "middle", "\xff\xff"} {
		put, err := kv.Put(t.Context(), key, "v")
		if err != nil {
			t.Fatal(err)
		}
		deleted, err := kv.Delete(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for revision, want := range map[int64]bool{put.Header.GetRevision(): false, deleted.Header.GetRevision(): true} {
			if got, err := c.Empty(t.Context(), revision); err != nil || got != want {
				t.Errorf("key %q, revision %d: empty %v, %v", key, revision, got, err)
			}
		}
	}
}

// TestAlarms fills a database to its quota, and removes the alarm again.
func TestAlarms(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version, Args: []string{"--quota-backend-bytes", "1048576"}})
			c, kv := connect(t, configOf(member)), member.Client(t)
			if got, err := c.Alarms(t.Context()); err != nil || len(got) != 0 {
				t.Fatalf("a healthy member: %v, %v", got, err)
			}
			value := strings.Repeat("v", 100<<10)
			for i := 0; ; i++ { // etcd looks at the size of what is committed already, some 100 ms later
				_, err := kv.Put(t.Context(), "key", value)
				if errors.Is(err, rpctypes.ErrNoSpace) {
					break
				}
				if err != nil || i == 2000 {
					t.Fatalf("put %d: %v", i, err)
				}
			}
			got, err := c.Alarms(t.Context())
			if want := (etcd.Alarm{Member: status(t, c).MemberID, Type: etcd.AlarmNoSpace}); err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		})
	}
}

func TestAlarmsOfStatus(t *testing.T) {
	s := etcd.Status{Errors: []string{
		"etcdserver: no leader", "memberID:12 alarm:NOSPACE ", "memberID:18446744073709551615  alarm:CORRUPT", "alarm:LATER", "",
	}}
	want := []etcd.Alarm{{Member: 12, Type: etcd.AlarmNoSpace}, {Member: 1<<64 - 1, Type: etcd.AlarmCorrupt}, {Type: "LATER"}}
	got := s.Alarms()
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
}

func TestKeepsHashes(t *testing.T) {
	for version, want := range map[string]bool{
		"3.4.45": false, "3.5.4": false, "3.5.5": true, "3.5.35": true, "3.6.0-rc.1": true, "3.10.0": true, "4.0.0": true, "": false, "git": false, "3.5": false,
	} {
		if got := etcd.KeepsHashes(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
