package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/test/servers"
)

func watch(t *testing.T, c *etcd.Client, from int64) *etcd.Watch {
	t.Helper()
	w, err := c.Watch(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// follow reads until a revision is whole. It checks on the way what Next promises.
func follow(t *testing.T, w *etcd.Watch, from, upTo int64) (changes []etcd.Change, batches int) {
	t.Helper()
	revision, sub := from-1, int64(-1)
	for whole := from - 1; whole < upTo; batches++ {
		b, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Changes {
			if next := c.Revision() == revision+1 && c.Sub == 0; !next && (c.Revision() != revision || c.Sub != sub+1) {
				t.Fatalf("change %d.%d after %d.%d", c.Revision(), c.Sub, revision, sub)
			}
			revision, sub = c.Revision(), c.Sub
			changes = append(changes, c)
		}
		if b.Whole < whole || b.Whole > revision || b.Whole < revision-1 {
			t.Fatalf("whole up to %d after %d, at revision %d", b.Whole, whole, revision)
		}
		whole = b.Whole
	}
	return changes, batches
}

// texts makes changes comparable.
func texts(events []*mvccpb.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, fmt.Sprintf("%s %q=%x created %d modified %d version %d lease %x", e.GetType(), e.GetKv().GetKey(), e.GetKv().GetValue(),
			e.GetKv().GetCreateRevision(), e.GetKv().GetModRevision(), e.GetKv().GetVersion(), e.GetKv().GetLease()))
	}
	return out
}

// TestWatch compares with etcd's own client what comes of the past and of the present.
func TestWatch(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version, ClientTLS: servers.NewCA(t)})
			c, kv := connect(t, configOf(member)), member.Client(t)
			fill(t, member, 1500, 10)
			early := watch(t, c, 1)
			now := watch(t, c, status(t, c).Revision+1)
			first := status(t, c).Revision + 1
			for i := range 50 {
				_, err := kv.Txn(t.Context()).Then(
					clientv3.OpPut(fmt.Sprint("a", i), "x"), clientv3.OpPut("b", ""),
					clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("\x00twice", "1")}, nil),
					clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("\x00twice")}, nil)).Commit()
				if err != nil {
					t.Fatal(err)
				}
			}
			last := status(t, c).Revision

			reference := kv.Watch(t.Context(), "\x00", clientv3.WithFromKey(), clientv3.WithRev(2))
			var want []string
			for revision := int64(0); revision < last; {
				r, ok := <-reference
				if !ok || r.Err() != nil {
					t.Fatalf("the reference ended: %v", r.Err())
				}
				for _, e := range r.Events {
					want = append(want, texts([]*mvccpb.Event{(*mvccpb.Event)(e)})...)
					revision = e.Kv.ModRevision
				}
			}
			all, _ := follow(t, early, 2, last)
			compareChanges(t, all, want)
			recent, _ := follow(t, now, first, last)
			compareChanges(t, recent, want[len(want)-4*50:])
		})
	}
}

func compareChanges(t *testing.T, got []etcd.Change, want []string) {
	t.Helper()
	events := make([]*mvccpb.Event, len(got))
	for i, c := range got {
		events[i] = c.Event
	}
	told := texts(events)
	if len(told) != len(want) {
		t.Fatalf("%d changes, etcd's client has %d", len(told), len(want))
	}
	for i := range want {
		if told[i] != want[i] {
			t.Fatalf("change %d is\n%s\nand not\n%s", i, told[i], want[i])
		}
	}
}

// One revision with a hundred thousand changes costs the member no more than it must.
func TestWatchOfManyChangesAtOnce(t *testing.T) {
	const keys = 100_000
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version, Args: []string{"--max-txn-ops", "10000"}})
			c, kv := connect(t, configOf(member)), member.Client(t)
			for i := 0; i < keys; {
				var ops []clientv3.Op
				for range 10_000 {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("/registry/some/where/%08d", i), "x"))
					i++
				}
				if _, err := kv.Txn(t.Context()).Then(ops...).Commit(); err != nil {
					t.Fatal(err)
				}
			}
			first := status(t, c).Revision + 1
			live := watch(t, c, first)
			before := cpuOf(t, member)
			if _, err := kv.Delete(t.Context(), "/", clientv3.WithPrefix()); err != nil {
				t.Fatal(err)
			}
			for _, w := range []*etcd.Watch{live, watch(t, c, first)} {
				if changes, _ := follow(t, w, first, first); len(changes) != keys {
					t.Errorf("%d changes", len(changes))
				}
			}
			if used := cpuOf(t, member) - before; used > 20*time.Second { // divided, they cost half a minute each time
				t.Errorf("%d changes, told twice, for %s of the member's CPU time", keys, used)
			}
		})
	}
}

// cpuOf is what a member has used, user and system: fields 14 and 15 of proc_pid_stat(5), in ticks of which a second has 100.
func cpuOf(t *testing.T, member *servers.Etcd) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", member.PID()))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from field 3 on
	var user, system int
	if _, err := fmt.Sscan(strings.Join(fields[14-3:16-3], " "), &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// What is too large for one message comes in several, of which the first and the last revisions are parts.
func TestWatchDividesLargeMessages(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version})
			c, kv := connect(t, configOf(member)), member.Client(t)
			value := strings.Repeat("v", 300<<10)
			for i := range 170 { // 150 MiB, while a message has 128 at most
				if _, err := kv.Txn(t.Context()).Then(clientv3.OpPut(fmt.Sprint("a", i), value), clientv3.OpPut("b", value), clientv3.OpPut("c", value)).Commit(); err != nil {
					t.Fatal(err)
				}
			}
			last := status(t, c).Revision
			w := watch(t, c, 2)
			if changes, batches := follow(t, w, 2, last); len(changes) != 3*170 || batches < 20 {
				t.Errorf("%d changes in %d batches", len(changes), batches)
			}
			if _, err := kv.Put(t.Context(), "d", "x"); err != nil {
				t.Fatal(err)
			}
			follow(t, w, last+1, last+1) // it goes on
		})
	}
}

func TestWatchOfWhatIsCompacted(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version})
			fill(t, member, 100, 10)
			if _, err := member.Client(t).Compact(t.Context(), 60, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
			_, err := watch(t, connect(t, configOf(member)), 50).Next()
			var compacted *etcd.CompactedError
			if !errors.As(err, &compacted) || !errors.Is(err, etcd.ErrCompacted) || compacted.Compact != 60 || compacted.Wanted != 50 {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWatchIsRefused(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version, Args: []string{"--auth-token-ttl", "5"}})
			fill(t, member, 5, 10)
			before := connect(t, configOf(member))
			enableAuth(t, member)
			if _, err := before.Watch(t.Context(), 1); !errors.Is(err, etcd.ErrPermission) {
				t.Errorf("without a user: %v", err)
			}
			plain := connect(t, withUser(t, configOf(member), "plain", plainPassword)) // may read
			time.Sleep(7500 * time.Millisecond)                                        // the token lives 5 s, and a second until etcd looks
			follow(t, watch(t, plain, 2), 2, 7)
		})
	}
}

func TestWatchWithoutLeader(t *testing.T) {
	for _, version := range []string{"3.4", "3.7"} {
		t.Run(version, func(t *testing.T) {
			members := servers.StartEtcdCluster(t, version, 3)
			c := connect(t, configOf(members[0]))
			w := watch(t, c, 1)
			members[1].Stop()
			members[2].Stop()
			_, err := w.Next()
			if !errors.Is(err, etcd.ErrNoQuorum) {
				t.Errorf("a running watch: %v", err)
			}
			if _, err := c.Watch(t.Context(), 1); !errors.Is(err, etcd.ErrNoQuorum) {
				t.Errorf("a new watch: %v", err)
			}
			if _, _, err := c.LeaseTTL(t.Context(), 1); err == nil {
				t.Error("a lease was told without a leader")
			}
		})
	}
}

func TestWatchOfADyingMember(t *testing.T) {
	for _, end := range []func(*servers.Etcd){(*servers.Etcd).Kill, (*servers.Etcd).Stop} {
		member := servers.StartEtcd(t, servers.EtcdConfig{})
		w := watch(t, connect(t, configOf(member)), 1)
		end(member)
		if _, err := w.Next(); !errors.Is(err, etcd.ErrUnreachable) {
			t.Errorf("got %v, want ErrUnreachable", err)
		}
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	member := servers.StartEtcd(t, servers.EtcdConfig{})
	c := connect(t, configOf(member))
	ctx, cancel := context.WithCancel(t.Context())
	w, err := c.Watch(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cancel()
	if _, err := w.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Watch(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "begin with 1") {
		t.Errorf("from revision 0: %v", err)
	}
}

func TestLeases(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version})
			c, admin := connect(t, configOf(member)), member.Client(t)
			granted := make(map[int64]int64)
			for _, seconds := range []int64{60, 3600, 100_000} {
				l, err := admin.Grant(t.Context(), seconds)
				if err != nil {
					t.Fatal(err)
				}
				granted[int64(l.ID)] = seconds
			}
			ids, err := c.Leases(t.Context())
			if err != nil || len(ids) != len(granted) {
				t.Fatalf("%v, %v", ids, err)
			}
			for _, id := range ids {
				if seconds, ok, err := c.LeaseTTL(t.Context(), id); err != nil || !ok || seconds != granted[id] {
					t.Errorf("lease %x: %d s, %v, %v; granted were %d", id, seconds, ok, err, granted[id])
				}
			}
			if seconds, ok, err := c.LeaseTTL(t.Context(), 12345); err != nil || ok || seconds != 0 {
				t.Errorf("a lease that is not there: %d, %v, %v", seconds, ok, err)
			}
		})
	}
}

func TestAuthRevision(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			member := servers.StartEtcd(t, servers.EtcdConfig{Version: version})
			c, admin := connect(t, configOf(member)), member.Client(t)
			before, err := c.AuthRevision(t.Context())
			if version == "3.4" {
				if !errors.Is(err, etcd.ErrUnsupported) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := admin.UserAdd(t.Context(), "somebody", "password"); err != nil {
				t.Fatal(err)
			}
			if after, err := c.AuthRevision(t.Context()); err != nil || after == before {
				t.Errorf("%d before and after, %v", after, err)
			}
		})
	}
}
