package follow_test

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/test/servers"
)

// That nothing happens is told, too.
func TestSilence(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, o := newCluster(t, version), newOwner(t)
			c.write(10)
			o.at.Revision = c.revision()
			begun := time.Now()
			r := o.start(o.follower(func(cfg *follow.Config) { cfg.Silence = time.Second }), c.drd)
			for end := time.Now().Add(time.Minute); len(o.taken()) < 2 && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond)
			}
			c.write(10)
			r.end()
			segments := o.taken()
			if len(segments) < 3 {
				t.Fatalf("%d segments", len(segments))
			}
			for i, s := range segments[:2] {
				m := s.Segment
				if !m.Silence() || m.To.Sub(m.From) < time.Second || m.From.Before(begun.Add(-time.Second)) || m.First != o.taken()[0].Segment.First {
					t.Errorf("segment %d: revisions %d to %d from %s to %s", i, m.First, m.Last, m.From, m.To)
				}
			}
			o.checkChain(segments[0].Segment.First - 1)
		})
	}
}

// A member that is there and hangs is not silent.
func TestStalled(t *testing.T) {
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.write(10)
	o.at.Revision = c.revision()
	r := o.start(o.follower(func(cfg *follow.Config) { cfg.Stall, cfg.Silence = 10*time.Second, time.Second }), c.drd)
	c.put("a", "x")
	o.until(r, c.revision())
	c.server.Pause()
	paused := time.Now()
	t.Cleanup(c.server.Resume)
	if err := r.wait(); !errors.Is(err, follow.ErrStalled) {
		t.Errorf("got %v", err)
	}
	if at := o.position(); at.Time.After(paused.Add(time.Second)) {
		t.Errorf("the archive tells up to %s, the member hangs since %s", at.Time, paused)
	}
}

func TestLeasesThatAreGone(t *testing.T) {
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.write(10)
	o.at.Revision = c.revision()
	gone, err := c.kv.Grant(t.Context(), 600)
	c.must(err)
	c.put("leased", "x", clientv3.WithLease(gone.ID))
	_, err = c.kv.Revoke(t.Context(), gone.ID)
	c.must(err)
	f := o.follower(func(cfg *follow.Config) { cfg.UnknownTTL = 77 })
	r := o.start(f, c.drd)
	// One that the poll has seen is known when it is gone.
	seen, err := c.kv.Grant(t.Context(), 500)
	c.must(err)
	c.untilPolled()
	c.put("leased", "y", clientv3.WithLease(seen.ID))
	_, err = c.kv.Revoke(t.Context(), seen.ID)
	c.must(err)
	r.end()
	_, leases := o.union()
	if leases[int64(gone.ID)] != 77 || leases[int64(seen.ID)] != 500 || f.UnknownLeases() != 1 {
		t.Errorf("%v, %d unknown", leases, f.UnknownLeases())
	}
}

// What no watch tells is noticed.
func TestChanged(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, o := newCluster(t, version), newOwner(t)
			o.start(o.follower(), c.drd)
			c.untilPolled()
			if len(o.changes()) != 0 {
				t.Errorf("nothing changed, and it says %v", o.changes())
			}
			_, err := c.kv.UserAdd(t.Context(), "somebody", "password")
			c.must(err)
			_, err = c.kv.MemberAddAsLearner(t.Context(), []string{"http://127.0.0.1:1"})
			c.must(err)
			want := []string{"members"}
			if version != "3.4" {
				want = append(want, "users and roles")
			}
			for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if slices.Equal(o.changes(), want) {
					return
				}
			}
			t.Errorf("it says %v, not %v", o.changes(), want)
		})
	}
}

// untilPolled waits until the follower has asked for all that no watch tells, and knows the answers to what it asked from now on. The leases
// come last in a poll: one list may have been made before now, and what follows from the second is known when there is a third.
func (c *cluster) untilPolled() {
	c.t.Helper()
	const method = "LeaseLeases"
	enough := c.handled(method) + 3
	for end := time.Now().Add(time.Minute); c.handled(method) < enough; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatal("the follower does not poll")
		}
	}
}

// handled is how many calls of a method the member has answered, in its own count.
func (c *cluster) handled(method string) (n int) {
	c.t.Helper()
	r, err := http.Get(c.server.Endpoint() + "/metrics")
	c.must(err)
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		labels, value, _ := strings.Cut(lines.Text(), "} ")
		if strings.HasPrefix(labels, "grpc_server_handled_total{") && strings.Contains(labels, fmt.Sprintf("grpc_method=%q", method)) {
			count, err := strconv.Atoi(value)
			c.must(err)
			n += count
		}
	}
	c.must(lines.Err())
	return n
}

func (o *owner) changes() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(slices.Values(o.changed))
}

func TestCheckpoints(t *testing.T) {
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.write(30)
	o.at.Revision = c.revision()
	f := o.follower(func(cfg *follow.Config) {
		cfg.Checkpoints = func() []repo.Checkpoint {
			future := repo.Checkpoint{Revision: 1 << 40, CompactRevision: 1, Member: "1"}
			return append([]repo.Checkpoint{future}, c.hashes...)
		}
	})
	want := slices.Clone(c.hashes)
	r := o.start(f, c.drd)
	c.put("a", "x")
	o.until(r, c.revision())
	c.put("a", "y")
	r.end()
	var got []repo.Checkpoint
	for _, s := range o.taken() {
		got = append(got, s.Segment.Checkpoints...)
		if s.Segment.CompactRevision != -1 {
			t.Errorf("compact revision %d", s.Segment.CompactRevision)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// Times never go back, and it is told when the clock does.
func TestClock(t *testing.T) {
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.write(10)
	o.at.Revision, o.at.Time = c.revision(), time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	from, last := o.at.Revision, o.at.Time
	r := o.start(o.follower(), c.drd)
	c.write(10)
	o.until(r, c.revision())
	r.end()
	for _, s := range o.taken() {
		if s.Segment.From.Before(last) || s.Segment.ClockSkewNote == "" {
			t.Errorf("from %s, %q", s.Segment.From, s.Segment.ClockSkewNote)
		}
	}
	o.checkChain(from)
}

// TestTwoFollowers: the segments of two writers overlap and agree, whatever member they watch. In between the leader dies.
func TestTwoFollowers(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			members := servers.StartEtcdCluster(t, version, 3)
			c := newClusterOf(t, members[0])
			c.write(20)
			from := c.revision()
			var owners []*owner
			for _, m := range members[:2] {
				o := newOwner(t)
				o.at.Revision = from
				owners = append(owners, o)
				o.keepFollowing(connect(t, m), m)
			}
			c.write(100)
			leader := members[2]
			if _, err := c.kv.MoveLeader(t.Context(), memberID(t, leader)); err == nil {
				t.Log("leadership moved to the member that dies")
			}
			leader.Kill()
			c.put("a", "x") // when there is another
			c.write(100)
			history := extract(t, store(t, c.kv), from, c.revision())
			for _, o := range owners {
				for range 300 {
					if o.position().Revision >= c.revision() {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				entries, _ := o.union()
				sameHistory(t, history, entries)
			}
		})
	}
}

func memberID(t *testing.T, m *servers.Etcd) uint64 {
	t.Helper()
	s, err := connect(t, m).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.MemberID
}

// keepFollowing runs a follower again and again, as a daemon would.
func (o *owner) keepFollowing(c *etcd.Client, _ *servers.Etcd) {
	done := make(chan struct{})
	f := o.follower()
	ctx := o.t.Context()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, err := f.Run(ctx, c, o.position())
			if err != nil && (errors.Is(err, follow.ErrBehind) || errors.Is(err, follow.ErrOtherHistory)) {
				o.t.Errorf("it gave up: %v", err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	o.t.Cleanup(func() { <-done })
}

// A member that restarts, and one that is defragmented meanwhile.
func TestRestartedMember(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, o := newCluster(t, version), newOwner(t)
			c.write(20)
			from := c.revision()
			o.at.Revision = from
			o.keepFollowing(c.drd, c.server)
			for range 2 {
				c.write(50)
				_, err := c.kv.Defragment(t.Context(), c.server.Endpoint())
				c.must(err)
				c.write(20)
				c.server.Kill()
				c.server.Start()
			}
			c.write(50)
			for range 300 {
				if o.position().Revision >= c.revision() {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			entries, _ := o.union()
			sameHistory(t, extract(t, store(t, c.kv), from, c.revision()), entries)
		})
	}
}
