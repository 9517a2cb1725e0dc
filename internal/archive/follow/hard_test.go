package follow_test

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/test/servers"
)

// A deletion of hundreds of thousands of keys in one call is one revision of one segment, and costs no multiple of itself.
func TestManyDeletions(t *testing.T) {
	for version, keys := range map[string]int{"3.4": 100_000, "3.5": 200_000, "3.6": 100_000, "3.7": 200_000} {
		t.Run(version, func(t *testing.T) { deleteMany(t, version, keys, 3*time.Minute) })
	}
}

// deleteMany deletes keys in one call, follows that, and then compares the revision again, as after a restart.
func deleteMany(t *testing.T, version string, keys int, within time.Duration) {
	c, o := newCluster(t, version), newOwner(t)
	for i := 0; i < keys; {
		var ops []clientv3.Op
		for range 10_000 {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("/registry/events/some-namespace/some-deployment-6bb9d5f7c4-%08d.17a3c5b7d9e1f024", i), "x"))
			i++
		}
		c.insist(func() error {
			_, err := c.kv.Txn(t.Context()).Then(ops...).Commit()
			return err
		})
	}
	from := c.revision()
	o.at.Revision = from
	r := o.start(o.follower(), c.drd)
	c.put("before", "x")
	o.until(r, c.revision())
	used := peak(t)
	begun := time.Now()
	// It is made once: whoever asks again after an answer that came too late finds nothing to delete.
	c.insist(func() error {
		_, err := c.kv.Delete(t.Context(), "/", clientv3.WithPrefix())
		return err
	})
	c.put("after", "x")
	o.untilWithin(r, c.revision(), within)
	t.Logf("%d keys in %s, %d MiB more at the peak", keys, time.Since(begun).Round(10*time.Millisecond), used()>>20)
	r.end()
	r = o.start(o.follower(), c.drd)
	c.put("after", "y")
	o.untilWithin(r, c.revision(), within)
	entries, _ := o.union()
	sameHistory(t, extract(t, store(t, c.kv), from, c.revision()), entries)
}

// peak begins to measure this process, and returns how much more memory it has had at most since then.
func peak(t *testing.T) func() int64 {
	t.Helper()
	debug.FreeOSMemory()
	before := resident(t, "VmRSS")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil { // forgets the peak
		t.Fatal(err)
	}
	return func() int64 { return resident(t, "VmHWM") - before }
}

// A value that no segment holds ends the follower with what says so, and what came before it is archived.
func TestRaisedLimits(t *testing.T) {
	const limit = 40 << 20
	c, o := newCluster(t, "3.7", "--max-request-bytes", fmt.Sprint(limit)), newOwner(t)
	wide, err := clientv3.New(clientv3.Config{Endpoints: []string{c.server.Endpoint()}, MaxCallSendMsgSize: limit})
	c.must(err)
	t.Cleanup(func() { _ = wide.Close() }) // nothing of it is used any more
	c.put("a", "x")
	o.at.Revision = c.revision()
	from := o.at.Revision
	r := o.start(o.follower(), c.drd)
	_, err = wide.Put(t.Context(), "large", strings.Repeat("v", 15<<20)) // ten times the usual limit
	c.must(err)
	c.put("b", "x")
	archived := c.revision()
	o.until(r, archived)
	_, err = wide.Put(t.Context(), "too large", strings.Repeat("v", 20<<20))
	c.must(err)
	if err := r.wait(); !errors.Is(err, follow.ErrUnfit) || o.position().Revision != archived {
		t.Errorf("archived up to %d of %d: %v", o.position().Revision, archived, err)
	}
	entries, _ := o.union()
	sameHistory(t, extract(t, store(t, c.kv), from, archived), entries)
}

// The wall clock goes a year ahead and back again. What is archived stays in order, the change after the jump is marked as one that may have
// happened before, and in the end the follower asks for another timeline.
func TestClockJumps(t *testing.T) {
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.put("a", "x")
	o.at.Revision = c.revision()
	from := o.at.Revision
	var set atomic.Int64 // how far the clock was set
	r := o.start(o.follower(func(cfg *follow.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
		cfg.ClockPatience = 10 * time.Second // longer than it takes to archive what comes after the jump back
	}), c.drd)
	c.put("before", "x")
	o.until(r, c.revision())
	const year = 365 * 24 * time.Hour
	set.Store(int64(year))
	c.put("ahead", "x")
	ahead := c.revision()
	o.until(r, ahead)
	set.Store(0)
	c.put("back", "x")
	o.until(r, c.revision())
	if err := r.wait(); !errors.Is(err, follow.ErrClock) {
		t.Errorf("it ended with %v", err)
	}
	o.checkChain(from)
	var notes []string
	for _, s := range o.taken() {
		notes = append(notes, s.Segment.ClockSkewNote)
		if stamps := o.read(s).stamps; s.Segment.First <= ahead && ahead <= s.Segment.Last && !stamps[0].Late {
			t.Errorf("the change after the jump is stamped %+v", stamps)
		}
	}
	if all := strings.Join(notes, "\n"); !strings.Contains(all, "went forward by 3153") || !strings.Contains(all, "s behind times already recorded") {
		t.Errorf("the manifests say %q", notes)
	}
	if o.position().Time.Before(time.Now().Add(year - time.Hour)) {
		t.Errorf("the archive ends at %s", o.position().Time)
	}
}

// A small jump back is waited for: the wall clock catches up.
func TestClockCatchesUp(t *testing.T) {
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.put("a", "x")
	o.at.Revision, o.at.Time = c.revision(), time.Now().Add(3*time.Second).UTC()
	r := o.start(o.follower(func(cfg *follow.Config) { cfg.ClockPatience = time.Second }), c.drd)
	for range 50 {
		c.put("a", "y")
		time.Sleep(100 * time.Millisecond)
	}
	o.until(r, c.revision())
	c.put("a", "z") // in a segment of its own
	o.until(r, c.revision())
	r.end()
	last := o.taken()[len(o.taken())-1].Segment
	if last.ClockSkewNote != "" || time.Since(last.To) > time.Minute {
		t.Errorf("the last segment ends at %s, %q", last.To, last.ClockSkewNote)
	}
}

// TestManyLeases: each of thousands of leases is asked about once, told as it was granted, and restored.
func TestManyLeases(t *testing.T) { manyLeases(t, 5000, 3*time.Minute) }

func manyLeases(t *testing.T, leases int64, within time.Duration) {
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.put("a", "x")
	o.at.Revision = c.revision()
	base, from := store(t, c.kv), o.at.Revision
	f := o.follower(func(cfg *follow.Config) { cfg.Poll, cfg.MaxBehind = time.Hour, 1e6 })
	r := o.start(f, c.drd)
	used := peak(t)
	var mu sync.Mutex
	granted := make(map[int64]int64)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(32)
	begun := time.Now()
	for i := range leases {
		group.Go(func() error {
			l, err := c.kv.Grant(ctx, 100_000+i)
			if err != nil {
				return err
			}
			mu.Lock()
			granted[int64(l.ID)] = 100_000 + i
			mu.Unlock()
			_, err = c.kv.Put(ctx, fmt.Sprint("leased", i), "x", clientv3.WithLease(l.ID))
			return err
		})
	}
	c.must(group.Wait())
	written := time.Since(begun)
	o.untilWithin(r, c.revision(), within)
	t.Logf("%d leases written in %s, archived after %s, %d MiB more at the peak, the test's own included", leases, written, time.Since(begun), used()>>20)
	_, told := o.union()
	for id, seconds := range granted {
		if told[id] != seconds {
			t.Fatalf("lease %x was granted for %d s, the archive has %d", id, seconds, told[id])
		}
	}
	if int64(len(told)) != leases || f.UnknownLeases() != 0 {
		t.Errorf("%d leases, %d unknown", len(told), f.UnknownLeases())
	}
	segments, open := o.source()
	made, err := archive.Replay(t.Context(), base, from, segments, open, c.revision())
	c.must(err)
	if int64(made.LeasesWritten) != leases || len(made.LeasesUnknown) != 0 {
		t.Errorf("a restore has %d leases, %d unknown", made.LeasesWritten, len(made.LeasesUnknown))
	}
}

// A member that is cut off from its leader and behind the archive is not another history: nobody can tell.
func TestBehindWithoutLeader(t *testing.T) {
	members := servers.StartEtcdCluster(t, "3.7", 3)
	c, o := newClusterOf(t, members[0]), newOwner(t)
	c.put("a", "x")
	o.at.Revision = c.revision() + 100
	err := o.fails(c.drd)
	for end := time.Now().Add(time.Minute); errors.Is(err, etcd.ErrNoQuorum) && time.Now().Before(end); err = o.fails(c.drd) {
		time.Sleep(100 * time.Millisecond) // a busy machine's members may elect another leader at any time
	}
	if !errors.Is(err, follow.ErrOtherHistory) {
		t.Errorf("with a leader: %v", err)
	}
	members[1].Kill()
	members[2].Kill()
	err = o.fails(c.drd, func(cfg *follow.Config) { cfg.Settle = time.Second })
	if err == nil || errors.Is(err, follow.ErrOtherHistory) || errors.Is(err, follow.ErrBehind) {
		t.Errorf("cut off: %v", err)
	}
}

// etcd refuses to delete a key and make it again in one transaction, in whatever way it is asked: there is no such revision.
func TestDeletedAndMadeAgainIsRefused(t *testing.T) {
	for _, version := range allVersions {
		c := newCluster(t, version)
		c.put("k", "x")
		del, put := clientv3.OpDelete("k"), clientv3.OpPut("k", "again")
		for _, ops := range [][]clientv3.Op{
			{del, put}, {put, del}, {del, clientv3.OpTxn(nil, []clientv3.Op{put}, nil)},
			{clientv3.OpTxn(nil, []clientv3.Op{del}, nil), clientv3.OpTxn(nil, []clientv3.Op{put}, nil)},
			{clientv3.OpTxn(nil, []clientv3.Op{put}, nil), clientv3.OpTxn(nil, []clientv3.Op{del}, nil), clientv3.OpTxn(nil, []clientv3.Op{put}, nil)},
		} {
			if _, err := c.kv.Txn(t.Context()).Then(ops...).Commit(); !errors.Is(err, rpctypes.ErrDuplicateKey) {
				t.Errorf("%s: %v answers %v", version, ops, err)
			}
		}
	}
}
