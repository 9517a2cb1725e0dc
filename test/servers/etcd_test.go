package servers

import (
	"context"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestEtcdVersions(t *testing.T) {
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			e := StartEtcd(t, EtcdConfig{Version: version})
			client := e.Client(t)

			status, err := client.Status(t.Context(), e.Endpoint())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(status.Version, version+".") {
				t.Errorf("server says it is %s, want %s", status.Version, version)
			}
			put(t, client, "key", "value")
			expect(t, client, "key", "value")

			e.Stop()
			e.Start()
			expect(t, client, "key", "value")

			e.Kill()
			e.Start()
			expect(t, client, "key", "value")
		})
	}
}

func TestEtcdOnExistingData(t *testing.T) {
	first := StartEtcd(t, EtcdConfig{Fsync: true})
	put(t, first.Client(t), "key", "value")
	first.Stop()

	second := StartEtcd(t, EtcdConfig{DataDir: first.DataDir(), ExistingDataDir: true})
	expect(t, second.Client(t), "key", "value")
	second.Stop()

	if msg := fatal(t, func(tb testing.TB) { StartEtcd(tb, EtcdConfig{DataDir: first.DataDir()}) }); !strings.Contains(msg, "holds a member already") {
		t.Errorf("fresh start on an old member failed with %q", msg)
	}
	if msg := fatal(t, func(tb testing.TB) { StartEtcd(tb, EtcdConfig{DataDir: t.TempDir(), ExistingDataDir: true}) }); !strings.Contains(msg, "existing data directory") {
		t.Errorf("start on a member that is not there failed with %q", msg)
	}
}

func TestEtcdWithTLS(t *testing.T) {
	ca := NewCA(t)
	e := StartEtcd(t, EtcdConfig{ClientTLS: ca})
	if !strings.HasPrefix(e.Endpoint(), "https://") {
		t.Errorf("endpoint is %s, want https", e.Endpoint())
	}
	client := e.Client(t)
	put(t, client, "key", "value")
	expect(t, client, "key", "value")

	anonymous := ca.clientTLS(t, "", "")
	if err := get(t.Context(), anonymous, e.Endpoint()+"/health"); err == nil {
		t.Error("etcd answered a client that has no certificate")
	}
}

func TestEtcdPause(t *testing.T) {
	e := StartEtcd(t, EtcdConfig{})
	client := e.Client(t)
	put(t, client, "key", "value")

	e.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Get(ctx, "key"); err == nil {
		t.Error("a paused etcd answered")
	}
	e.Resume()
	expect(t, client, "key", "value")

	e.Pause()
	e.Stop()
	if e.running() {
		t.Error("a paused etcd was not stopped")
	}
}

func TestEtcdCluster(t *testing.T) {
	members := StartEtcdCluster(t, "3.7", 3, func(c *EtcdConfig) { c.Args = []string{"--heartbeat-interval", "200", "--election-timeout", "2000"} })
	list, err := members[0].Client(t).MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Members) != 3 {
		t.Fatalf("cluster has %d members, want 3", len(list.Members))
	}
	put(t, members[0].Client(t), "key", "value")
	expect(t, members[2].Client(t), "key", "value")

	members[1].Kill() // it may have been the leader: the others need a moment to elect one
	put(t, members[2].Client(t), "key", "other")
	members[1].Start()
	expect(t, members[1].Client(t), "key", "other")
}

func TestEtcdThatDoesNotStartShowsItsOutput(t *testing.T) {
	msg := fatal(t, func(tb testing.TB) { StartEtcd(tb, EtcdConfig{Args: []string{"--no-such-flag"}}) })
	for _, want := range []string{"start etcd-3.7", "ended before it was ready", "no-such-flag"} {
		if !strings.Contains(msg, want) {
			t.Errorf("failure does not say %q:\n%s", want, msg)
		}
	}
}

func TestEtcdFindsOtherPortsWhenTheseAreTaken(t *testing.T) {
	holder := StartEtcd(t, EtcdConfig{})
	e := newEtcd(t, EtcdConfig{})
	tries := 0
	e.launch(func() {
		if tries++; tries == 1 {
			e.setPorts([]int{FreePort(t), holder.cfg.PeerPort})
			return
		}
		e.cfg.ClientPort, e.cfg.PeerPort = 0, 0
		e.setPorts(freePorts(t, 2))
	})
	if tries != 2 {
		t.Errorf("etcd was started %d times, want 2", tries)
	}
	put(t, e.Client(t), "key", "value")
}

// put tries until there is a leader that takes it: a machine that stands still for a moment makes a cluster elect another one.
func put(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := client.Put(ctx, key, value)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("put %s: %v", key, err)
		}
	}
}

func expect(t *testing.T, client *clientv3.Client, key, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	resp, err := client.Get(ctx, key)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != want {
		t.Fatalf("get %s: %v, want %q", key, resp.Kvs, want)
	}
}
