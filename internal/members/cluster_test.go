package members_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/test/servers"
)

// cluster is a real one, with a watch on it whose own member is the first.
type cluster struct {
	t        *testing.T
	etcd     []*servers.Etcd
	kvs      []*clientv3.Client // one of each
	kv       *clientv3.Client   // of the first
	stateDir string
	cfg      members.Config
	watch    *members.Watch
	clock    time.Time // of the watch, beside the real one's progress
	log      bytes.Buffer
}

// scanBelow is above every database of these tests.
const scanBelow = 64 << 20

// dialTimeout is longer than a busy machine's member is silent, and shorter than a poll asks one for.
const dialTimeout = 8 * time.Second

// steady has the leader stay, however busy the machine is. It is for clusters whose members all stay up: without a leader they would take
// half a minute to elect another one.
func steady(cfg *servers.EtcdConfig) {
	cfg.Args = append(cfg.Args, "--election-timeout", "10000")
}

func newCluster(t *testing.T, scanBelow int64, etcds ...*servers.Etcd) *cluster {
	t.Helper()
	c := &cluster{t: t, etcd: etcds, stateDir: t.TempDir(), clock: time.Now()}
	for _, m := range etcds {
		c.kvs = append(c.kvs, m.Client(t))
	}
	c.kv = c.kvs[0]
	c.cfg = members.Config{
		Connect: func(ctx context.Context) (*etcd.Client, error) {
			m := c.etcd[0]
			return etcd.Connect(ctx, etcd.Config{
				Endpoints: []string{m.Endpoint()}, CAFile: m.CAFile, CertFile: m.CertFile, KeyFile: m.KeyFile, DialTimeout: dialTimeout,
			})
		},
		ScanBelow: scanBelow, Confirm: 50 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&c.log, nil)), Now: func() time.Time { return c.clock },
	}
	c.restartDaemon()
	return c
}

// restartDaemon begins anew with what is on disk.
func (c *cluster) restartDaemon() {
	c.t.Helper()
	var err error
	if c.cfg.Answers, err = members.OpenLog(c.stateDir); err != nil {
		c.t.Fatal(err)
	}
	if c.watch, err = members.New(c.cfg); err != nil {
		c.t.Fatal(err)
	}
}

// poll is one poll, a minute after the one before.
func (c *cluster) poll() members.Report {
	c.t.Helper()
	c.clock = c.clock.Add(time.Minute)
	r, err := c.watch.Poll(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// insist makes a request, and makes it again while the cluster refuses it: it may be electing a leader, on a busy machine at any time.
func (c *cluster) insist(request func(ctx context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		err := request(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// put writes n keys, deletes one, and waits until every member has that.
func (c *cluster) put(n int) {
	c.t.Helper()
	for i := range n {
		c.insist(func(ctx context.Context) error {
			_, err := c.kv.Put(ctx, fmt.Sprintf("/key/%03d", i), "value"+strings.Repeat("v", i))
			return err
		})
	}
	c.insist(func(ctx context.Context) error {
		_, err := c.kv.Delete(ctx, "/key/000")
		return err
	})
	c.level()
}

// level waits until every member has come as far as the cluster.
func (c *cluster) level() {
	c.t.Helper()
	for _, kv := range c.kvs {
		c.insist(func(ctx context.Context) error {
			_, err := kv.Get(ctx, "key")
			return err
		})
	}
}

// compact compacts at the newest revision and waits until every member has done it.
func (c *cluster) compact() (at int64) {
	c.t.Helper()
	c.insist(func(ctx context.Context) error {
		r, err := c.kv.Put(ctx, "/compacted", "")
		if err == nil {
			at = r.Header.GetRevision()
		}
		return err
	})
	c.insist(func(ctx context.Context) error {
		_, err := c.kv.Compact(ctx, at, clientv3.WithCompactPhysical())
		if errors.Is(err, rpctypes.ErrCompacted) { // by a request before, which was answered too late
			return nil
		}
		return err
	})
	c.finished(at, c.etcd...) // physical is a promise of one member only
	return at
}

// finished waits until members have done a compaction.
func (c *cluster) finished(at int64, all ...*servers.Etcd) {
	c.t.Helper()
	said := fmt.Sprintf(`"finished scheduled compaction","compact-revision":%d,`, at)
	for _, m := range all {
		for end := time.Now().Add(time.Minute); !strings.Contains(m.Logs(), said); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				c.t.Fatalf("member %s has not finished the compaction at revision %d", m.Name(), at)
			}
		}
	}
	time.Sleep(300 * time.Millisecond) // it says so a moment before it keeps the hash, of which it says nothing
}

// damage changes the value of a key in the database of a stopped member, as a bad disk or a bug would.
func damage(t *testing.T, m *servers.Etcd, key string) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(m.DataDir(), "member", "snap", "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("key"))
		return b.ForEach(func(k, v []byte) error {
			var kv mvccpb.KeyValue
			if err := proto.Unmarshal(v, &kv); err != nil {
				return err
			}
			if string(kv.Key) != key || len(k) != 17 {
				return nil
			}
			kv.Value = append(slices.Clone(kv.Value), "damaged"...)
			text, err := proto.Marshal(&kv)
			if err != nil {
				return err
			}
			changed++
			return b.Put(slices.Clone(k), text)
		})
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil || changed == 0 {
		t.Fatalf("damage %s: %d entries changed, %v", key, changed, err)
	}
}

// scans is how many times a member computed a hash by scanning its store, in its own count.
func scans(t *testing.T, m *servers.Etcd) int {
	t.Helper()
	r, err := http.Get(m.Endpoint() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "etcd_mvcc_hash_rev_duration_seconds_count "); ok {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("the metrics of %s do not count scans (%v)", m.Name(), lines.Err())
	return 0
}

// noScans fails the test when a member that runs has scanned its store since it started.
func (c *cluster) noScans() {
	c.t.Helper()
	for _, m := range c.etcd {
		if n := scans(c.t, m); n != 0 {
			c.t.Errorf("member %s scanned its store %d times", m.Name(), n)
		}
	}
}

// id is the member's ID in hex.
func (c *cluster) id(r members.Report, name string) string {
	c.t.Helper()
	for _, m := range r.Members {
		if m.Name == name {
			return m.ID
		}
	}
	c.t.Fatalf("no member %s in %+v", name, r.Members)
	return ""
}

// member is what the report says of one.
func (c *cluster) member(r members.Report, name string) members.Member {
	c.t.Helper()
	id := c.id(r, name)
	return r.Members[slices.IndexFunc(r.Members, func(m members.Member) bool { return m.ID == id })]
}

// agreed fails the test unless n members were compared and none differs.
func (c *cluster) agreed(r members.Report, n int) {
	c.t.Helper()
	if len(r.Diverged) != 0 || r.Compared() != n {
		c.t.Errorf("%d members were compared, want %d; diverged: %v\n%s", r.Compared(), n, r.Diverged, reasons(r))
	}
}

func reasons(r members.Report) string {
	var out []string
	for _, m := range r.Members {
		out = append(out, fmt.Sprintf("%s: %q, triple %+v", m.Name, m.NotCompared, m.Triple))
	}
	return strings.Join(out, "\n")
}

// notCompared fails the test unless the reason given for a member has the text.
func (c *cluster) notCompared(r members.Report, name, text string) {
	c.t.Helper()
	if why := c.member(r, name).NotCompared; !strings.Contains(why, text) || why == "" {
		c.t.Errorf("member %s is not compared because %q, want %q", name, why, text)
	}
}

// copyOf reads a snapshot of the first member into a file, as a backup would.
func (c *cluster) copyOf() *os.File {
	c.t.Helper()
	r, err := c.kv.Snapshot(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	f, err := os.CreateTemp(c.t.TempDir(), "snapshot")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = f.Close() }) // only read from here on
	if _, err := f.ReadFrom(r); err != nil {
		c.t.Fatal(err)
	}
	return f
}
