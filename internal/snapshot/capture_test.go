package snapshot_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/snapshot/snapshottest"
	"github.com/drd-project/drd/test/servers"
)

func captureConfig(t *testing.T) (snapshot.Config, []age.Identity) {
	t.Helper()
	keys := sealtest.New(t)
	return snapshot.Config{WorkDir: t.TempDir(), SpoolDir: t.TempDir(), Recipients: keys.Recipients, Inspector: snapshottest.Inspector(t)}, keys.Identities
}

func connect(t *testing.T, e *servers.Etcd) *etcd.Client {
	t.Helper()
	c, err := etcd.Connect(t.Context(), etcd.Config{Endpoints: []string{e.Endpoint()}, DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func fill(t *testing.T, client *clientv3.Client, n int) {
	t.Helper()
	for i := range n {
		if _, err := client.Put(t.Context(), fmt.Sprintf("/registry/configmaps/%d", i), strings.Repeat(fmt.Sprint(i), 500)); err != nil {
			t.Fatal(err)
		}
	}
}

// entries lists what a directory holds.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}

func TestTake(t *testing.T) {
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	fill(t, server.Client(t), 500)
	cfg, identities := captureConfig(t)
	taken, err := snapshot.Take(t.Context(), connect(t, server), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if names := entries(t, cfg.WorkDir); len(names) != 0 {
		t.Errorf("plaintext has a name on the disk: %v", names)
	}
	facts, err := taken.Inspect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if facts.Revision != 501 || facts.Keys != 500 {
		t.Errorf("facts: %+v", facts)
	}

	sealed, err := os.ReadFile(taken.Sealed.Path)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(sealed); hex.EncodeToString(sum[:]) != taken.Sealed.SHA256 || int64(len(sealed)) != taken.Sealed.Size {
		t.Errorf("the sealed object is not the one described")
	}
	for name, ids := range map[string][]age.Identity{"identity": identities, "retained key": {taken.Sealed.Key.Identity()}} {
		plain := open(t, taken.Sealed.Path, ids)
		body, trailer := plain[:len(plain)-sha256.Size], plain[len(plain)-sha256.Size:]
		if sum := sha256.Sum256(body); string(sum[:]) != string(trailer) || string(trailer) != string(taken.Received.SHA256[:]) {
			t.Errorf("%s: what was sealed is not what was received", name)
		}
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if names := entries(t, cfg.SpoolDir); len(names) != 0 {
		t.Errorf("left in the spool: %v", names)
	}
}

func open(t *testing.T, path string, ids []age.Identity) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := seal.Default().Open(f, ids)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// cutting ends a real member's stream after n messages.
type cutting struct {
	*etcd.Client
	n int
}

type cutStream struct {
	etcd.Stream
	n int
}

func (c cutting) SnapshotStream(ctx context.Context) (etcd.Stream, error) {
	s, err := c.Client.SnapshotStream(ctx)
	return &cutStream{s, c.n}, err
}

func (c *cutStream) Recv() (etcd.Chunk, error) {
	if c.n--; c.n < 0 {
		return etcd.Chunk{}, io.EOF
	}
	return c.Stream.Recv()
}

// TestTakeCutLeavesNothing: a stream that ends too early, after any message, leaves no file.
func TestTakeCutLeavesNothing(t *testing.T) {
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	fill(t, server.Client(t), 300)
	client := connect(t, server)
	cfg, _ := captureConfig(t)
	for n := 0; ; n++ {
		taken, err := snapshot.Take(t.Context(), cutting{client, n}, cfg)
		if err == nil {
			taken.Close()
			if n < 10 {
				t.Fatalf("a stream of %d messages is a snapshot", n)
			}
			return
		}
		if !strings.Contains(err.Error(), "ended early") {
			t.Fatalf("after %d messages: %v", n, err)
		}
		if left := append(entries(t, cfg.SpoolDir), entries(t, cfg.WorkDir)...); len(left) != 0 {
			t.Fatalf("after %d messages: left %v", n, left)
		}
	}
}

// interrupting calls interrupt after the first message of a real member's stream, which ends with its context there.
type interrupting struct {
	*etcd.Client
	interrupt func()
}

type interruptedStream struct {
	etcd.Stream
	ctx       context.Context
	interrupt func()
	begun     bool
}

func (i interrupting) SnapshotStream(ctx context.Context) (etcd.Stream, error) {
	s, err := i.Client.SnapshotStream(ctx)
	return &interruptedStream{Stream: s, ctx: ctx, interrupt: i.interrupt}, err
}

func (i *interruptedStream) Recv() (etcd.Chunk, error) {
	if !i.begun {
		i.begun = true
		return i.Stream.Recv()
	}
	i.interrupt()
	<-i.ctx.Done()
	return etcd.Chunk{}, i.ctx.Err() // the real stream may have all that is left, and go on to its end
}

func TestTakeInterrupted(t *testing.T) {
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	fill(t, server.Client(t), 100)
	cfg, _ := captureConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := snapshot.Take(ctx, interrupting{connect(t, server), cancel}, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if left := append(entries(t, cfg.SpoolDir), entries(t, cfg.WorkDir)...); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// hugeMember says that its database is larger than any disk.
type hugeMember struct{ *etcd.Client }

func (h hugeMember) Status(ctx context.Context) (etcd.Status, error) {
	s, err := h.Client.Status(ctx)
	s.DBSize = 1 << 60
	return s, err
}

func TestTakeChecksTheDiskFirst(t *testing.T) {
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	cfg, _ := captureConfig(t)
	_, err := snapshot.Take(t.Context(), hugeMember{connect(t, server)}, cfg)
	if err == nil || !strings.Contains(err.Error(), "not enough disk space") {
		t.Errorf("got %v", err)
	}
}

// TestCompare: the live member confirms a small snapshot, also after it compacted; a member with other data does not.
func TestCompare(t *testing.T) {
	server, other := servers.StartEtcd(t, servers.EtcdConfig{}), servers.StartEtcd(t, servers.EtcdConfig{})
	fill(t, server.Client(t), 50)
	fill(t, other.Client(t), 20)
	fill(t, other.Client(t), 30) // the same revision, other content
	client := connect(t, server)
	members, err := client.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	foreign := etcd.Member{ID: 0xbad, Name: "bad", ClientURLs: []string{other.Endpoint()}}
	dead := etcd.Member{ID: 0xdead, Name: "dead", ClientURLs: []string{"http://127.0.0.1:1"}}
	cfg, _ := captureConfig(t)
	taken, err := snapshot.Take(t.Context(), client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	facts, err := taken.Inspect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	results := func(below int64) (out []string) {
		for _, c := range taken.Compare(t.Context(), client, append(members, foreign, dead), facts, below) {
			out = append(out, c.Result)
		}
		return out
	}
	want := []string{repo.ResultEqual, repo.ResultDiffers, repo.ResultNotCompared}
	if got := results(1 << 30); strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := server.Client(t).Compact(t.Context(), 30, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if got := results(1 << 30); got[0] != repo.ResultEqual {
		t.Errorf("after a compaction: %q", got)
	}
	if got := results(0); len(got) != 0 {
		t.Errorf("a database above the limit was scanned: %q", got)
	}
}

// rude is a member whose answers cannot be signed as they are.
type rude struct{ text string }

func (r rude) HashKV(context.Context, string, int64) (etcd.Hash, error) {
	return etcd.Hash{}, errors.New(r.text)
}

// TestCompareSurvivesRudePeers: what a peer says, a manifest can hold.
func TestCompareSurvivesRudePeers(t *testing.T) {
	server := servers.StartEtcd(t, servers.EtcdConfig{})
	cfg, _ := captureConfig(t)
	taken, err := snapshot.Take(t.Context(), connect(t, server), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	facts, err := taken.Inspect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	members := []etcd.Member{{ID: 1, Name: "a\x1b[2K", ClientURLs: []string{"http://127.0.0.1:1/\x07"}}}
	for _, text := range []string{"", "member says\tno", "\x1b]0;owned\x07", "a\u202eb", "\xff\xfe", strings.Repeat("ü", 1<<20), "two\nlines"} {
		m := taken.Describe(facts, snapshot.Context{
			Cluster: "c", MemberName: members[0].Name, Timeline: strings.Repeat("a", 16),
			Compared:   taken.Compare(t.Context(), rude{text}, members, facts, 1<<30),
			Recipients: cfg.Recipients.Fingerprints(), Build: repo.Build{Version: "test"},
		})
		if err := m.Validate(); err != nil {
			t.Errorf("%.20q: %v", text, err)
		}
		if c := m.Compared[0]; c.Result != repo.ResultNotCompared || c.Reason == "" || len(c.Reason) > 300 {
			t.Errorf("%.20q: %+v", text, c)
		}
	}
}
