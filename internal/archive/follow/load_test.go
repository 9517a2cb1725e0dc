package follow_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/mvcc"
)

// TestCompactedAllTheTime: compactions that come as often as etcd can take them leave nothing out, and do not stop an archive that
// keeps up. What was compacted is compared with what etcd's own client saw.
func TestCompactedAllTheTime(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c, o := newCluster(t, version), newOwner(t)
			c.write(20)
			from := c.revision()
			o.at.Revision = from
			var mu sync.Mutex
			var seen []mvcc.Entry
			done := make(chan struct{})
			ctx, stop := context.WithCancel(t.Context())
			reference := c.kv.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from+1))
			go func() {
				defer close(done)
				for r := range reference {
					mu.Lock()
					for _, e := range r.Events {
						sub := int64(0)
						if n := len(seen); n > 0 && seen[n-1].Main == e.Kv.ModRevision {
							sub = seen[n-1].Sub + 1
						}
						seen = append(seen, mvcc.FromEvent((*mvccpb.Event)(e), sub))
					}
					mu.Unlock()
				}
			}()
			t.Cleanup(func() { stop(); <-done })
			r := o.start(o.follower(), c.drd)
			c.put("begun", "x")
			o.until(r, c.revision())
			for range 40 {
				c.write(10)
				c.compactTo(c.revision())
			}
			newest := c.revision()
			o.until(r, newest)
			behind := func() bool { // the reference
				mu.Lock()
				defer mu.Unlock()
				return len(seen) == 0 || seen[len(seen)-1].Main < newest
			}
			for end := time.Now().Add(time.Minute); behind() && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond)
			}
			entries, _ := o.union()
			mu.Lock()
			defer mu.Unlock()
			sameHistory(t, seen, entries)
			if last := o.taken()[len(o.taken())-1].Segment; last.CompactRevision > c.compact || last.CompactRevision == 0 {
				t.Errorf("compact revision %d, the member's is %d", last.CompactRevision, c.compact)
			}
		})
	}
}
