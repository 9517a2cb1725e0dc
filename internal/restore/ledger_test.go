package restore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/test/histories"
)

// secondOf is when a revision was seen, in these tests: as many seconds after captureTime.
func secondOf(revision int64) time.Time {
	return captureTime.Add(time.Duration(revision) * time.Second)
}

// follower watches a server and archives what it sees.
type follower struct {
	*histories.Watch
	t   *testing.T
	k   *keys
	ttl map[int64]int64 // of leases; 0: nobody can tell
}

func follow(t *testing.T, k *keys, c *clientv3.Client) *follower {
	t.Helper()
	return &follower{Watch: histories.NewWatch(t, c), t: t, k: k, ttl: make(map[int64]int64)}
}

// archive writes the segment of some revisions to targets.
func (f *follower) archive(first, last int64, change func(*repo.Segment), targets ...*target) *repo.Segment {
	f.t.Helper()
	return writeSegment(f.t, f.k, first, last, f.UpTo(last), f.ttl, change, targets...)
}

func writeSegment(t testing.TB, k *keys, first, last int64, entries []mvcc.Entry, ttl map[int64]int64, change func(*repo.Segment), targets ...*target) *repo.Segment {
	t.Helper()
	d, err := archive.Begin(t.TempDir(), k.recipients, first)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	for _, e := range entries {
		if e.Main < first || e.Main > last {
			continue
		}
		kv, err := mvcc.ParseValue(e.Value)
		must(err)
		if kv.Lease != 0 {
			d.Lease(kv.Lease, ttl[kv.Lease])
		}
		if e.Sub == 0 {
			d.Stamp(secondOf(e.Main))
		}
		must(d.Append(e))
	}
	sealed, err := d.Finish(archive.Facts{
		Cluster: cluster, EtcdClusterID: "cdf818194e3a8c32", Timeline: "0123456789abcdef", Member: repo.Member{ID: "8e9e05c52164694d", Name: "node-1"},
		From: secondOf(first), To: secondOf(last + 1), CompactRevision: -1, Build: repo.Build{Version: "test"},
	})
	must(err)
	if change != nil {
		change(sealed.Segment)
	}
	signed, err := repo.SignSegment(sealed.Segment, k.signer)
	must(err)
	for _, target := range targets {
		must(target.repo.PutSegment(t.Context(), signed, sealed.Open))
	}
	return sealed.Segment
}

// segmentFile is where a directory target keeps the sealed content.
func (t *target) segmentFile(s *repo.Segment) string {
	return filepath.Join(t.path, filepath.FromSlash(t.repo.SegmentPayloadKey(s)))
}

// instant dates a snapshot with its revision, as the segments are.
func instant(m *repo.Manifest) {
	m.CaptureStart, m.CaptureEnd = secondOf(m.Revision), secondOf(m.Revision)
	id := repo.ID{Time: m.CaptureStart, Revision: m.Revision, Member: 0x8e9e05c52164694d}
	m.ID = id.String()
}

// ledger is a repository with a small history: one snapshot at revision 10, and segments 11-20, 21-30 and 31-40.
type ledger struct {
	t        *testing.T
	k        *keys
	live     map[int64]moment // of revisions 15, 25 and 35
	follower *follower
	snapshot taken
	targets  []*target
	segments []*repo.Segment

	told, untold int64 // leases that were granted after the snapshot: the archive tells of one only
}

func newLedger(t *testing.T, change func(*ledger, *repo.Segment), targets int) *ledger {
	t.Helper()
	l := &ledger{t: t, k: newKeys(t), live: make(map[int64]moment)}
	for range targets {
		l.targets = append(l.targets, newTarget(t))
	}
	h := newHistorian(t, "3.6", 9)
	l.follower = follow(t, l.k, h.client)
	for revision := h.revision(); revision < 40; revision++ {
		if revision == 10 {
			l.snapshot = h.take(0)
			l.snapshot.publish(t, l.k, 0, instant, l.targets...)
			for i := range 2 {
				lease, err := h.client.Grant(t.Context(), 700)
				h.must(lease, err)
				h.leases[i] = lease.ID
			}
			l.told, l.untold = int64(h.leases[0]), int64(h.leases[1])
			l.follower.ttl[l.told] = 700
		}
		h.must(h.client.Put(t.Context(), fmt.Sprintf("key-%d", revision%7), fmt.Sprint(revision), clientv3.WithLease(h.leases[revision%2])))
		if revision+1 == 15 || revision+1 == 25 || revision+1 == 35 {
			l.live[revision+1] = h.ask(revision + 1)
		}
	}
	for first := int64(11); first < 40; first += 10 {
		var how func(*repo.Segment)
		if change != nil {
			how = func(s *repo.Segment) { change(l, s) }
		}
		l.segments = append(l.segments, l.follower.archive(first, first+9, how, l.targets...))
	}
	return l
}

func (l *ledger) try(req restore.Request) (*restore.Result, string, error) {
	l.t.Helper()
	home := l.t.TempDir()
	req.Output = filepath.Join(home, "f")
	result, err := tryRestore(l.t, l.k, req, nil, l.targets...)
	if err != nil {
		wantOnly(l.t, home)
	}
	return result, home, err
}

func (l *ledger) damage(target, segment int) {
	l.t.Helper()
	spoil(l.t, l.targets[target].segmentFile(l.segments[segment]))
}

// spoil changes one bit in the middle of a file.
func spoil(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		content[len(content)/2] ^= 1
		err = os.Remove(path)
	}
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (l *ledger) remove(target, segment int) {
	l.t.Helper()
	s := l.segments[segment]
	for _, key := range []string{l.targets[target].repo.SegmentPayloadKey(s), l.targets[target].repo.SegmentRecordKey(s.Name())} {
		if err := os.Remove(filepath.Join(l.targets[target].path, filepath.FromSlash(key))); err != nil {
			l.t.Fatal(err)
		}
	}
}
