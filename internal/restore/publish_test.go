package restore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/dir"
)

const cluster = "prod"

// keys are what a node and a person hold in one test.
type keys struct {
	signer     *seal.Signer
	trust      *seal.Trust
	recipients *seal.Recipients
	identities []age.Identity

	allowedSigners, identityFile string // what trust and identities were read from
}

func newKeys(tb testing.TB) *keys {
	tb.Helper()
	k := sealtest.New(tb)
	return &keys{
		signer: k.Signer, trust: k.Trust, recipients: k.Recipients, identities: k.Identities,
		allowedSigners: k.TrustFile, identityFile: k.IdentityFile,
	}
}

// target is a directory target.
type target struct {
	path   string
	bucket storage.Bucket
	repo   *repo.Repository
}

func newTarget(tb testing.TB) *target {
	tb.Helper()
	t := &target{path: tb.TempDir()}
	bucket, err := dir.Open(t.path, dir.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	t.bucket = bucket
	if t.repo, err = repo.Open(bucket, cluster); err != nil {
		tb.Fatal(err)
	}
	return t
}

func (t *target) source(name string) restore.Source { return restore.Source{Name: name, Repo: t.repo} }

// manifestOf describes a snapshot file that a member took at the given time.
func manifestOf(f snapshot.Facts, body, sealed []byte, at time.Time) *repo.Manifest {
	plain, object := sha256.Sum256(body), sha256.Sum256(sealed)
	id := repo.ID{Time: at, Revision: f.Revision, Member: 0x8e9e05c52164694d}
	return &repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: cluster, EtcdClusterID: "cdf818194e3a8c32",
		Timeline: "0123456789abcdef", Member: repo.Member{ID: "8e9e05c52164694d", Name: "node-1"},
		CaptureStart: at, CaptureEnd: at.Add(3 * time.Second),
		Revision: f.Revision, CompactRevision: f.CompactRevision, Keys: f.Keys, Revisions: f.Revisions, DBSize: f.DBSize,
		EtcdVersion: "3.7.3", StorageVersion: f.StorageVersion,
		HashKV: repo.HashKV{Hash: f.HashKV, Revision: f.Revision, CompactRevision: f.CompactRevision},
		Plain:  repo.Plain{SHA256: hex.EncodeToString(plain[:]), Size: int64(len(body)) + sha256.Size},
		Object: repo.Object{
			Name: "snapshot.db" + seal.Default().Extension(), SHA256: hex.EncodeToString(object[:]), Size: int64(len(sealed)),
			Envelope: seal.Default().Name(), Recipients: []string{"SHA256:test"},
		},
		Leases: f.Leases, Alarms: f.Alarms, AuthEnabled: f.AuthEnabled, Drd: repo.Build{Version: "test"},
	}
}

// sealBytes is the object that a node makes of a snapshot.
func sealBytes(tb testing.TB, plain []byte, k *keys) []byte {
	tb.Helper()
	var sealed bytes.Buffer
	w, err := seal.Default().Seal(&sealed, k.recipients)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return sealed.Bytes()
}

// captureTime is when the snapshots of the tests were taken.
var captureTime = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// publish puts a snapshot file into targets as a node does. change, if not nil, may falsify the manifest before it is signed.
func publish(tb testing.TB, k *keys, file string, f snapshot.Facts, at time.Time, change func(*repo.Manifest), targets ...*target) *repo.Manifest {
	tb.Helper()
	plain, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	sealed := sealBytes(tb, plain, k)
	m := manifestOf(f, plain[:len(plain)-sha256.Size], sealed, at)
	m.Object.Recipients = k.recipients.Fingerprints()
	if change != nil {
		change(m)
	}
	signed, err := repo.Sign(m, k.signer)
	if err != nil {
		tb.Fatal(err)
	}
	for _, t := range targets {
		t.put(tb, signed, sealed)
	}
	return m
}

func (t *target) put(tb testing.TB, signed *repo.Signed, sealed []byte) {
	tb.Helper()
	m := signed.Manifest
	id, err := repo.ParseID(m.ID)
	if err != nil {
		tb.Fatal(err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(sealed)), nil }
	if _, err := t.repo.PutPayload(tb.Context(), id, m.Object.Name, open, m.Object.Size, m.Object.SHA256); err != nil {
		tb.Fatal(err)
	}
	if err := t.repo.Commit(tb.Context(), signed); err != nil {
		tb.Fatal(err)
	}
}

// payloadFile is where a directory target keeps the sealed object.
func (t *target) payloadFile(m *repo.Manifest) string {
	return filepath.Join(t.path, cluster, "snapshots", m.ID, m.Object.Name)
}

// restored makes a plan and runs it.
func restored(tb testing.TB, k *keys, req restore.Request, targets ...*target) *restore.Result {
	tb.Helper()
	result, err := tryRestore(tb, k, req, nil, targets...)
	if err != nil {
		tb.Fatalf("restore: %v", err)
	}
	return result
}

func tryRestore(tb testing.TB, k *keys, req restore.Request, progress restore.Progress, targets ...*target) (*restore.Result, error) {
	tb.Helper()
	var sources []restore.Source
	for i, t := range targets {
		sources = append(sources, t.source([]string{"primary", "nas", "third"}[i]))
	}
	plan, err := restore.MakePlan(tb.Context(), sources, k.trust, req, captureTime.Add(time.Hour))
	if err != nil {
		return nil, err
	}
	return restore.Run(tb.Context(), plan, k.identities, inspector(tb), progress)
}
