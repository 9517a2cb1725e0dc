package restore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/test/servers"
)

// captured is a snapshot that etcdctl took from a real server, and what the server said of itself then.
type captured struct {
	Version string // minor version of the server
	File    string
	// LiveHash is the server's own HashKV at (Revision, Compact).
	LiveHash          uint32
	Revision, Compact int64
	Facts             snapshot.Facts
}

// capture returns a snapshot of a server of the given version with a workload of puts, deletes, transactions, leases
// and a compaction under prefix. It is made once for all tests.
func capture(tb testing.TB, version, prefix string) captured {
	tb.Helper()
	base := filepath.Join(sharedDir, version+strings.ReplaceAll(prefix, "/", "-"))
	var c captured
	if b, err := os.ReadFile(base + ".json"); err == nil {
		if err := json.Unmarshal(b, &c); err != nil {
			tb.Fatal(err)
		}
		return c
	}
	c = captured{Version: version, File: base + ".db"}
	server := servers.StartEtcd(tb, servers.EtcdConfig{Version: version})
	work(tb, server.Client(tb), prefix)
	c.ask(tb, server)
	save(tb, server, c.File)
	server.Stop()
	var err error
	if c.Facts, err = inspector(tb).Inspect(tb.Context(), c.File, nil); err != nil {
		tb.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(base+".json", b, 0o600); err != nil {
		tb.Fatal(err)
	}
	return c
}

// ask records the live hash.
func (c *captured) ask(tb testing.TB, server *servers.Etcd) {
	tb.Helper()
	answer, err := server.Client(tb).HashKV(tb.Context(), server.Endpoint(), 0)
	if err != nil {
		tb.Fatal(err)
	}
	c.LiveHash, c.Revision, c.Compact = answer.Hash, answer.Header.Revision, answer.CompactRevision
}

// save takes a snapshot with the etcdctl of the server's version.
func save(tb testing.TB, server *servers.Etcd, file string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), servers.Tool(tb, "etcdctl-"+server.Version()), "--endpoints", server.Endpoint(), "snapshot", "save", file)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("etcdctl snapshot save: %v\n%s", err, out)
	}
}

func work(tb testing.TB, c *clientv3.Client, prefix string) {
	tb.Helper()
	ctx := tb.Context()
	key := func(i int) string { return fmt.Sprintf("%skey-%03d", prefix, i) }
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	lease, err := c.Grant(ctx, 3600)
	must(err)
	for i := range 300 {
		var opts []clientv3.OpOption
		if i%7 == 0 {
			opts = append(opts, clientv3.WithLease(lease.ID))
		}
		_, err := c.Put(ctx, key(i%60), strings.Repeat(fmt.Sprint(i), 20), opts...)
		must(err)
		switch {
		case i%25 == 24:
			_, err = c.Delete(ctx, key(i%60))
		case i%40 == 39:
			_, err = c.Txn(ctx).Then(clientv3.OpPut(key(100), fmt.Sprint(i)), clientv3.OpPut(key(101), fmt.Sprint(i))).Commit()
		}
		must(err)
		if i == 200 {
			current, err := c.Get(ctx, key(0))
			must(err)
			_, err = c.Compact(ctx, current.Header.Revision-20, clientv3.WithCompactPhysical())
			must(err)
		}
	}
}

// get reads one key and fails the test when it is not there.
func get(ctx context.Context, tb testing.TB, c *clientv3.Client, key string) string {
	tb.Helper()
	r, err := c.Get(ctx, key)
	if err != nil {
		tb.Fatal(err)
	}
	if len(r.Kvs) != 1 {
		tb.Fatalf("key %q: %d values", key, len(r.Kvs))
	}
	return string(r.Kvs[0].Value)
}
