package follow_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// TestExact is what the package is for: what the segments of a follower, that was stopped now and then, bring back is the store
// that the member had, at any revision of which it told its hash.
func TestExact(t *testing.T) {
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			exact(t, newCluster(t, version), 3)
		})
	}
}

// exact has a follower stopped so often.
func exact(t *testing.T, c *cluster, rounds int) {
	o := newOwner(t)
	c.write(60)
	base := store(t, c.kv)
	from := c.revision()
	o.at.Revision = from
	f := o.follower()
	for range rounds {
		r := o.start(f, c.drd)
		c.write(100)
		c.extremes()
		r.end()
		if got, want := o.position().Revision, c.revision(); got != want {
			t.Fatalf("stopped, the archive is at revision %d, the member at %d", got, want)
		}
		c.write(20) // nobody looks
	}
	o.until(o.start(f, c.drd), c.revision())

	entries, leases := o.union()
	sameHistory(t, extract(t, store(t, c.kv), from, c.revision()), entries)
	// Of a lease that was revoked before anybody asked, nobody can tell.
	for id, seconds := range leases {
		if seconds != c.granted[id] && seconds != 0 {
			t.Errorf("lease %x was granted for %d s, the archive has %d", id, c.granted[id], seconds)
		}
		if seconds == 0 && slices.Contains(c.leases, clientv3.LeaseID(id)) {
			t.Errorf("lease %x lives, and the archive does not know for how long it was granted", id)
		}
	}
	if len(leases) < 5 {
		t.Errorf("%d leases are known, %d not", len(leases), f.UnknownLeases())
	}
	o.checkChain(from)
	o.replay(base, from, c.hashes)
}

// extremes are changes that have broken archives before.
func (c *cluster) extremes() {
	c.t.Helper()
	ctx := c.t.Context()
	var many []clientv3.Op
	for i := range 10_000 {
		many = append(many, clientv3.OpPut(fmt.Sprintf("many/%05d", i), "x"))
	}
	_, err := c.kv.Txn(ctx).Then(many...).Commit()
	c.must(err)
	_, err = c.kv.Txn(ctx).Then(append(many[:4999:4999], clientv3.OpTxn(nil, many[5000:], nil))...).Commit()
	c.must(err)
	for i := range 4 {
		c.put(fmt.Sprint("large", i), strings.Repeat(fmt.Sprint(i), 3<<19-1000)) // 1.5 MiB is etcd's limit for the request
	}
	_, err = c.kv.Delete(ctx, "many/", clientv3.WithPrefix())
	c.must(err)
	_, err = c.kv.Txn(ctx).Then(clientv3.OpDelete("large", clientv3.WithPrefix()), clientv3.OpPut("\xff\x00", "\x00")).Commit()
	c.must(err)
	c.hash()
}

// checkChain checks what the manifests say together.
func (o *owner) checkChain(from int64) {
	o.t.Helper()
	var before *repo.Segment
	segments := o.taken()
	for i, s := range segments {
		m := s.Segment
		if before != nil && (m.First != before.Last+1 || !m.From.Equal(before.To) || m.Previous == "") {
			o.t.Errorf("segment %d: revision %d, from %s, previous %q after one up to %d, %s", i, m.First, m.From, m.Previous, before.Last, before.To)
		}
		if before == nil && m.First != from+1 {
			o.t.Errorf("the first segment begins with revision %d, not %d", m.First, from+1)
		}
		second := func(at time.Time) int64 { return at.Unix() }
		for _, stamp := range o.read(s).stamps {
			if second(stamp.Time) < second(m.From) || second(stamp.Time) > second(m.To) && !o.goesOn(m, stamp, segments[i+1:]) {
				o.t.Errorf("segment %d from %s to %s has stamp %+v", i, m.From, m.To, stamp)
			}
		}
		before = m
	}
}

// goesOn reports whether what was seen late goes on in the next segment: then the one before ends a second earlier, so that only the last of
// them is asked about that time.
func (o *owner) goesOn(m *repo.Segment, stamp archive.Stamp, next []*archive.Sealed) bool {
	o.t.Helper()
	if !stamp.Late || stamp.Time.Unix() != m.To.Unix()+1 || len(next) == 0 {
		return false
	}
	stamps := o.read(next[0]).stamps
	return len(stamps) > 0 && stamps[0].Late && stamps[0].Time.Equal(stamp.Time)
}

// source is what a replay reads.
func (o *owner) source() (segments []*repo.Segment, open archive.OpenFunc) {
	byName := make(map[repo.SegmentName]*archive.Sealed)
	for _, s := range o.taken() {
		segments = append(segments, s.Segment)
		byName[s.Segment.Name()] = s
	}
	return segments, func(_ context.Context, s *repo.Segment) (io.ReadCloser, error) {
		file, err := byName[s.Name()].Open()
		if err != nil {
			return nil, err
		}
		return seal.Default().Open(file, []age.Identity{byName[s.Name()].Key.Identity()})
	}
}

func (o *owner) replay(base interface{ Path() string }, from int64, hashes []repo.Checkpoint) {
	o.t.Helper()
	segments, open := o.source()
	compared := 0
	for _, p := range hashes {
		if p.Revision <= from {
			continue
		}
		got, err := archive.Replay(o.t.Context(), scratch(o.t, base.Path()), from, segments, open, p.Revision)
		if err != nil {
			o.t.Fatal(err)
		}
		if got.Hash.Value != p.Hash {
			o.t.Errorf("replayed to revision %d the hash is %d, the member had %d", p.Revision, got.Hash.Value, p.Hash)
		}
		compared++
	}
	if compared < 10 {
		o.t.Errorf("only %d revisions compared", compared)
	}
}
