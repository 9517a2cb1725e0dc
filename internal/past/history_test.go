package past_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/past"
	"github.com/drd-project/drd/test/servers"
)

// take saves the store of a member.
func take(t *testing.T, c *clientv3.Client) string {
	t.Helper()
	from, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(t.TempDir(), "db")
	to, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func changes(t *testing.T, path string, s past.Selection, from, to int64, values bool) (all []past.Change) {
	t.Helper()
	facts, err := reader(t, "read").Log(t.Context(), path, s, from, to, values, func(c *past.Change) error {
		all = append(all, *c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if facts.Found != int64(len(all)) {
		t.Errorf("%d changes are said to be found, %d came", facts.Found, len(all))
	}
	return all
}

func differences(t *testing.T, path string, s past.Selection, from, to int64, values bool) (all []past.Difference, facts *past.Facts) {
	t.Helper()
	facts, err := reader(t, "read").Diff(t.Context(), path, s, from, to, values, func(d *past.Difference) error {
		all = append(all, *d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, facts
}

func extracted(t *testing.T, path string, s past.Selection, at int64) (all []past.Change) {
	t.Helper()
	_, err := reader(t, "read").Extract(t.Context(), path, s, at, func(c *past.Change) error {
		all = append(all, *c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestLikeEtcd: of a random history, the store tells at every revision what etcd itself told.
func TestLikeEtcd(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.5", "3.7"} {
		t.Run("etcd-"+version, func(t *testing.T) {
			t.Parallel()
			likeEtcd(t, version)
		})
	}
}

func likeEtcd(t *testing.T, version string) {
	c := servers.StartEtcd(t, servers.EtcdConfig{Version: version}).Client(t)
	lease, err := c.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 1))
	name := func() string {
		return []string{"a/", "a/\xff", "a/\xff\xff", "b/", "\x00"}[random.IntN(5)] + fmt.Sprint(random.IntN(8))
	}
	for i := range 400 {
		var ops []clientv3.Op
		taken := make(map[string]bool)
		for range 1 + random.IntN(3) {
			key := name()
			if taken[key] {
				continue
			}
			taken[key] = true
			switch random.IntN(4) {
			case 0:
				ops = append(ops, clientv3.OpDelete(key))
			case 1:
				ops = append(ops, clientv3.OpPut(key, fmt.Sprint("value ", i), clientv3.WithLease(lease.ID)))
			default:
				ops = append(ops, clientv3.OpPut(key, strings.Repeat("v", i)))
			}
		}
		if _, err := c.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
		if i == 100 {
			now, err := c.Get(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Compact(t.Context(), now.Header.Revision-20, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := take(t, c)
	all := changes(t, path, past.Selection{}, 0, lastOf(t, path), true)
	compact := compactOf(t, path)
	if compact < 2 || len(all) < 200 {
		t.Fatalf("compacted at %d, %d changes", compact, len(all))
	}
	last := all[len(all)-1].Revision
	var states [][]past.Change
	for r := compact; r <= last; r++ {
		states = append(states, etcdState(t, c, r))
	}
	at := func(r int64) []past.Change { return states[r-compact] }
	for range 12 {
		from := compact + random.Int64N(last-compact+1)
		to := from + random.Int64N(last-from+1)
		if diff := cmp.Diff(at(to), extracted(t, path, past.Selection{}, to)); diff != "" {
			t.Fatalf("revision %d: %s", to, diff)
		}
		got, _ := differences(t, path, past.Selection{}, from, to, true)
		if diff := cmp.Diff(compareStates(at(from), at(to)), summarize(got)); diff != "" {
			t.Fatalf("revisions %d to %d: %s", from, to, diff)
		}
		// Whoever applies the log to the first state has the second.
		if diff := cmp.Diff(at(to), apply(at(from), changes(t, path, past.Selection{}, from+1, to, true))); diff != "" {
			t.Fatalf("log from %d to %d: %s", from, to, diff)
		}
	}
	prefix := past.Selection{Prefix: []byte("a/\xff")}
	for _, c := range extracted(t, path, prefix, last) {
		if !strings.HasPrefix(string(c.Key), "a/\xff") {
			t.Errorf("%q has no such prefix", c.Key)
		}
	}
	if got, want := len(extracted(t, path, prefix, last)), countPrefix(at(last), "a/\xff"); got != want || want == 0 {
		t.Errorf("%d keys with the prefix, want %d", got, want)
	}
}

func lastOf(t *testing.T, path string) int64 { return factsOf(t, path).Revision }

func compactOf(t *testing.T, path string) int64 { return factsOf(t, path).CompactRevision }

func factsOf(t *testing.T, path string) *past.Facts {
	t.Helper()
	facts, err := reader(t, "read").Log(t.Context(), path, past.Selection{Key: []byte("none")}, 0, 1, false, func(*past.Change) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

func etcdState(t *testing.T, c *clientv3.Client, revision int64) (state []past.Change) {
	t.Helper()
	got, err := c.Get(t.Context(), "\x00", clientv3.WithFromKey(), clientv3.WithRev(revision))
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range got.Kvs {
		value := kv.Value
		if len(value) == 0 {
			value = nil
		}
		state = append(state, past.Change{
			Key: kv.Key, Revision: kv.ModRevision, CreateRevision: kv.CreateRevision, Version: kv.Version, Lease: kv.Lease, Size: int64(len(value)), Value: value,
		})
	}
	return state
}

func countPrefix(state []past.Change, prefix string) (n int) {
	for _, c := range state {
		if strings.HasPrefix(string(c.Key), prefix) {
			n++
		}
	}
	return n
}

// compareStates names what became of each key: fate, revision of a put, values before and after.
func compareStates(from, to []past.Change) []string {
	before, after := make(map[string]past.Change), make(map[string]past.Change)
	for _, c := range from {
		before[string(c.Key)] = c
	}
	for _, c := range to {
		after[string(c.Key)] = c
	}
	out := []string{}
	for key, c := range after {
		if old, ok := before[key]; !ok {
			out = append(out, fmt.Sprintf("%q created %d  -> %s", key, c.Revision, c.Value))
		} else if old.Revision != c.Revision {
			out = append(out, fmt.Sprintf("%q changed %d %s -> %s", key, c.Revision, old.Value, c.Value))
		}
	}
	for key, c := range before {
		if _, ok := after[key]; !ok {
			out = append(out, fmt.Sprintf("%q deleted 0 %s -> ", key, c.Value))
		}
	}
	slices.Sort(out)
	return out
}

func summarize(all []past.Difference) []string {
	out := []string{}
	for _, d := range all {
		revision := d.Last.Revision
		if d.Last.Deleted {
			revision = 0 // which etcd does not tell
		}
		out = append(out, fmt.Sprintf("%q %s %d %s -> %s", d.Last.Key, d.Fate, revision, d.Before, d.Last.Value))
	}
	slices.Sort(out)
	return out
}

func apply(state []past.Change, log []past.Change) []past.Change {
	keys := make(map[string]past.Change)
	for _, c := range append(slices.Clone(state), log...) {
		keys[string(c.Key)] = c
	}
	var out []past.Change
	for _, c := range keys {
		if !c.Deleted {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b past.Change) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return out
}
