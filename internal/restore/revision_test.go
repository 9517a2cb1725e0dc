package restore_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/drd-project/drd/internal/archive"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/snapshot"
)

// TestEveryRevision: a restore to any revision that a snapshot holds is the store that the live server had then: the same hash, and on a
// server the same keys with the same revisions, versions and leases.
func TestEveryRevision(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			everyRevision(t, version, 5, 10, 2)
		})
	}
}

// everyRevision takes three snapshots that overlap, tries so many revisions of each, and starts a server on some of them.
func everyRevision(t *testing.T, version string, seed uint64, tried, served int) {
	k, target := newKeys(t), newTarget(t)
	h := newHistorian(t, version, seed)
	var all []taken
	for i := range 3 {
		h.write(80)
		if n := len(all); n > 0 {
			h.compact(all[n-1].facts.Revision - 15)
		}
		s := h.take(tried)
		s.publish(t, k, time.Duration(i)*time.Minute, nil, target)
		all = append(all, s)
	}
	hashed := 0
	for i, s := range all {
		for j, m := range s.moments {
			req := restore.Request{Revision: m.revision, Output: filepath.Join(t.TempDir(), "f")}
			if i > 0 && m.revision <= all[i-1].facts.Revision {
				req.ID = s.manifest.ID // the snapshot before it holds it too, and has less beyond it
			}
			result := restored(t, k, req, target)
			want := m.hash
			if want.Revision == 0 {
				want = result.HashKV
			} else {
				hashed++
			}
			if result.ID != s.manifest.ID || result.Revision != m.revision || result.HashKV != want || result.Bumped != 0 {
				t.Errorf("revision %d of %s: restored %d of %s with %+v, the live server said %+v",
					m.revision, s.manifest.ID, result.Revision, result.ID, result.HashKV, m.hash)
			}
			if j < served {
				servesMoment(t, k, version, m, req.ID, target)
			}
		}
	}
	if hashed < 2*tried {
		t.Errorf("only %d hashes were compared: that proves little", hashed)
	}
}

// servesMoment starts a server on a restore and compares what it answers.
func servesMoment(t *testing.T, k *keys, version string, m moment, id string, targets ...*target) {
	t.Helper()
	server, result := startRestored(t, k, version, restore.Request{ID: id, Revision: m.revision}, targets...)
	defer server.Stop()
	client := server.Client(t)
	sameKeys(t, client, m)
	if answer, err := client.HashKV(t.Context(), server.Endpoint(), m.revision); err != nil && m.hash.Revision != 0 || err == nil && answer.Hash != result.HashKV.Hash {
		t.Errorf("revision %d: hash %v, %v, the result says %+v", m.revision, answer, err, result.HashKV)
	}
	for id := range leasesOf(m.keys) {
		if ttl, err := client.TimeToLive(t.Context(), clientv3.LeaseID(id)); err != nil || ttl.GrantedTTL != 3600 {
			t.Errorf("lease %x: %+v, %v", id, ttl, err)
		}
	}
}

// sameKeys compares what a server has with what another had at the same revision.
func sameKeys(t *testing.T, client *clientv3.Client, m moment) {
	t.Helper()
	got, err := client.Get(t.Context(), "", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	if got.Header.Revision != m.revision {
		t.Errorf("the server is at revision %d, want %d", got.Header.Revision, m.revision)
	}
	if diff := cmp.Diff(m.keys, got.Kvs, protocmp.Transform()); diff != "" {
		t.Errorf("keys at revision %d (-live +restored):\n%s", m.revision, diff)
	}
}

func leasesOf(keys []*mvccpb.KeyValue) map[int64]bool {
	named := make(map[int64]bool)
	for _, kv := range keys {
		if kv.Lease != 0 {
			named[kv.Lease] = true
		}
	}
	return named
}

// TestRevisionBeforeARevoke: keys of a lease that was revoked later are there again, and so is the lease, or a put with
// --ignore-lease would end the server.
func TestRevisionBeforeARevoke(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	h := newHistorian(t, "3.6", 1)
	h.must(h.client.Put(t.Context(), "leased", "x", clientv3.WithLease(h.leases[0])))
	before := h.ask(h.revision())
	h.must(h.client.Revoke(t.Context(), h.leases[0]))
	h.write(10)
	s := h.take(3)
	s.publish(t, k, 0, nil, target)

	server, result := startRestored(t, k, "3.6", restore.Request{Revision: before.revision}, target)
	if result.LeasesAdded != 1 || result.HashKV != before.hash {
		t.Errorf("%d leases added, %+v; want 1, %+v", result.LeasesAdded, result.HashKV, before.hash)
	}
	client := server.Client(t)
	if _, err := client.Put(t.Context(), "leased", "y", clientv3.WithIgnoreLease()); err != nil {
		t.Errorf("put --ignore-lease: %v\n%s", err, server.Logs())
	}
}

// TestRevisionOfKubernetes: a store that is cut back is moved forward all the same, and its hash before that is told.
func TestRevisionOfKubernetes(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	c := capture(t, "3.5", "/registry/pods/")
	publish(t, k, c.File, c.Facts, captureTime, nil, target)
	revision := c.Revision - 30
	server, result := startRestored(t, k, "3.5", restore.Request{Revision: revision}, target)
	if result.Facts.Revision != revision+1_000_000_000 || result.Revision != revision || result.HashKV.Revision != revision || result.SnapshotRevision != c.Revision {
		t.Errorf("%+v, want revision %d moved forward", result, revision)
	}
	wantCompacted(t, server.Client(t), revision)
}

// TestRevisionCompared: what live members said of the history is compared where it can be, and a difference is told.
func TestRevisionCompared(t *testing.T) {
	k, target := newKeys(t), newTarget(t)
	h := newHistorian(t, "3.7", 2)
	h.write(60)
	s := h.take(3)
	early, late := h.ask(20), h.ask(40)
	compared := func(member string, m moment, off uint32) repo.Comparison {
		return repo.Comparison{Member: member, Hash: m.hash.Hash + off, Revision: m.revision, CompactRevision: m.hash.CompactRevision, Result: repo.ResultEqual}
	}
	s.publish(t, k, 0, func(m *repo.Manifest) {
		m.Compared = []repo.Comparison{
			compared("a1", early, 0), compared("b2", early, 1), compared("a1", late, 0),
			{Member: "c3", Result: repo.ResultNotCompared, Reason: "connection refused"},
		}
	}, target)
	result := restored(t, k, restore.Request{Revision: 30, Output: filepath.Join(t.TempDir(), "f")}, target)
	want := []restore.Comparison{
		{Member: "a1", Revision: 20, CompactRevision: early.hash.CompactRevision, Hash: early.hash.Hash, Result: repo.ResultEqual},
		{Member: "b2", Revision: 20, CompactRevision: early.hash.CompactRevision, Hash: early.hash.Hash + 1, Result: repo.ResultDiffers},
	}
	if diff := cmp.Diff(want, result.Compared); diff != "" {
		t.Errorf("compared (-want +got):\n%s", diff)
	}
	if said := strings.Join(result.Notices, "\n"); !strings.Contains(said, "member b2 had other content at revision 20") {
		t.Errorf("notices %q", said)
	}
}

// covers makes paper facts of a snapshot that holds the revisions from compact to revision.
func covers(compact, revision int64) snapshot.Facts {
	f := fakeFacts(revision)
	f.CompactRevision = compact
	return f
}

// TestRevisionPlan: which snapshot a revision is cut from, and what is said when none holds it.
func TestRevisionPlan(t *testing.T) {
	k, first, second := newKeys(t), newTarget(t), newTarget(t)
	paper := func(compact, revision int64, after time.Duration, change func(*repo.Manifest), targets ...*target) string {
		return announceFacts(t, k, covers(compact, revision), captureTime.Add(after), change, targets...).ID
	}
	elder := paper(400, 500, -5*time.Hour, nil, first) // of the timeline before
	a := paper(snapshot.NeverCompacted, 100, -3*time.Hour, rebuilt, first)
	b := paper(50, 200, -2*time.Hour, rebuilt, first, second)
	c := paper(260, 300, -time.Hour, rebuilt, second)
	for _, test := range []struct {
		revision int64
		id       string
		want     string // snapshot, or the error
		hints    []string
	}{
		{revision: 1, want: a},
		{revision: 99, want: a},
		{revision: 100, want: a},
		{revision: 101, want: b},
		{revision: 200, want: b},
		{revision: 260, want: c},
		{revision: 300, want: c},
		{revision: 60, id: b, want: b},
		{revision: 450, id: elder, want: elder},
		{revision: 230, want: "nothing holds revision 230 of timeline 00000000000000b2: revisions 201 to 259 are missing; the nearest below is 200 (2026-11-22T08:00:03Z), of snapshot " + b + "; the nearest above is 260, of snapshot " + c,
			hints: []string{"restore what is there: --revision 200 or --revision 260"}},
		{revision: 301, want: "the nearest below is 300 (2026-11-22T09:00:03Z), of snapshot " + c + "; there is none above", hints: []string{"--revision 300"}},
		{revision: 450, want: "the nearest below is 300", hints: []string{"another timeline holds it: --id " + elder + " --revision 450"}},
		{revision: 10, id: b, want: "there is none below; the nearest above is 50, of snapshot " + b, hints: []string{"leave --id out"}},
	} {
		t.Run(fmt.Sprint(test.revision, test.id), func(t *testing.T) {
			req := restore.Request{ID: test.id, Revision: test.revision, Output: filepath.Join(t.TempDir(), "f")}
			plan, err := restore.MakePlan(t.Context(), sources(first, second), k.trust, req, captureTime)
			if test.hints == nil {
				if err != nil || plan.Snapshot.ID != test.want || plan.Wanted == nil || plan.Wanted.CutRevisions != plan.Snapshot.Revision-test.revision {
					t.Errorf("%+v, %v; want snapshot %s", plan, err, test.want)
				}
				return
			}
			var gap *archive.Unreachable
			if !errors.Is(err, repo.ErrNothing) || !errors.As(err, &gap) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			for _, want := range test.hints {
				if said := strings.Join(hint.Of(err), "\n"); !strings.Contains(said, want) {
					t.Errorf("hints %q, want %q", said, want)
				}
			}
		})
	}
	for _, revision := range []int64{-1, -1 << 63} {
		_, err := restore.MakePlan(t.Context(), sources(first), k.trust, restore.Request{Revision: revision, Output: "f"}, captureTime)
		if request := new(restore.RequestError); !errors.As(err, &request) {
			t.Errorf("revision %d: %v", revision, err)
		}
	}
}

// TestRevisionGolden: what people and programs read of a plan for a revision.
func TestRevisionGolden(t *testing.T) {
	k, primary := newKeys(t), newTarget(t)
	announceFacts(t, k, covers(40_000, 48_211), captureTime, nil, primary)
	home := t.TempDir()
	for name, revision := range map[string]int64{"revision": 48_000, "revision-own": 48_211} {
		req := restore.Request{Revision: revision, Output: filepath.Join(home, "snapshot.db")}
		plan, err := restore.MakePlan(t.Context(), sources(primary), k.trust, req, captureTime.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		goldenPlan(t, name, plan, masked(home, primary.path, "/no other", k.signer.Fingerprint()))
	}
}
