package prune

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

const cluster = "prod-east"

// place is a target with snapshots in it.
type place struct {
	tb        testing.TB
	root      string // of a directory target, else ""
	repo      *repo.Repository
	signer    *seal.Signer
	trust     *seal.Trust
	trustFile string // of trust
	now       time.Time
}

// inDirectory is an empty directory target.
func inDirectory(tb testing.TB) *place {
	tb.Helper()
	root := tb.TempDir()
	b, err := dir.Open(root, dir.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	p := in(tb, b)
	p.root = root
	return p
}

func in(tb testing.TB, b storage.Bucket) *place {
	tb.Helper()
	keys := sealtest.New(tb)
	p := &place{tb: tb, signer: keys.Signer, trust: keys.Trust, trustFile: keys.TrustFile, now: time.Now().UTC().Truncate(time.Second)}
	p.repo = p.over(b)
	return p
}

// over is the same cluster's repository in another bucket.
func (p *place) over(b storage.Bucket) *repo.Repository {
	p.tb.Helper()
	r, err := repo.Open(b, cluster)
	if err != nil {
		p.tb.Fatal(err)
	}
	return r
}

// put stores a whole snapshot that was taken so long ago, and returns its ID.
func (p *place) put(ago time.Duration) repo.ID { return p.putBy(p.signer, ago) }

func (p *place) putBy(s *seal.Signer, ago time.Duration) repo.ID {
	p.tb.Helper()
	at := p.now.Add(-ago)
	id := repo.ID{Time: at, Revision: 1 + at.Unix()/60, Member: 0xa1}
	payload := payloadOf(id)
	signed, err := repo.Sign(manifest(id, payload), s)
	if err != nil {
		p.tb.Fatal(err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
	o := signed.Manifest.Object
	if _, err := p.repo.PutPayload(p.tb.Context(), id, o.Name, open, o.Size, o.SHA256); err != nil {
		p.tb.Fatal(err)
	}
	if err := p.repo.Commit(p.tb.Context(), signed); err != nil {
		p.tb.Fatal(err)
	}
	return id
}

// every stores n snapshots, the newest of which is an hour old; oldest first.
func (p *place) every(step time.Duration, n int) []repo.ID {
	p.tb.Helper()
	var ids []repo.ID
	for i := range n {
		ids = append(ids, p.put(time.Hour+time.Duration(n-1-i)*step))
	}
	return ids
}

// litter stores the payload of a snapshot that was never committed.
func (p *place) litter(ago time.Duration) repo.ID {
	p.tb.Helper()
	id := repo.ID{Time: p.now.Add(-ago), Revision: 7, Member: 0xb1}
	p.plant(p.repo.PayloadKey(id, "snapshot.db.zst.age"), "half")
	return id
}

// plant stores an object, whatever its key.
func (p *place) plant(key, content string) {
	p.tb.Helper()
	if _, err := p.repo.Bucket().Create(p.tb.Context(), key, strings.NewReader(content)); err != nil {
		p.tb.Fatal(err)
	}
}

// age sets back the time at which everything in a directory target was stored, to so long before p.now, however long storing it took.
func (p *place) age(by time.Duration) {
	p.tb.Helper()
	then := p.now.Add(-by)
	err := filepath.WalkDir(p.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chtimes(path, then, then)
	})
	if err != nil {
		p.tb.Fatal(err)
	}
}

func payloadOf(id repo.ID) []byte { return []byte("sealed snapshot " + id.String()) }

func manifest(id repo.ID, payload []byte) *repo.Manifest {
	sum := sha256.Sum256(payload)
	return &repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: cluster, EtcdClusterID: "cdf818194e3a8c32",
		Timeline: "00000000000000a1", Member: repo.Member{ID: fmt.Sprintf("%x", id.Member), Name: "node-1"},
		CaptureStart: id.Time, CaptureEnd: id.Time.Add(3 * time.Second),
		Revision: id.Revision, CompactRevision: -1, Keys: 7, Revisions: 9, DBSize: 20480, EtcdVersion: "3.7.3",
		HashKV: repo.HashKV{Hash: 1, Revision: id.Revision, CompactRevision: -1},
		Plain:  repo.Plain{SHA256: strings.Repeat("ab", 32), Size: 20512},
		Object: repo.Object{
			Name: "snapshot.db.zst.age", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(payload)), Envelope: "age-v1", Recipients: []string{"SHA256:x"},
		},
		Drd: repo.Build{Version: "test"},
	}
}

// last keeps the newest n, with snapshots due every six hours.
func last(n int) retention.Policy {
	return retention.Policy{Last: n, MinCopies: 1, Period: 6 * time.Hour}
}

func (p *place) plan(policy retention.Policy) *Plan { return p.planOver(p.repo, policy) }

func (p *place) planOver(r *repo.Repository, policy retention.Policy) *Plan {
	p.tb.Helper()
	plan, err := Make(p.tb.Context(), Target{Name: "primary", Repo: r}, p.trust, policy, p.now)
	if err != nil {
		p.tb.Fatal(err)
	}
	return plan
}

// restorable checks that every snapshot is whole or litter, that what is whole has its content, and returns that.
func (p *place) restorable() []repo.ID {
	p.tb.Helper()
	c, err := p.repo.Catalogue(p.tb.Context(), p.trust)
	if err != nil {
		p.tb.Fatal(err)
	}
	var ids []repo.ID
	for _, e := range c.Entries {
		switch e.State {
		case repo.StateOK:
			p.readBack(e.Manifest)
			ids = append(ids, e.ID)
		case repo.StateIncomplete:
		default:
			p.tb.Errorf("%s is %s: %v", e.ID, e.State, e.Problem)
		}
	}
	return ids
}

func (p *place) readBack(m *repo.Manifest) {
	p.tb.Helper()
	r, err := p.repo.Payload(p.tb.Context(), m)
	if err != nil {
		p.tb.Error(err)
		return
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		p.tb.Errorf("%s does not restore: %v", m.ID, err)
	}
}

func (p *place) keys() []string {
	p.tb.Helper()
	var keys []string
	for o, err := range p.repo.Bucket().List(p.tb.Context(), "") {
		if err != nil {
			p.tb.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// watched is a bucket that tells of deletions before they are done.
type watched struct {
	storage.Bucket
	before func(key string) error // an error stands for the deletion

	mu      sync.Mutex
	deleted []string
}

func (w *watched) Unwrap() storage.Bucket { return w.Bucket }

func (w *watched) Delete(ctx context.Context, key string) error {
	if w.before != nil {
		if err := w.before(key); err != nil {
			return err
		}
	}
	w.mu.Lock()
	w.deleted = append(w.deleted, key)
	w.mu.Unlock()
	return w.Bucket.Delete(ctx, key)
}

func (w *watched) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return w.Bucket.List(ctx, prefix)
}

func outcomes(rs Results) []string {
	var out []string
	for _, r := range rs {
		out = append(out, string(r.Outcome))
	}
	return out
}

func sameIDs(a, b []repo.ID) bool {
	return slices.EqualFunc(a, b, func(x, y repo.ID) bool { return x.Compare(y) == 0 })
}
