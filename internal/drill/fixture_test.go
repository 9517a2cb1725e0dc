package drill_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
	"github.com/drd-project/drd/internal/survey"
)

const (
	cluster  = "prod"
	memberID = 0x8e9e05c52164694d
)

// captureTime is when the snapshots of the tests were taken.
var captureTime = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func inspector(tb testing.TB) snapshot.Inspector {
	return snapshot.Inspector{Command: []string{self(tb), inspectChild}}
}

// place is a target, with the keys of the node that writes to it.
type place struct {
	path   string // "" where it is no directory
	bucket storage.Bucket
	repo   *repo.Repository
	keys   *sealtest.Keys
	config drill.Config
}

func newPlace(tb testing.TB) *place {
	tb.Helper()
	path := tb.TempDir()
	bucket, err := openDir(path)
	if err != nil {
		tb.Fatal(err)
	}
	p := placeIn(tb, bucket)
	p.path = path
	return p
}

func openDir(path string) (storage.Bucket, error) { return dir.Open(path, dir.Options{}) }

func placeIn(tb testing.TB, bucket storage.Bucket) *place {
	tb.Helper()
	p := &place{keys: sealtest.New(tb)}
	p.use(tb, bucket)
	p.config = drill.Config{
		Host: "node-1", Trust: p.keys.Trust, ScratchDir: tb.TempDir(),
		Keys: func(context.Context, *repo.Repository, *repo.Manifest) ([]age.Identity, string, error) {
			return p.keys.Identities, "identity", nil
		},
		Inspector: inspector(tb),
		Survey:    survey.Reader{Command: []string{self(tb), surveyChild}},
		Etcd:      scratch.Launcher{Command: []string{self(tb), etcdChild}},
		Now:       func() time.Time { return captureTime.Add(time.Hour) },
	}
	return p
}

// tomorrow is when everything that a test has uploaded is older than any upload under way, by the names and by the clock of this machine.
func tomorrow() time.Time {
	now := time.Now()
	if now.Before(captureTime) {
		now = captureTime
	}
	return now.Add(25 * time.Hour)
}

// use puts another bucket, such as a faulty one, in the place of the target's.
func (p *place) use(tb testing.TB, bucket storage.Bucket) {
	tb.Helper()
	var err error
	p.bucket = bucket
	if p.repo, err = repo.Open(bucket, cluster); err != nil {
		tb.Fatal(err)
	}
}

// backup is a snapshot as a node would upload it; each part can be falsified before put.
type backup struct {
	manifest *repo.Manifest
	object   []byte
	signer   *seal.Signer
	digest   string // after put
}

// backupOf describes and seals a plain snapshot, trailer included.
func (p *place) backupOf(tb testing.TB, plain []byte, f snapshot.Facts, at time.Time) *backup {
	tb.Helper()
	var sealed bytes.Buffer
	w, err := seal.Default().Seal(&sealed, p.keys.Recipients)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	b := &backup{signer: p.keys.Signer, manifest: &repo.Manifest{
		Format: repo.ManifestFormat, ID: repo.ID{Time: at, Revision: f.Revision, Member: memberID}.String(),
		Cluster: cluster, EtcdClusterID: "cdf818194e3a8c32", Timeline: "0123456789abcdef",
		Member: repo.Member{ID: "8e9e05c52164694d", Name: "node-1"}, CaptureStart: at, CaptureEnd: at.Add(3 * time.Second),
		Revision: f.Revision, CompactRevision: f.CompactRevision, Keys: f.Keys, Revisions: f.Revisions, DBSize: f.DBSize,
		EtcdVersion: "3.7.3", StorageVersion: f.StorageVersion,
		HashKV: repo.HashKV{Hash: f.HashKV, Revision: f.Revision, CompactRevision: f.CompactRevision},
		Plain:  repo.Plain{SHA256: hex.EncodeToString(plain[len(plain)-sha256.Size:]), Size: int64(len(plain))},
		Object: repo.Object{
			Name: "snapshot.db" + seal.Default().Extension(), Envelope: seal.Default().Name(), Recipients: p.keys.Recipients.Fingerprints(),
		},
		Leases: f.Leases, Alarms: f.Alarms, AuthEnabled: f.AuthEnabled, Drd: repo.Build{Version: "test"},
	}}
	b.setObject(sealed.Bytes())
	return b
}

// setObject makes the manifest fit an object.
func (b *backup) setObject(object []byte) {
	sum := sha256.Sum256(object)
	b.object = object
	b.manifest.Object.SHA256, b.manifest.Object.Size = hex.EncodeToString(sum[:]), int64(len(object))
}

// put signs and uploads.
func (p *place) put(tb testing.TB, b *backup) repo.ID {
	tb.Helper()
	signed, err := repo.Sign(b.manifest, b.signer)
	if err != nil {
		tb.Fatal(err)
	}
	b.digest = signed.Digest()
	id := idOf(tb, b.manifest)
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.object)), nil }
	m := signed.Manifest
	if _, err := p.repo.PutPayload(tb.Context(), id, m.Object.Name, open, m.Object.Size, m.Object.SHA256); err != nil {
		tb.Fatal(err)
	}
	if err := p.repo.Commit(tb.Context(), signed); err != nil {
		tb.Fatal(err)
	}
	return id
}

func idOf(tb testing.TB, m *repo.Manifest) repo.ID {
	tb.Helper()
	id, err := repo.ParseID(m.ID)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// publish uploads what a node would.
func (p *place) publish(tb testing.TB, s source, at time.Time) (*backup, repo.ID) {
	tb.Helper()
	b := p.backupOf(tb, plainOf(tb, s), s.Facts, at)
	return b, p.put(tb, b)
}

func plainOf(tb testing.TB, s source) []byte {
	tb.Helper()
	plain, err := os.ReadFile(s.File)
	if err != nil {
		tb.Fatal(err)
	}
	return plain
}

// drill makes one drill, and sees that nothing is left of it.
func (p *place) drill(tb testing.TB, id repo.ID, level proof.Level, previous *proof.Kubernetes, w drill.Watcher) proof.Drill {
	tb.Helper()
	d, err := drill.New(p.config)
	if err != nil {
		tb.Fatal(err)
	}
	got := d.Drill(tb.Context(), drill.Target{Name: "primary", Repo: p.repo}, id, level, previous, w)
	p.wantWiped(tb)
	p.wantRecordable(tb, got)
	return got
}

// wantRecordable checks that a drill can be signed as it is.
func (p *place) wantRecordable(tb testing.TB, d proof.Drill) {
	tb.Helper()
	now := time.Now().UTC()
	_, err := proof.Sign(&proof.Record{
		Kind: proof.RecordKind, Format: proof.RecordFormat, ID: proof.NewID(now, "node-1"), Cluster: cluster, Host: "node-1",
		Trigger: proof.TriggerCommand, Target: proof.Target{Name: "primary", Location: "file:///backups"},
		Started: now, Ended: now, Drills: []proof.Drill{d}, Drd: repo.Build{Version: "test"},
	}, p.keys.Signer)
	if err != nil {
		tb.Errorf("record the drill: %v", err)
	}
}

// wantWiped checks that no directory of a drill is left.
func (p *place) wantWiped(tb testing.TB) {
	tb.Helper()
	left, err := filepath.Glob(filepath.Join(p.config.ScratchDir, "*", "*"))
	if err != nil || len(left) > 0 {
		tb.Errorf("left in scratch: %q, %v", left, err)
	}
}

// at returns the check of a name.
func at(d proof.Drill, name string) proof.Check {
	for _, c := range d.Checks {
		if c.Name == name {
			return c
		}
	}
	return proof.Check{}
}
