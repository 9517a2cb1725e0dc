package restore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/mvcc"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/storage"
)

// TestArchive: a snapshot and segments bring back any revision that was archived, and any second, as the live server had it then.
func TestArchive(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			throughArchive(t, version, 3, 8, 2)
		})
	}
}

func throughArchive(t *testing.T, version string, seed uint64, rounds, served int) {
	k, target := newKeys(t), newTarget(t)
	h := newHistorian(t, version, seed)
	f := follow(t, k, h.client)
	for _, id := range h.leases {
		f.ttl[int64(id)] = 3600
	}
	h.write(40)
	s := h.take(0)
	s.publish(t, k, 0, instant, target)
	compact, at := s.facts.CompactRevision, s.facts.Revision
	var moments []moment
	for i := range rounds {
		lease, err := h.client.Grant(t.Context(), int64(1000+i))
		h.must(lease, err)
		f.ttl[int64(lease.ID)], h.leases = lease.TTL, append(h.leases, lease.ID)
		h.write(10)
		m := h.ask(h.revision())
		if m.hash.Revision != 0 && m.hash.CompactRevision != compact {
			t.Fatalf("hash %+v, compacted at %d", m.hash, compact)
		}
		moments = append(moments, m)
		first := max(1, at+1-h.random.Int64N(2)*h.random.Int64N(20)) // some overlap
		f.archive(first, m.revision, nil, target)
		at = m.revision
		if i%3 == 1 {
			compact = m.revision - h.random.Int64N(8)
			h.compact(compact)
		}
	}
	for i, m := range moments {
		result := restored(t, k, restore.Request{Revision: m.revision, Output: filepath.Join(t.TempDir(), "f")}, target)
		wantMoment(t, m, result)
		byTime := restored(t, k, restore.Request{At: secondOf(m.revision + 1), Output: filepath.Join(t.TempDir(), "f")}, target)
		wantMoment(t, m, byTime)
		if byTime.At == nil || !byTime.At.Equal(secondOf(m.revision+1)) {
			t.Errorf("restored %v", byTime.At)
		}
		if i < served {
			servesArchived(t, k, version, m, f.ttl, target)
		}
	}
	newest := restored(t, k, restore.Request{Output: filepath.Join(t.TempDir(), "f")}, target)
	wantMoment(t, moments[len(moments)-1], newest)
}

// wantMoment compares a snapshot file with what the live server said, by the server's compaction.
func wantMoment(t *testing.T, m moment, r *restore.Result) {
	t.Helper()
	f, err := os.Open(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if r.Revision != m.revision || r.Facts.Revision != m.revision || r.HashKV.Revision != m.revision || r.Segments == 0 || r.Replayed == 0 {
		t.Errorf("restored revision %d with %d segments (%+v), want %d", r.Revision, r.Segments, r.HashKV, m.revision)
	}
	if m.hash.Revision == 0 {
		return
	}
	got, err := inspector(t).HashFile(t.Context(), f, m.revision, m.hash.CompactRevision)
	if err != nil || got.Value != m.hash.Hash {
		t.Errorf("revision %d: hash %d, %v; the live server had %+v", m.revision, got.Value, err, m.hash)
	}
}

func servesArchived(t *testing.T, k *keys, version string, m moment, ttl map[int64]int64, targets ...*target) {
	t.Helper()
	server, _ := startRestored(t, k, version, restore.Request{Revision: m.revision}, targets...)
	defer server.Stop()
	client := server.Client(t)
	sameKeys(t, client, m)
	for id := range leasesOf(m.keys) {
		if got, err := client.TimeToLive(t.Context(), clientv3.LeaseID(id)); err != nil || got.GrantedTTL != ttl[id] {
			t.Errorf("lease %x: granted %+v, %v, want %d s", id, got, err, ttl[id])
		}
	}
}

// TestArchiveDamage: a damaged segment comes from another target, or from another writer; where nothing helps, nothing is restored and the
// error says what can be.
func TestArchiveDamage(t *testing.T) {
	t.Run("another target", func(t *testing.T) {
		l := newLedger(t, nil, 2)
		l.damage(0, 1)
		l.remove(0, 2)
		result, _, err := l.try(restore.Request{Revision: 35})
		if err != nil {
			t.Fatal(err)
		}
		wantMoment(t, l.live[35], result)
	})
	t.Run("another writer", func(t *testing.T) {
		l := newLedger(t, nil, 1)
		l.follower.archive(19, 24, nil, l.targets...)
		l.follower.archive(23, 33, nil, l.targets...)
		l.damage(0, 1)
		result, _, err := l.try(restore.Request{Revision: 35})
		if err != nil {
			t.Fatal(err)
		}
		wantMoment(t, l.live[35], result)
		if said := strings.Join(result.Notices, "\n"); !strings.Contains(said, l.segments[1].Name().String()) || !strings.Contains(said, "going on without") {
			t.Errorf("notices %q", said)
		}
	})
	t.Run("nothing helps", func(t *testing.T) {
		l := newLedger(t, nil, 2)
		l.damage(0, 1)
		l.damage(1, 1)
		for _, req := range []restore.Request{{Revision: 35}, {At: secondOf(36)}, {}} {
			_, _, err := l.try(req)
			if !errors.Is(err, repo.ErrDamaged) || !strings.Contains(err.Error(), "without it the newest point before is revision 20") ||
				!strings.Contains(strings.Join(hint.Of(err), "\n"), "--revision 20") {
				t.Errorf("%+v: %v, hints %q", req, err, hint.Of(err))
			}
		}
		if result, _, err := l.try(restore.Request{Revision: 15}); err != nil {
			t.Error(err)
		} else {
			wantMoment(t, l.live[15], result)
		}
	})
	t.Run("another writer tells the time", func(t *testing.T) {
		l := newLedger(t, nil, 1)
		l.follower.archive(28, 39, nil, l.targets...)
		l.damage(0, 2)
		result, _, err := l.try(restore.Request{At: secondOf(36)})
		if err != nil {
			t.Fatal(err)
		}
		wantMoment(t, l.live[35], result)
	})
	t.Run("an older snapshot", func(t *testing.T) {
		l := newLedger(t, nil, 1)
		newer := l.secondSnapshot(25)
		if err := os.Truncate(l.targets[0].payloadFile(newer), newer.Object.Size/2); err != nil { // its listing says so
			t.Fatal(err)
		}
		result, _, err := l.try(restore.Request{Revision: 35})
		if err != nil {
			t.Fatal(err)
		}
		wantMoment(t, l.live[35], result)
	})
	for _, revision := range []int64{35, 15} { // beyond the newer snapshot, and within it
		t.Run(fmt.Sprint("an older snapshot, found out late, ", revision), func(t *testing.T) {
			l := newLedger(t, nil, 1)
			spoil(t, l.targets[0].payloadFile(l.secondSnapshot(25)))
			result, _, err := l.try(restore.Request{Revision: revision})
			if err != nil {
				t.Fatal(err)
			}
			wantMoment(t, l.live[revision], result)
			if result.ID != l.snapshot.manifest.ID || !strings.Contains(strings.Join(result.Notices, "\n"), "from snapshot "+l.snapshot.manifest.ID) {
				t.Errorf("%s, notices %q", result.ID, result.Notices)
			}
		})
	}
}

// secondSnapshot publishes one that a restore made.
func (l *ledger) secondSnapshot(revision int64) *repo.Manifest {
	l.t.Helper()
	result, _, err := l.try(restore.Request{Revision: revision})
	if err != nil {
		l.t.Fatal(err)
	}
	return publish(l.t, l.k, result.Path, result.Facts, captureTime, instant, l.targets...)
}

// TestArchiveGap: what a hole in the archive does to a plan.
func TestArchiveGap(t *testing.T) {
	l := newLedger(t, nil, 1)
	l.remove(0, 1)
	for _, req := range []restore.Request{{Revision: 25}, {Revision: 35}, {}, {At: secondOf(36)}} {
		_, _, err := l.try(req)
		var gap *archive.Unreachable
		if !errors.As(err, &gap) || !errors.Is(err, repo.ErrNothing) || !strings.Contains(err.Error(), "revisions 21 to 30 are missing; the nearest below is 20") ||
			!strings.Contains(err.Error(), l.snapshot.manifest.ID+" and 1 segment") || !strings.Contains(strings.Join(hint.Of(err), "\n"), "--revision 20") {
			t.Errorf("%+v: %v, hints %q", req, err, hint.Of(err))
		}
	}
	if _, _, err := l.try(restore.Request{At: secondOf(16)}); err != nil {
		t.Error(err)
	}
	if _, _, err := l.try(restore.Request{Revision: 41}); !errors.Is(err, repo.ErrNothing) {
		t.Error(err)
	}
}

// TestArchiveCheckpoints: what live members said of the archived history is compared; where none agrees the restore is refused.
func TestArchiveCheckpoints(t *testing.T) {
	point := func(l *ledger, member string, off uint32) repo.Checkpoint {
		h := l.live[25].hash
		return repo.Checkpoint{Revision: 25, CompactRevision: h.CompactRevision, Hash: h.Hash + off, Member: member}
	}
	checked := func(points ...func(*ledger) repo.Checkpoint) func(*ledger, *repo.Segment) {
		return func(l *ledger, s *repo.Segment) {
			if s.First == 21 {
				for _, p := range points {
					s.Checkpoints = append(s.Checkpoints, p(l))
				}
			}
		}
	}
	good := func(l *ledger) repo.Checkpoint { return point(l, "a1", 0) }
	bad := func(l *ledger) repo.Checkpoint { return point(l, "b2", 1) }

	l := newLedger(t, checked(good, bad), 1)
	result, _, err := l.try(restore.Request{Revision: 35})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, c := range result.Compared {
		said = append(said, fmt.Sprint(c.Member, " ", c.Revision, " ", c.Result))
	}
	if diff := gocmp.Diff([]string{"a1 25 equal", "b2 25 differs"}, said); diff != "" || len(result.Notices) != 1 {
		t.Errorf("notices %q, compared (-want +got):\n%s", result.Notices, diff)
	}
	l = newLedger(t, checked(bad), 1)
	if _, _, err := l.try(restore.Request{Revision: 35}); !errors.Is(err, restore.ErrDiverged) {
		t.Errorf("no member agrees: %v", err)
	}
}

// TestArchiveFork: two segments that tell different things of one revision end a restore.
func TestArchiveFork(t *testing.T) {
	l := newLedger(t, nil, 1)
	l.remove(0, 1)
	var other []mvcc.Entry
	for _, e := range l.follower.UpTo(40) {
		if e.Main == 20 {
			e.Value = append([]byte(nil), e.Value...)
			e.Value[len(e.Value)-1] ^= 1
		}
		other = append(other, e)
	}
	writeSegment(t, l.k, 20, 30, other, l.follower.ttl, nil, l.targets...)
	_, _, err := l.try(restore.Request{Revision: 35})
	if !errors.Is(err, archive.ErrFork) || len(hint.Of(err)) == 0 {
		t.Errorf("%v, hints %q", err, hint.Of(err))
	}
}

// TestArchiveLeases: a lease that the archive tells of has the time to live that it was granted, and one of which nobody could tell is
// there all the same.
func TestArchiveLeases(t *testing.T) {
	l := newLedger(t, nil, 1)
	result, _, err := l.try(restore.Request{Revision: 35, LeaseTTL: 77 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(result.Path, 0o400, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got := make(map[int64]int64)
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("lease")).ForEach(func(_, v []byte) error {
			var record leasepb.Lease
			err := proto.Unmarshal(v, &record)
			got[record.GetID()] = record.GetTTL()
			return err
		})
	})
	if err != nil || got[l.told] != 700 || got[l.untold] != 77 || result.LeasesAdded != 1 {
		t.Errorf("leases %v, %d added, %v; want %d with 700 s and %d with 77 s", got, result.LeasesAdded, err, l.told, l.untold)
	}
}

// TestTimeWithoutArchive: the newest snapshot of that time, and how much is missing.
func TestTimeWithoutArchive(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	first := announce(t, k, 100, captureTime, nil, target)
	announce(t, k, 200, captureTime.Add(time.Hour), nil, target)
	now := captureTime.Add(3 * time.Hour)
	plan := func(at time.Time, id string) (*restore.Plan, error) {
		req := restore.Request{At: at, ID: id, Output: filepath.Join(t.TempDir(), "f")}
		return restore.MakePlan(t.Context(), sources(target), k.trust, req, now)
	}
	p, err := plan(captureTime.Add(10*time.Minute), "")
	if err != nil {
		t.Fatal(err)
	}
	if p.Snapshot.ID != first.ID || p.Wanted == nil || p.Wanted.Exact || p.Wanted.EarlierSeconds != 600 || p.Wanted.Highest != 100 {
		t.Errorf("%s, %+v", p.Snapshot.ID, p.Wanted)
	}
	var text strings.Builder
	if err := p.WriteText(&text); err != nil || !strings.Contains(text.String(), "nothing was archived then: this is up to 10m0s EARLIER") {
		t.Errorf("%v\n%s", err, text.String())
	}
	for _, test := range []struct {
		at   time.Time
		want string
	}{
		{captureTime.Add(-time.Minute), "no snapshot was there by 2026-11-22T09:59:00Z"},
		{now.Add(time.Minute), "lies in the future"},
	} {
		if _, err := plan(test.at, ""); err == nil || !strings.Contains(err.Error(), test.want) || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v, hints %q", test.at, err, hint.Of(err))
		}
	}
	if _, err := plan(captureTime.Add(-time.Minute), first.ID); !errors.Is(err, repo.ErrNothing) {
		t.Errorf("a time before the snapshot that is named: %v", err)
	}
}

// TestArchiveGolden: what people and programs read of a plan that goes through the archive.
func TestArchiveGolden(t *testing.T) {
	k, primary, nas := newKeys(t), newTarget(t), newTarget(t)
	announceFacts(t, k, covers(40, 100), captureTime, instant, primary, nas)
	var entries []mvcc.Entry
	for revision := int64(101); revision <= 160; revision++ {
		kv := &mvccpb.KeyValue{Key: []byte("key"), CreateRevision: revision, ModRevision: revision, Version: 1, Value: []byte("value")}
		entries = append(entries, mvcc.FromEvent(&mvccpb.Event{Kv: kv}, 0))
	}
	for first := int64(101); first < 160; first += 20 {
		writeSegment(t, k, first, first+19, entries, nil, nil, primary, nas)
	}
	home := t.TempDir()
	for name, req := range map[string]restore.Request{
		"archive-newest": {}, "archive-revision": {Revision: 130}, "archive-at": {At: secondOf(130)}, "archive-at-snapshot": {At: secondOf(101)},
	} {
		req.Output = filepath.Join(home, "snapshot.db")
		plan, err := restore.MakePlan(t.Context(), sources(primary, nas), k.trust, req, captureTime.Add(time.Hour))
		if err != nil {
			t.Fatal(name, err)
		}
		goldenPlan(t, name, plan, masked(home, primary.path, nas.path, k.signer.Fingerprint()))
	}
}

// TestWindow: what a target can restore, with a hole, for people and programs.
func TestWindow(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	announceFacts(t, k, covers(40, 100), captureTime, instant, target)
	announceFacts(t, k, covers(150, 200), captureTime, instant, target)
	var entries []mvcc.Entry
	for revision := int64(101); revision <= 230; revision++ {
		kv := &mvccpb.KeyValue{Key: []byte("key"), CreateRevision: revision, ModRevision: revision, Version: 1, Value: []byte("value")}
		entries = append(entries, mvcc.FromEvent(&mvccpb.Event{Kv: kv}, 0))
	}
	writeSegment(t, k, 101, 120, entries, nil, nil, target)
	writeSegment(t, k, 201, 230, entries, nil, nil, target)
	window := func() *restore.Window {
		cat, err := target.repo.Catalogue(t.Context(), k.trust)
		if err != nil {
			t.Fatal(err)
		}
		w, err := restore.ReadWindow(t.Context(), target.repo, cat, k.trust, captureTime.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	want := &restore.Window{Timeline: "0123456789abcdef", Ranges: []restore.WindowRange{
		{First: 40, Last: 120, Times: []restore.WindowSpan{{From: secondOf(101), To: secondOf(121)}}, Newest: secondOf(121)},
		{First: 150, Last: 230, Times: []restore.WindowSpan{{From: secondOf(201), To: secondOf(231)}}, Newest: secondOf(231)},
	}, Beyond: 230, End: secondOf(231)}
	got := window()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("window (-want +got):\n%s", diff)
	}
	var text strings.Builder
	if err := got.WriteText(&text, "  "); err != nil {
		t.Fatal(err)
	}
	const wantText = `  window   revisions 40 to 120, the newest of 2026-11-22T10:02:01Z
           each second from 2026-11-22T10:01:41Z to 2026-11-22T10:02:01Z
  missing  revisions 121 to 149
  window   revisions 150 to 230, the newest of 2026-11-22T10:03:51Z
           each second from 2026-11-22T10:03:21Z to 2026-11-22T10:03:51Z
`
	if diff := gocmp.Diff(wantText, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}

	target = newTarget(t)
	text.Reset()
	if err := window().WriteText(&text, ""); err != nil || text.String() != "window  nothing can be restored\n" {
		t.Errorf("an empty target: %q, %v", text.String(), err)
	}
}

// deaf is a bucket whose archive cannot be listed.
type deaf struct{ storage.Bucket }

func (d deaf) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if strings.Contains(prefix, "/archive/") {
		return func(yield func(storage.Object, error) bool) { yield(storage.Object{}, errUnreachable) }
	}
	return d.Bucket.List(ctx, prefix)
}

// TestArchiveUnreadable: nobody gets a snapshot for the newest because the archive did not answer; another target helps.
func TestArchiveUnreadable(t *testing.T) {
	k, broken, whole := newKeys(t), newTarget(t), newTarget(t)
	m := announce(t, k, 100, captureTime, nil, broken, whole)
	r, err := repo.Open(deaf{broken.bucket}, cluster)
	if err != nil {
		t.Fatal(err)
	}
	broken.repo = r
	req := restore.Request{Output: filepath.Join(t.TempDir(), "f")}
	_, err = restore.MakePlan(t.Context(), sources(broken), k.trust, req, captureTime.Add(time.Hour))
	if !errors.Is(err, errUnreachable) || errors.Is(err, repo.ErrNothing) || !strings.Contains(strings.Join(hint.Of(err), "\n"), "--id "+m.ID) {
		t.Errorf("%v, hints %q", err, hint.Of(err))
	}
	plan, err := restore.MakePlan(t.Context(), sources(broken, whole), k.trust, req, captureTime.Add(time.Hour))
	if err != nil || !strings.Contains(strings.Join(plan.Warnings, "\n"), "the archive could not be read, what it holds is not known: primary") {
		t.Errorf("%+v, %v", plan, err)
	}
	req.Revision = 70
	if _, err := restore.MakePlan(t.Context(), sources(broken), k.trust, req, captureTime.Add(time.Hour)); err != nil {
		t.Errorf("a revision of the snapshot needs no archive: %v", err)
	}
	req.Revision, req.ID = 0, m.ID
	if _, err := restore.MakePlan(t.Context(), sources(broken), k.trust, req, captureTime.Add(time.Hour)); err != nil {
		t.Errorf("nor does the snapshot itself: %v", err)
	}
}
