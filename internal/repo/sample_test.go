package repo

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/storage"
)

const (
	testCluster = "prod-east"
	memberA     = 0x8e9e05c52164694d
	memberB     = 0xb1
)

var testTime = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// sample is a valid manifest for a payload.
func sample(id ID, payload []byte) *Manifest {
	sum := Digest(payload)
	_, name, _ := strings.Cut(id.String(), "-")
	_, member, _ := strings.Cut(name, "-")
	return &Manifest{
		Format: ManifestFormat, ID: id.String(), Cluster: testCluster,
		EtcdClusterID: "cdf818194e3a8c32", Timeline: "00000000000000a1",
		Member:       Member{ID: member, Name: "node-" + member},
		CaptureStart: id.Time.Add(250 * time.Millisecond), CaptureEnd: id.Time.Add(3 * time.Second),
		Revision: id.Revision, CompactRevision: -1, RaftTerm: 4, RaftIndex: uint64(id.Revision) + 100,
		Keys: 7, Revisions: 9, DBSize: 20480, EtcdVersion: "3.7.3", StorageVersion: "3.7.0",
		HashKV: HashKV{Hash: 3011152455, Revision: id.Revision, CompactRevision: -1},
		Plain:  Plain{SHA256: strings.Repeat("ab", 32), Size: 20512},
		Object: Object{
			Name: "snapshot.db.zst.age", SHA256: sum, Size: int64(len(payload)),
			Envelope: "age-v1", Recipients: []string{"SHA256:6FyqkGZ0pJ9pJ3mJv0oY2pXK5d4bTlvH5n6G9T3WkXw"},
		},
		Drd: Build{Version: "0.1.0"},
	}
}

// at is the ID of a snapshot taken so long after testTime.
func at(after time.Duration, revision int64, member uint64) ID {
	return ID{Time: testTime.Add(after), Revision: revision, Member: member}
}

// signer makes a signing key and the trust in it.
func signer(tb testing.TB) (*seal.Signer, *seal.Trust) {
	tb.Helper()
	keys := sealtest.New(tb)
	return keys.Signer, keys.Trust
}

func open(tb testing.TB, b storage.Bucket) *Repository {
	tb.Helper()
	r, err := Open(b, testCluster)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// source opens content as often as it is asked to.
func source(content []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

// put stores a whole snapshot and returns what was committed.
func put(tb testing.TB, r *Repository, s *seal.Signer, m *Manifest, payload []byte) *Signed {
	tb.Helper()
	id, err := ParseID(m.ID)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := r.PutPayload(tb.Context(), id, m.Object.Name, source(payload), m.Object.Size, m.Object.SHA256); err != nil {
		tb.Fatal(err)
	}
	signed, err := Sign(m, s)
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.Commit(tb.Context(), signed); err != nil {
		tb.Fatal(err)
	}
	return signed
}

// wantError fails unless err mentions every part, in its text or its hints.
func wantError(tb testing.TB, err error, parts ...string) {
	tb.Helper()
	if err == nil {
		tb.Fatalf("no error, want one with %q", parts)
	}
	text := err.Error() + "\n" + strings.Join(hint.Of(err), "\n")
	for _, part := range parts {
		if !strings.Contains(text, part) {
			tb.Errorf("error %q does not mention %q", text, part)
		}
	}
}

// authorized is the signer's public key as an allowed_signers file has it.
func authorized(tb testing.TB, s *seal.Signer) string {
	tb.Helper()
	return string(ssh.MarshalAuthorizedKey(s.PublicKey()))
}
