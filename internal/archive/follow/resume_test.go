package follow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/archive/follow"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/test/servers"
)

// archived writes, and has a follower archive it.
func (o *owner) archived(c *cluster, n int) {
	o.t.Helper()
	o.at.Revision = c.revision()
	r := o.start(o.follower(), c.drd)
	c.write(n)
	o.until(r, c.revision())
	r.end()
}

// fails runs a follower from the owner's position and returns its error.
func (o *owner) fails(c *etcd.Client, changes ...func(*follow.Config)) error {
	o.t.Helper()
	before := len(o.taken())
	err := o.start(o.follower(changes...), c).wait()
	if n := len(o.taken()); n != before {
		o.t.Errorf("it archived %d segments all the same", n-before)
	}
	return err
}

// What a watch must not catch up with is told, and left to a snapshot.
func TestBehind(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, o := newCluster(t, version), newOwner(t)
			c.write(20)
			o.archived(c, 50)
			c.write(100)
			c.extremes()
			few := func(cfg *follow.Config) { cfg.MaxBehind = 50 }
			if err := o.fails(c.drd, few); !errors.Is(err, follow.ErrBehind) {
				t.Fatalf("100 revisions behind: %v", err)
			}
			little := func(cfg *follow.Config) { cfg.MaxBehindBytes = 4096 }
			if err := o.fails(c.drd, little); !errors.Is(err, follow.ErrBehind) {
				t.Fatalf("megabytes behind: %v", err)
			}
		})
	}
}

// TestCaughtUpInPieces: what is caught up with fills several segments, which go on from each other.
func TestCaughtUpInPieces(t *testing.T) {
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.write(20)
	from := c.revision()
	o.archived(c, 20)
	c.write(200)
	r := o.start(o.follower(func(cfg *follow.Config) { cfg.FlushBytes = 2000 }), c.drd)
	o.until(r, c.revision())
	c.write(10)
	o.until(r, c.revision())
	r.end()
	late := 0
	for _, s := range o.taken() {
		if stamps := o.read(s).stamps; len(stamps) == 1 && stamps[0].Late {
			late++
		}
	}
	if late < 2 {
		t.Errorf("%d segments of what was missing: that proves nothing", late)
	}
	o.checkChain(from)
}

// A compaction ahead of the archive makes a gap, which is named.
func TestCompactedAhead(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, o := newCluster(t, version), newOwner(t)
			c.write(20)
			o.archived(c, 20)
			last := o.position().Revision
			c.write(20)

			c.compactTo(last) // its changes may be gone in part: either way nothing is wrong
			err := o.start(o.follower(), c.drd).endOr()
			if err != nil && !errors.Is(err, follow.ErrBehind) {
				t.Fatalf("compacted at the last archived revision: %v", err)
			}
			c.write(20)
			c.compactTo(c.revision() - 3)
			var compacted *etcd.CompactedError
			err = o.fails(c.drd)
			if !errors.Is(err, follow.ErrBehind) || !errors.As(err, &compacted) || compacted.Compact != c.compact || compacted.Wanted != o.position().Revision+1 {
				t.Fatalf("compacted beyond: %v", err)
			}
		})
	}
}

// endOr stops it unless it fails soon.
func (r *running) endOr() error {
	select {
	case <-r.done:
	case <-time.After(time.Second):
		r.stop()
		<-r.done
	}
	return r.err
}

// A slow owner is waited for, and a compaction may overtake the watch meanwhile.
func TestSlowOwnerIsOvertaken(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, o := newCluster(t, version), newOwner(t)
			c.write(20)
			o.at.Revision = c.revision()
			waiting, goOn := make(chan struct{}), make(chan struct{})
			o.ready = func() error {
				select {
				case waiting <- struct{}{}:
					<-goOn
				case <-goOn:
				}
				return nil
			}
			r := o.start(o.follower(func(cfg *follow.Config) { cfg.MaxBehind = 200 }), c.drd)
			c.put("first", "x")
			<-waiting
			value := strings.Repeat("v", 1<<20)
			for range 40 { // more than the connection and the server's channels hold
				c.put("large", value)
			}
			c.write(3000)
			c.compactTo(c.revision())
			close(goOn)
			err := r.wait()
			if !errors.Is(err, follow.ErrBehind) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestOtherHistory: a store that does not continue the archive is found out, also when it has the same cluster and member ID.
func TestOtherHistory(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, o := newCluster(t, version), newOwner(t)
			c.write(30)
			o.archived(c, 30)

			rebuilt := rebuild(t, c.server)
			if err := o.fails(rebuilt.drd); !errors.Is(err, follow.ErrOtherHistory) {
				t.Errorf("with lower revisions: %v", err)
			}
			// The old connection finds the new member.
			if etcd.FormatID(c.status().ClusterID) != o.position().EtcdClusterID {
				t.Fatal("the rebuilt cluster has another ID: this proves nothing")
			}
			for rebuilt.revision() < o.position().Revision+10 {
				rebuilt.put("other", "history")
			}
			if err := o.fails(rebuilt.drd); !errors.Is(err, follow.ErrOtherHistory) {
				t.Errorf("with other changes: %v", err)
			}
			foreign := newCluster(t, version, "--initial-cluster-token", "another")
			for foreign.revision() < o.position().Revision+10 {
				foreign.put("other", "cluster")
			}
			if err := o.fails(foreign.drd); !errors.Is(err, follow.ErrOtherHistory) {
				t.Errorf("another cluster: %v", err)
			}
		})
	}
}

// rebuild replaces a member by an empty one in the same place.
func rebuild(t *testing.T, old *servers.Etcd) *cluster {
	t.Helper()
	old.Stop()
	port := func(url string) (n int) {
		if _, err := fmt.Sscanf(url, "http://127.0.0.1:%d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	return newClusterOf(t, servers.StartEtcd(t, servers.EtcdConfig{
		Version: old.Version(), DataDir: filepath.Join(t.TempDir(), "again"), ClientPort: port(old.Endpoint()), PeerPort: port(old.PeerURL()),
	}))
}

// TestKilled gives a follower up at each step: the next one makes the history whole.
func TestKilled(t *testing.T) {
	errKilled := errors.New("killed")
	c, o := newCluster(t, "3.7"), newOwner(t)
	c.write(20)
	from := c.revision()
	o.at.Revision = from
	for round := range 12 {
		calls := 0
		sealed := o.config().Ready
		cfg := o.config()
		cfg.FlushInterval, cfg.FlushBytes, cfg.MaxBehind = 20*time.Millisecond, 2000, 1e6
		ready := func(ctx context.Context, s *archive.Sealed) (string, error) {
			if calls++; calls <= round/2 {
				return sealed(ctx, s)
			}
			if round%2 == 0 {
				return "", errKilled // before it is remembered
			}
			was, kept := o.position(), *s
			kept.Path += ".kept"
			if err := os.Link(s.Path, kept.Path); err != nil {
				return "", err
			}
			if _, err := sealed(ctx, &kept); err != nil {
				return "", err
			}
			o.at = was // or after it is stored, and the position is lost
			return "", errKilled
		}
		cfg.Ready = ready
		f, err := follow.New(cfg)
		c.must(err)
		r := o.start(f, c.drd)
		for n := 0; n < 200 && r.alive(); n++ {
			c.write(10)
		}
		if err := r.wait(); !errors.Is(err, errKilled) {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	o.until(o.start(o.follower(func(cfg *follow.Config) { cfg.MaxBehind = 1e6 }), c.drd), c.revision())
	entries, _ := o.union()
	sameHistory(t, extract(t, store(t, c.kv), from, c.revision()), entries)
	if drafts, err := filepath.Glob(filepath.Join(o.dir, "drafts", "*")); err != nil || len(drafts) != 0 {
		t.Errorf("left behind: %v, %v", drafts, err)
	}
}
