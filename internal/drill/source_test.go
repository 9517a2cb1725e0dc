package drill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/test/servers"
)

// source is a snapshot that etcdctl took from a real server.
type source struct {
	File  string
	Facts snapshot.Facts
	// Live is what the server itself answered to HashKV at the snapshot's revision.
	Live uint32
}

// capture returns a snapshot of a server with the given content. It is made once for all tests.
func capture(tb testing.TB, version, name string, fill func(ctx context.Context, c *clientv3.Client) error) source {
	tb.Helper()
	base := filepath.Join(sharedDir, version+"-"+name)
	s := source{File: base + ".db"}
	if b, err := os.ReadFile(base + ".json"); err == nil {
		if err := json.Unmarshal(b, &s); err != nil {
			tb.Fatal(err)
		}
		return s
	}
	server := servers.StartEtcd(tb, servers.EtcdConfig{Version: version, Args: []string{"--quota-backend-bytes=67108864"}})
	client := server.Client(tb)
	if err := fill(tb.Context(), client); err != nil {
		tb.Fatal(err)
	}
	user := ""
	if name == "auth" {
		user = "root:secret"
	} else {
		live, err := client.HashKV(tb.Context(), server.Endpoint(), 0)
		if err != nil {
			tb.Fatal(err)
		}
		s.Live = live.Hash
	}
	s.save(tb, server, version, user)
	server.Stop()
	var err error
	if s.Facts, err = inspector(tb).Inspect(tb.Context(), s.File, nil); err != nil {
		tb.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(base+".json", b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return s
}

func (s *source) save(tb testing.TB, server *servers.Etcd, version, user string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), servers.Tool(tb, "etcdctl-"+version), "--endpoints", server.Endpoint(), "--dial-timeout", "1m", "snapshot", "save", s.File)
	cmd.Env = []string{"ETCDCTL_API=3"} // nothing of the tester's: ETCDCTL_… is as good as a flag
	if user != "" {
		cmd.Env = append(cmd.Env, "ETCDCTL_USER="+user)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("etcdctl snapshot save: %v\n%s", err, out)
	}
}

// hashAt is the hash of the snapshot at an earlier moment.
func (s source) hashAt(tb testing.TB, revision, compact int64) uint32 {
	tb.Helper()
	f, err := os.Open(s.File)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	hash, err := inspector(tb).HashFile(tb.Context(), f, revision, compact)
	if err != nil {
		tb.Fatal(err)
	}
	return hash.Value
}

func ordinary(tb testing.TB, version string) source {
	tb.Helper()
	return capture(tb, version, "ordinary", work)
}

// work is puts, deletes, transactions, leases and a compaction.
func work(ctx context.Context, c *clientv3.Client) error {
	lease, err := c.Grant(ctx, 3600)
	if err != nil {
		return err
	}
	for i := range 300 {
		key := fmt.Sprintf("app/key-%03d", i%60)
		var opts []clientv3.OpOption
		if i%7 == 0 {
			opts = append(opts, clientv3.WithLease(lease.ID))
		}
		ops := []clientv3.Op{clientv3.OpPut(key, strings.Repeat(fmt.Sprint(i), 20), opts...)}
		if i%40 == 39 {
			ops = append(ops, clientv3.OpPut("other/key", fmt.Sprint(i)))
		}
		if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
			return err
		}
		if i%25 == 24 {
			if _, err := c.Delete(ctx, key); err != nil {
				return err
			}
		}
		if i == 200 {
			if _, err := c.Compact(ctx, 180, clientv3.WithCompactPhysical()); err != nil {
				return err
			}
		}
	}
	return nil
}

func empty(context.Context, *clientv3.Client) error { return nil }

// withAuth is work, and authentication enabled.
func withAuth(ctx context.Context, c *clientv3.Client) error {
	if err := work(ctx, c); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := c.RoleAdd(ctx, "root"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// large values, of up to the 1.5 MiB that etcd takes by default.
func large(ctx context.Context, c *clientv3.Client) error {
	for i := range 5 {
		if _, err := c.Put(ctx, fmt.Sprint("large/", i), strings.Repeat("x", 1<<20+i*100_000)); err != nil {
			return err
		}
	}
	return nil
}

// many keys: more than one request may ask for.
func many(ctx context.Context, c *clientv3.Client) error {
	const total, atOnce = 60_000, 120 // etcd takes 128 operations in a transaction
	for i := 0; i < total; i += atOnce {
		var ops []clientv3.Op
		for j := range atOnce {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("many/%d/%d", i%7, i+j), ""))
		}
		if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
			return err
		}
	}
	return nil
}

// full fills the store until etcd raises an alarm.
func full(ctx context.Context, c *clientv3.Client) error {
	for i := range 200 {
		if _, err := c.Put(ctx, fmt.Sprint("fill/", i), strings.Repeat("x", 1<<20)); err != nil {
			if strings.Contains(err.Error(), "database space exceeded") {
				return nil
			}
			return err
		}
	}
	return fmt.Errorf("the store never filled up")
}

// shortLeases are gone a few seconds after the restored etcd has started.
func shortLeases(ctx context.Context, c *clientv3.Client) error {
	for i := range 20 {
		err := rpctypes.ErrLeaseNotFound
		for errors.Is(err, rpctypes.ErrLeaseNotFound) { // on a busy machine it may be gone already
			err = putForSeconds(ctx, c, fmt.Sprint("short/", i), int64(2+i))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func putForSeconds(ctx context.Context, c *clientv3.Client, key string, seconds int64) error {
	lease, err := c.Grant(ctx, seconds)
	if err != nil {
		return err
	}
	_, err = c.Put(ctx, key, "x", clientv3.WithLease(lease.ID))
	return err
}

// kubernetes has the keys of a small cluster, or of one without its kube-system namespace.
func kubernetes(ctx context.Context, c *clientv3.Client) error {
	keys := []string{"/registry/namespaces/default", "/registry/services/specs/default/kubernetes", "compact_rev_key"}
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("/registry/pods/default/pod-%d", i))
	}
	for i := range 5 {
		keys = append(keys, fmt.Sprintf("/registry/deployments/default/app-%d", i))
	}
	for _, key := range keys {
		if _, err := c.Put(ctx, key, `{"kind":"Thing","apiVersion":"v1"}`); err != nil {
			return err
		}
	}
	return nil
}
