package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/storage/storagetest"
)

// host is a verifier with directory targets and real records, whose drills come to what the test says.
type host struct {
	t    *testing.T
	keys *sealtest.Keys
	cfg  Config
	// signer signs the snapshots.
	signer *seal.Signer
	dirs   []string
	// faulty is the bucket of the first target.
	faulty *storagetest.Faulty
	log    strings.Builder

	mu      sync.Mutex
	drilled []string                       // "target snapshot level", in order
	outcome map[string]proof.Outcome       // by snapshot; default passed
	nothing error                          // why there is no way to an archived revision
	during  func(ctx context.Context)      // is called in each drill
	census  map[string]*proof.Kubernetes   // by snapshot
	before  map[string][]*proof.Kubernetes // what each was compared with
}

func newHost(t *testing.T, targets int) *host {
	t.Helper()
	h := &host{t: t, keys: sealtest.New(t), outcome: make(map[string]proof.Outcome), census: make(map[string]*proof.Kubernetes), before: make(map[string][]*proof.Kubernetes)}
	h.signer = h.keys.Signer
	h.cfg = Config{
		Host: "verifier", Driller: h, Trust: h.keys.Trust, Signer: h.keys.Signer, StateDir: filepath.Join(t.TempDir(), "state"),
		CoverWithin: 30 * 24 * time.Hour, RunsPerPeriod: 30, Build: repo.Build{Version: "test"}, Log: slog.New(slog.NewTextHandler(&h.log, nil)),
	}
	for i := range targets {
		h.dirs = append(h.dirs, filepath.Join(t.TempDir(), "target"))
		bucket, err := dir.Open(h.dirs[i], dir.Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		faulty := storagetest.NewFaulty(bucket)
		if i == 0 {
			h.faulty = faulty
		}
		r, err := repo.Open(faulty, "prod")
		if err != nil {
			t.Fatal(err)
		}
		h.cfg.Targets = append(h.cfg.Targets, drill.Target{Name: fmt.Sprintf("t%d", i), Repo: r})
	}
	return h
}

func (h *host) runner() *Runner {
	h.t.Helper()
	r, err := New(h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// Drill implements Driller.
func (h *host) Drill(ctx context.Context, t drill.Target, id repo.ID, level proof.Level, previous *proof.Kubernetes, _ drill.Watcher) proof.Drill {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.during != nil {
		h.during(ctx)
	}
	name := id.String()
	h.drilled = append(h.drilled, t.Name+" "+name+" "+string(level))
	h.before[name] = append(h.before[name], previous)
	e, err := t.Repo.Look(ctx, id, h.cfg.Trust)
	digest := ""
	if err == nil && e.Manifest != nil {
		digest = e.Digest
	}
	d := proof.Drill{
		Snapshot: name, ManifestSHA256: digest, CapturedAt: id.Time, Revision: id.Revision, Level: level, Outcome: proof.Passed,
		Started: time.Now().UTC(), Seconds: 0.5, ObjectBytes: 6, DBSize: 1000, Kubernetes: h.census[name],
	}
	if o, ok := h.outcome[name]; ok {
		d.Outcome, d.Cause = o, "because the test says so"
	}
	if ctx.Err() != nil {
		d.Outcome, d.Cause = proof.Inconclusive, "given up"
	}
	if d.Outcome == proof.Passed && level == proof.LevelDrill {
		d.Etcd, d.RecoverySeconds = "3.7.0 (embedded)", 0.25
	}
	return d
}

// DrillPoint implements Driller. An archived revision is told of as "target r<revision> level".
func (h *host) DrillPoint(ctx context.Context, t drill.Target, p drill.Point, level proof.Level, _ *proof.Kubernetes, _ drill.Watcher) (proof.Drill, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := fmt.Sprintf("r%d", p.Revision)
	h.drilled = append(h.drilled, t.Name+" "+name+" "+p.Kind+" "+string(level))
	if h.nothing != nil {
		return proof.Drill{Outcome: proof.Inconclusive}, h.nothing
	}
	e, err := t.Repo.Look(ctx, p.Near, h.cfg.Trust)
	if err != nil {
		h.t.Error(err)
		return proof.Drill{}, err
	}
	d := proof.Drill{
		Snapshot: p.Near.String(), ManifestSHA256: e.Digest, CapturedAt: p.Near.Time, Revision: p.Near.Revision, Level: level, Outcome: proof.Passed,
		Started: time.Now().UTC(), Seconds: 0.5,
		Archived: &proof.Archived{Kind: p.Kind, Timeline: e.Manifest.Timeline, Revision: p.Revision, Base: proof.Passed},
	}
	if !p.At.IsZero() {
		d.Archived.At = &p.At
	}
	if o, ok := h.outcome[name]; ok {
		d.Outcome, d.Cause = o, "because the test says so"
	} else if d.Archived.Revision == 0 {
		d.Archived.Revision = 12 // what was there at any time
	}
	return d, nil
}

// put stores a snapshot of that age in targets and returns its ID.
func (h *host) put(age time.Duration, revision int64, targets ...int) string {
	h.t.Helper()
	payload := []byte("sealed")
	sum := sha256.Sum256(payload)
	id := repo.ID{Time: time.Now().UTC().Add(-age).Truncate(time.Second), Revision: revision, Member: 0xa1}
	m := &repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: "prod", EtcdClusterID: "c1", Timeline: "00000000000000a1",
		Member: repo.Member{ID: "a1"}, CaptureStart: id.Time, CaptureEnd: id.Time.Add(3 * time.Second),
		Revision: revision, CompactRevision: -1, DBSize: 1000, Keys: 1, Revisions: 1, EtcdVersion: "3.7.3",
		HashKV: repo.HashKV{Revision: revision, CompactRevision: -1},
		Plain:  repo.Plain{SHA256: strings.Repeat("ab", 32), Size: 1032},
		Object: repo.Object{
			Name: "snapshot.db.zst.age", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(payload)), Envelope: "age-v1",
			Recipients: []string{seal.Fingerprint(h.keys.Identities[0])},
		},
		Drd: repo.Build{Version: "test"},
	}
	signed, err := repo.Sign(m, h.signer)
	for _, i := range targets {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
		r := h.cfg.Targets[i].Repo
		_, perr := r.PutPayload(h.t.Context(), id, m.Object.Name, open, m.Object.Size, m.Object.SHA256)
		err = errors.Join(err, perr, r.Commit(h.t.Context(), signed))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return id.String()
}

// history is what the records in a target say.
func (h *host) history(target int) *proof.History {
	h.t.Helper()
	t := h.cfg.Targets[target]
	history, err := proof.Read(h.t.Context(), t.Repo, h.keys.Trust, proof.ReadOptions{Target: proof.Target{Name: t.Name}})
	if err != nil {
		h.t.Fatal(err)
	}
	return history
}

// taken are the drills so far, which are forgotten.
func (h *host) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.drilled = nil }()
	return h.drilled
}
