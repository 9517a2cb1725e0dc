package status_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/status"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

const cluster = "prod"

// site is some targets with a signer, and no cluster: what status must work with.
type site struct {
	t    *testing.T
	keys *sealtest.Keys
	dirs []string
	cfg  status.Config
	// manifest says what put writes beside the usual.
	manifest struct {
		EtcdVersion   string
		Alarms        []string
		EtcdClusterID string
		Compared      []repo.Comparison
	}
}

func newSite(t *testing.T, targets int) *site {
	t.Helper()
	s := &site{t: t, keys: sealtest.New(t)}
	s.manifest.EtcdVersion, s.manifest.EtcdClusterID = "3.7.3", "c1"
	s.cfg = status.Config{Cluster: cluster, Trust: s.keys.Trust, Period: 6 * time.Hour}
	for i := range targets {
		s.dirs = append(s.dirs, t.TempDir())
		b, err := dir.Open(s.dirs[i], dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := repo.Open(b, cluster)
		if err != nil {
			t.Fatal(err)
		}
		s.cfg.Targets = append(s.cfg.Targets, replicate.Target{Name: string(rune('a' + i)), Repo: r})
	}
	var err error
	s.cfg.Queue, err = replicate.New(replicate.Config{Cluster: cluster, StateDir: t.TempDir(), Targets: s.cfg.Targets, Keys: s.keys.Ring, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put stores a snapshot that was captured at a time.
func (s *site) put(at time.Time, targets ...int) {
	s.t.Helper()
	payload := []byte("sealed")
	id := repo.ID{Time: at.UTC().Truncate(time.Second), Revision: 7, Member: 0xa1}
	signed, err := repo.Sign(&repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: cluster, EtcdClusterID: s.manifest.EtcdClusterID, Compared: s.manifest.Compared, Timeline: "00000000000000a1",
		Member: repo.Member{ID: "a1"}, CaptureStart: id.Time, CaptureEnd: id.Time, Revision: 7, CompactRevision: -1,
		DBSize: 1000, Keys: 1, Revisions: 1, EtcdVersion: s.manifest.EtcdVersion, Alarms: s.manifest.Alarms, HashKV: repo.HashKV{Revision: 7, CompactRevision: -1},
		Plain: repo.Plain{SHA256: strings.Repeat("ab", 32), Size: 1032},
		Object: repo.Object{
			Name: "snapshot.db.zst.age", SHA256: "15afe86d8fe29a7ac6fd85a58042abc8e3f7d5f3d62b2a7f8a8e12fce7d4b3a6",
			Size: int64(len(payload)), Envelope: "age-v1", Recipients: []string{"SHA256:x"},
		},
		Drd: repo.Build{Version: "test"},
	}, s.keys.Signer)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, i := range targets {
		r := s.cfg.Targets[i].Repo
		key := r.PayloadKey(id, "snapshot.db.zst.age")
		if _, err := r.Bucket().Create(s.t.Context(), key, io.NopCloser(bytes.NewReader(payload))); err != nil {
			s.t.Fatal(err)
		}
		if err := r.Commit(s.t.Context(), signed); err != nil {
			s.t.Fatal(err)
		}
	}
}

// archived has an archive lead on from each snapshot to these instants, by target; the last one holds for those that follow.
func (s *site) archived(to ...time.Time) {
	s.cfg.Archive = func(_ context.Context, r *repo.Repository, _ *repo.Entry) (status.Archive, error) {
		i := slices.IndexFunc(s.cfg.Targets, func(t replicate.Target) bool { return t.Repo == r })
		at := to[min(i, len(to)-1)]
		return status.Archive{Reached: at, End: at}, nil
	}
}

// lose records that a target will never have the snapshot of that time.
func (s *site) lose(target string, at time.Time) {
	id := repo.ID{Time: at, Revision: 1, Member: 1}
	s.cfg.Lost = append(s.cfg.Lost, replicate.Loss{At: at, Target: target, Snapshot: id.String(), Reason: "the spool is full", Total: 1})
}

func texts(r *status.Report) string {
	var all []string
	for _, p := range r.Problems {
		all = append(all, p.Text)
	}
	return strings.Join(all, "\n")
}

func TestLook(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		prepare func(s *site)
		healthy bool
		point   time.Duration // age of the recovery point; 0: none
		want    []string      // in the problems
	}{
		"both fresh":       {func(s *site) { s.put(now.Add(-time.Hour), 0, 1) }, true, time.Hour, nil},
		"nothing anywhere": {func(*site) {}, false, 0, []string{"target a: nothing to restore", "target b: nothing to restore"}},
		"one lags a little": {func(s *site) {
			s.put(now.Add(-7*time.Hour), 0, 1)
			s.put(now.Add(-time.Hour), 0)
		}, true, time.Hour, nil},
		"one lags": {func(s *site) {
			s.put(now.Add(-20*time.Hour), 0, 1)
			s.put(now.Add(-time.Hour), 0)
		}, false, time.Hour, []string{"target b: its newest snapshot is from "}},
		"all late": {func(s *site) { s.put(now.Add(-13*time.Hour), 0, 1) }, false, 13 * time.Hour, []string{"the newest snapshot is from "}},
		"one gone": {func(s *site) {
			s.put(now.Add(-time.Hour), 0, 1)
			if err := os.RemoveAll(s.dirs[1]); err != nil {
				s.t.Fatal(err)
			}
		}, false, time.Hour, []string{"target b: ", "does not exist"}},
		"archived beyond": {func(s *site) {
			s.put(now.Add(-time.Hour), 0, 1)
			s.archived(now.Add(-2 * time.Minute))
		}, true, 2 * time.Minute, nil},
		"archived, and no snapshot for long": {func(s *site) {
			s.put(now.Add(-13*time.Hour), 0, 1)
			s.archived(now.Add(-2 * time.Minute))
		}, false, 2 * time.Minute, []string{"the newest snapshot is from "}},
		"archive unreadable": {func(s *site) {
			s.put(now.Add(-time.Hour), 0, 1)
			s.cfg.Archive = func(context.Context, *repo.Repository, *repo.Entry) (status.Archive, error) {
				return status.Archive{}, errors.New("the store is gone")
			}
		}, false, time.Hour, []string{"target a: how far its archive reaches is not known: the store is gone"}},
		"lost, and nothing since": {func(s *site) {
			s.put(now.Add(-3*time.Hour), 0, 1)
			s.put(now.Add(-2*time.Hour), 0)
			s.lose("b", now.Add(-2*time.Hour))
		}, false, 2 * time.Hour, []string{"target b: it will never have snapshot 20", ": the spool is full"}},
		"lost, and made up for": {func(s *site) {
			s.lose("b", now.Add(-2*time.Hour))
			s.put(now.Add(-time.Hour), 0, 1)
		}, true, time.Hour, nil},
		"dated in the future": {func(s *site) {
			s.put(now.Add(-time.Hour), 0, 1)
			s.put(now.Add(48*time.Hour), 0, 1)
		}, false, time.Hour, []string{"target a: 1 snapshot of the future, the newest is " + now.Add(48*time.Hour).UTC().Format("20060102")}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 2)
			c.prepare(s)
			r := status.Look(t.Context(), s.cfg, now)
			if r.Healthy != c.healthy {
				t.Errorf("healthy: %v\n%s", r.Healthy, texts(r))
			}
			for _, w := range c.want {
				if !strings.Contains(texts(r), w) {
					t.Errorf("the problems do not say %q:\n%s", w, texts(r))
				}
			}
			switch {
			case (r.RecoveryPoint == nil) != (c.point == 0):
				t.Errorf("recovery point: %v", r.RecoveryPoint)
			case r.RecoveryPoint != nil && now.Sub(*r.RecoveryPoint).Round(time.Minute) != c.point:
				t.Errorf("recovery point is %s old, want %s", now.Sub(*r.RecoveryPoint), c.point)
			}
		})
	}
}

// TestLookAtTheForeign: snapshots of a stranger are counted and restore nothing.
func TestLookAtTheForeign(t *testing.T) {
	s, other := newSite(t, 1), newSite(t, 1)
	s.put(time.Now().Add(-time.Hour), 0)
	s.cfg.Trust = other.cfg.Trust
	r := status.Look(t.Context(), s.cfg, time.Now())
	if r.Healthy || r.RecoveryPoint != nil || r.Targets[0].Restorable != 0 || r.Targets[0].Other != 1 {
		t.Errorf("%+v", r)
	}
}

// slowBucket lists nothing until the caller gives up.
type slowBucket struct{ storage.Bucket }

func (slowBucket) List(ctx context.Context, _ string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		<-ctx.Done()
		yield(storage.Object{}, ctx.Err())
	}
}

// TestSlowTarget: a target that does not answer in time delays no other, and what can be done is said.
func TestSlowTarget(t *testing.T) {
	s := newSite(t, 2)
	s.put(time.Now().Add(-time.Hour), 1)
	slow, err := repo.Open(slowBucket{s.cfg.Targets[0].Repo.Bucket()}, cluster)
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Targets[0].Repo = slow
	now := time.Now()
	var r *status.Report
	synctest.Test(t, func(t *testing.T) { // the time is up when the other one was read, however slow that was
		r = status.Look(t.Context(), s.cfg, now)
	})
	if r.RecoveryPoint == nil || r.Safe() || len(r.Problems) != 1 || len(r.Problems[0].Hints) != 1 || !strings.Contains(r.Problems[0].Hints[0], "run drd status again") {
		t.Errorf("%+v", r)
	}
}
