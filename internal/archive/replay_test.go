package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/test/histories"
)

// library is a directory repository into which segments are written as a node does it.
type library struct {
	t    *testing.T
	keys *sealtest.Keys
	root string
	*repo.Repository
	leases   map[int64]int64
	previous string
}

func newLibrary(t *testing.T, leases map[int64]int64) *library {
	t.Helper()
	l := &library{t: t, keys: sealtest.New(t), root: t.TempDir(), leases: leases}
	b, err := dir.Open(l.root, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if l.Repository, err = repo.Open(b, "prod-east"); err != nil {
		t.Fatal(err)
	}
	return l
}

// seal writes a segment of some entries: those of revisions first to last.
func (l *library) seal(first, last int64, entries []mvcc.Entry) *Sealed {
	l.t.Helper()
	d, err := Begin(l.t.TempDir(), l.keys.Recipients, first)
	if err != nil {
		l.t.Fatal(err)
	}
	d.Stamp(time.Now())
	for _, e := range entries {
		if e.Main < first || e.Main > last {
			continue
		}
		kv, err := mvcc.ParseValue(e.Value)
		if err != nil {
			l.t.Fatal(err)
		}
		if kv.Lease != 0 {
			d.Lease(kv.Lease, l.leases[kv.Lease])
		}
		if err := d.Append(e); err != nil {
			l.t.Fatal(err)
		}
	}
	now := time.Now()
	s, err := d.Finish(Facts{
		Cluster: l.Cluster(), EtcdClusterID: "cdf8", Timeline: line, Member: repo.Member{ID: "8e9e", Name: "node-1"},
		From: now.Add(-time.Second), To: now, CompactRevision: -1, Previous: l.previous, Build: repo.Build{Version: "test"},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// put signs and stores a segment.
func (l *library) put(s *Sealed) {
	l.t.Helper()
	signed, err := repo.SignSegment(s.Segment, l.keys.Signer)
	if err == nil {
		err = l.PutSegment(l.t.Context(), signed, s.Open)
	}
	if err == nil {
		err = s.Remove()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.previous = signed.Digest()
}

// write archives revisions first to last in segments of random sizes, which may overlap.
func (l *library) write(random *rand.Rand, first, last int64, entries []mvcc.Entry) {
	l.t.Helper()
	for at := first; at <= last; {
		to := min(last, at+random.Int64N(40))
		l.put(l.seal(max(1, at-random.Int64N(2)*random.Int64N(5)), to, entries))
		at = to + 1
	}
}

func (l *library) open(ctx context.Context, s *repo.Segment) (io.ReadCloser, error) {
	return Open(ctx, l.Repository, s, l.keys.Identities)
}

func (l *library) history(snapshots ...*store) *History {
	l.t.Helper()
	list, err := l.ListSegments(l.t.Context(), repo.SegmentQuery{}, l.keys.Trust)
	if err != nil {
		l.t.Fatal(err)
	}
	var entries []repo.Entry
	for _, s := range snapshots {
		entries = append(entries, s.Entry)
	}
	return NewHistory(line, entries, list.Entries, false)
}

// TestEveryRecordedRevisionComesBack is what the archive is for: a real etcd's random history is written through segments, sealed, signed,
// stored, listed, chained and replayed to every revision of which the live member gave a hash.
func TestEveryRecordedRevisionComesBack(t *testing.T) {
	for _, version := range []string{"3.4", "3.5", "3.6", "3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			live := histories.New(t, version, 5)
			live.Write(120)
			base := catalogued(live.Snapshot())
			live.Write(380)
			last := catalogued(live.Snapshot())
			events := live.UpTo(last.Manifest.Revision)

			l := newLibrary(t, live.Granted)
			for range 2 { // two writers
				l.write(live.Random, base.Manifest.Revision-20, last.Manifest.Revision, events)
			}
			replayed := comeBack(t, live, l, l.history(base), base)
			cut := comeBack(t, live, l, l.history(base, last), base, last)
			t.Logf("%d revisions from the first snapshot, %d from both, %d changes", replayed, cut, len(events))
			if replayed < 40 || cut < replayed {
				t.Errorf("only %d and %d revisions: that proves little", replayed, cut)
			}
		})
	}
}

// comeBack restores every recorded revision that the history holds, and returns how many.
func comeBack(t *testing.T, live *histories.History, l *library, h *History, stores ...*store) (n int) {
	t.Helper()
	for _, p := range live.Recorded {
		c, err := h.AtRevision(p.Revision)
		if err != nil {
			if p.Revision >= oldest(&stores[0].Entry) {
				t.Errorf("revision %d: %v", p.Revision, err)
			}
			continue
		}
		want, compact := p.Hash, p.CompactRevision
		if compact < c.Base.Manifest.CompactRevision { // the live hash was of a store that had more
			compact = c.Base.Manifest.CompactRevision
			want = replayedHash(t, l, stores[0], p.Revision, compact)
		}
		db := storeOf(t, c, stores).scratch(t)
		out, err := c.Apply(t.Context(), db, p.Revision, l.open)
		if err != nil {
			t.Fatal(err)
		}
		if got := hashOf(t, db, p.Revision, compact); got.Value != want || out.Revision != p.Revision {
			t.Errorf("revision %d, compacted at %d: hash %d instead of %d", p.Revision, compact, got.Value, want)
		}
		checkLeases(t, db, out, live.Granted)
		n++
	}
	return n
}

// replayedHash is the hash of a revision that was reached from an earlier snapshot, as if the store had been compacted since.
func replayedHash(t *testing.T, l *library, base *store, revision, compact int64) uint32 {
	t.Helper()
	c, err := l.history(base).AtRevision(revision)
	if err != nil {
		t.Fatal(err)
	}
	db := base.scratch(t)
	if _, err := c.Apply(t.Context(), db, revision, l.open); err != nil {
		t.Fatal(err)
	}
	return hashOf(t, db, revision, compact).Value
}

func storeOf(t *testing.T, c *Chain, stores []*store) *store {
	t.Helper()
	for _, s := range stores {
		if s.ID == c.Base.ID {
			return s
		}
	}
	t.Fatalf("no store of %s", c.Base.ID)
	return nil
}

func hashOf(t *testing.T, db *bolt.DB, revision, compact int64) snapshot.Hash {
	t.Helper()
	var hash snapshot.Hash
	err := db.View(func(tx *bolt.Tx) (err error) {
		hash, err = snapshot.HashKV(t.Context(), tx, revision, compact)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// checkLeases: every lease that a live key names has a record with the seconds it was granted for.
func checkLeases(t *testing.T, db *bolt.DB, out *Replayed, granted map[int64]int64) {
	t.Helper()
	records := leaseRecords(t, db)
	for _, id := range out.Hash.Leases {
		if records[id] == 0 || records[id] != granted[id] {
			t.Errorf("revision %d: lease %x has %d seconds, granted were %d", out.Revision, id, records[id], granted[id])
		}
	}
	if len(out.LeasesUnknown) > 0 {
		t.Errorf("revision %d: leases %x are not known", out.Revision, out.LeasesUnknown)
	}
}

func leaseRecords(t *testing.T, db *bolt.DB) map[int64]int64 {
	t.Helper()
	records := map[int64]int64{}
	err := db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(leaseBucket).ForEach(func(k, v []byte) error {
			var lease leasepb.Lease
			err := proto.Unmarshal(v, &lease)
			if lease.ID == int64(binary.BigEndian.Uint64(k)) {
				records[lease.ID] = lease.TTL
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestReplayRefuses(t *testing.T) {
	s, entries := history20(t)
	content := plain{}
	piece := func(first, last int64) *repo.Segment {
		e := seg(first, last, 0, 1)
		e.Segment.Events = 0
		content[e.Name] = stream(t, first, func(w *Writer) {
			w.Stamp(instant(0))
			for _, entry := range entries {
				if entry.Main >= first && entry.Main <= last {
					appendAll(t, w, entry)
					e.Segment.Events++
				}
			}
		})
		return e.Segment
	}
	lost := seg(21, 33, 0, 1).Segment
	for name, tc := range map[string]struct {
		base, upTo int64
		segments   []*repo.Segment
		want       error
	}{
		"a hole at the start":    {20, 40, []*repo.Segment{piece(22, 40)}, ErrGap},
		"a hole in between":      {20, 50, []*repo.Segment{piece(21, 30), piece(32, 50)}, ErrGap},
		"an early end":           {20, 50, []*repo.Segment{piece(21, 40)}, ErrGap},
		"no segments":            {20, 21, nil, ErrGap},
		"another store":          {19, 30, []*repo.Segment{piece(20, 30)}, nil},
		"backwards":              {20, 19, nil, nil},
		"a payload that is gone": {20, 30, []*repo.Segment{lost}, storage.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			db := s.scratch(t)
			out, err := Replay(t.Context(), db, tc.base, tc.segments, content.open, tc.upTo)
			if err == nil || (tc.want != nil && !errors.Is(err, tc.want)) {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
	piece(21, 30)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Replay(ctx, s.scratch(t), 20, []*repo.Segment{piece(21, 30)}, func(ctx context.Context, _ *repo.Segment) (io.ReadCloser, error) {
		return nil, ctx.Err()
	}, 30); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	out, err := Replay(t.Context(), s.scratch(t), 20, []*repo.Segment{piece(5, 18), piece(10, 25), piece(24, 60)}, content.open, 31)
	if err != nil || out.Revision != 31 || out.Applied != 22 || out.Compared != 14+11+4 {
		t.Errorf("overlaps: %+v, %v", out, err)
	}
}

// Leases are those of the revision: of what was told later, or is attached to nothing, no record is made.
func TestReplayLeases(t *testing.T) {
	s, _ := made(t, 20)
	e := seg(21, 26, 0, 1)
	content := plain{e.Name: stream(t, 21, func(w *Writer) {
		w.Stamp(instant(0))
		w.Lease(7, 60)
		w.Lease(8, 0) // nobody could tell
		appendAll(t, w, put(21, 0, "a", "", 7), put(21, 1, "b", "", 8))
		w.Lease(9, 90) // mid-revision
		appendAll(t, w, put(21, 2, "c", "", 9), del(22, 0, "c"))
		w.Lease(8, 80) // it was granted again
		appendAll(t, w, put(23, 0, "b", "", 8), put(24, 0, "d", "", 9))
		w.Lease(7, 10)
		appendAll(t, w, put(25, 0, "a", "", 7), del(26, 0, "a"))
	})}
	e.Segment.Events = 8
	for upTo, want := range map[int64]struct {
		records map[int64]int64
		unknown int
	}{
		20: {map[int64]int64{}, 0},
		21: {map[int64]int64{7: 60, 9: 90}, 1},
		22: {map[int64]int64{7: 60}, 1},
		23: {map[int64]int64{7: 60, 8: 80}, 0},
		24: {map[int64]int64{7: 60, 8: 80, 9: 90}, 0},
		25: {map[int64]int64{7: 10, 8: 80, 9: 90}, 0},
		26: {map[int64]int64{8: 80, 9: 90}, 0},
	} {
		db := s.scratch(t)
		out, err := Replay(t.Context(), db, 20, []*repo.Segment{e.Segment}, content.open, upTo)
		if err != nil {
			t.Fatal(err)
		}
		records := leaseRecords(t, db)
		if !sameLeases(records, want.records) || len(out.LeasesUnknown) != want.unknown || out.LeasesWritten != len(records) {
			t.Errorf("revision %d: records %v, want %v; %+v", upTo, records, want.records, out)
		}
	}
}

func sameLeases(a, b map[int64]int64) bool {
	for id, ttl := range b {
		if a[id] != ttl {
			return false
		}
	}
	return len(a) == len(b)
}
