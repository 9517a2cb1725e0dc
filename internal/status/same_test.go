package status_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/status"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/cache"
	"github.com/drd-project/drd/internal/storage/dir"
)

// scene is a target in a directory that somebody changes at random, past all that drd does.
type scene struct {
	t              *testing.T
	random         *rand.Rand
	root           string
	bucket         storage.Bucket
	repo           *repo.Repository
	keys, stranger *sealtest.Keys
	now, stored    time.Time // stored is the store's clock: each change is a second later
	files          []string  // below root, all that was ever written
	revision       int64
}

func newScene(t *testing.T, seed uint64, keys, stranger *sealtest.Keys) *scene {
	t.Helper()
	s := &scene{t: t, random: rand.New(rand.NewPCG(seed, 3)), root: t.TempDir(), keys: keys, stranger: stranger, now: time.Now().UTC().Truncate(time.Second), revision: 1}
	s.stored = s.now.Add(-24 * time.Hour)
	var err error
	if s.bucket, err = dir.Open(s.root, dir.Options{}); err == nil {
		s.repo, err = repo.Open(s.bucket, cluster)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) write(key, content string) {
	s.t.Helper()
	file := filepath.Join(s.root, filepath.FromSlash(key))
	s.stored = s.stored.Add(time.Second)
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file, []byte(content), 0o600)
	}
	if err == nil {
		err = os.Chtimes(file, s.stored, s.stored)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.files = append(s.files, file)
}

// add stores a snapshot and some segments behind it.
func (s *scene) add(at time.Time) {
	s.t.Helper()
	s.revision += 1 + s.random.Int64N(5)
	id := repo.ID{Time: at, Revision: s.revision, Member: 0xa1}
	timeline := "00000000000000a1"
	hash := strings.Repeat("ab", 32)
	signed, err := repo.Sign(&repo.Manifest{
		Format: repo.ManifestFormat, ID: id.String(), Cluster: cluster, EtcdClusterID: "c1", Timeline: timeline,
		Member: repo.Member{ID: "a1"}, CaptureStart: id.Time, CaptureEnd: id.Time, Revision: id.Revision, CompactRevision: -1,
		DBSize: 1000, Keys: 1, Revisions: 1, EtcdVersion: "3.7.3", HashKV: repo.HashKV{Revision: id.Revision, CompactRevision: -1},
		Plain:  repo.Plain{SHA256: hash, Size: 1032},
		Object: repo.Object{Name: "snapshot.db.zst.age", SHA256: hash, Size: 6, Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
		Drd:    repo.Build{Version: "test"},
	}, s.signer())
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(s.repo.PayloadKey(id, "snapshot.db.zst.age"), "sealed")
	s.write(s.repo.SignatureKey(id), string(signed.Signature))
	s.write(s.repo.ManifestKey(id), string(signed.Bytes))
	for i := range s.random.IntN(4) {
		first := s.revision + 1
		s.revision += s.random.Int64N(3)
		begin := at.Add(time.Duration(i) * 10 * time.Second)
		seg := &repo.Segment{
			Kind: repo.SegmentKind, Format: repo.SegmentFormat, Cluster: cluster, EtcdClusterID: "c1", Timeline: timeline, Member: repo.Member{ID: "a1"},
			First: first, Last: s.revision, Events: s.revision - first + 1, From: begin, To: begin.Add(10 * time.Second), CompactRevision: -1, LastRevisionSHA256: hash,
			Plain: repo.SegmentPlain{SHA256: hash, Size: 2048}, Drd: repo.Build{Version: "test"},
			Object: repo.Object{SHA256: hash, Size: 6, Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
		}
		seg.Object.Name = seg.Name().String() + ".zst.age"
		signed, err := repo.SignSegment(seg, s.signer())
		if err != nil {
			s.t.Fatal(err)
		}
		s.write(s.repo.SegmentPayloadKey(seg), "sealed")
		s.write(s.repo.SegmentRecordKey(seg.Name()), string(signed.Record()))
	}
}

// signer is a stranger at times.
func (s *scene) signer() *seal.Signer {
	if s.random.IntN(40) == 0 {
		return s.stranger.Signer
	}
	return s.keys.Signer
}

// spoil does something to an object that nobody should.
func (s *scene) spoil() {
	s.t.Helper()
	file := s.files[s.random.IntN(len(s.files))]
	content, err := os.ReadFile(file)
	if err != nil || len(content) == 0 {
		return // gone before, or nothing is left of it
	}
	key, err := filepath.Rel(s.root, file)
	if err != nil {
		s.t.Fatal(err)
	}
	switch s.random.IntN(5) {
	case 0:
		err = os.Remove(file)
	case 1: // another object's content
		other, readErr := os.ReadFile(s.files[s.random.IntN(len(s.files))])
		if readErr == nil {
			s.write(key, string(other))
		}
	case 2: // as long as it was
		content[s.random.IntN(len(content))] ^= 1
		s.write(key, string(content))
	case 3:
		s.write(key, string(content[:s.random.IntN(len(content))]))
	case 4: // planted beside it
		s.write(key+"."+fmt.Sprint(s.random.IntN(1000)), string(content))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// look is a report, as drd status --json has it.
func (s *scene) look(b storage.Bucket, trust *seal.Trust) string {
	s.t.Helper()
	r, err := repo.Open(b, cluster)
	if err != nil {
		s.t.Fatal(err)
	}
	report := status.Look(s.t.Context(), status.Config{
		Cluster: cluster, Trust: trust, Targets: []replicate.Target{{Name: "dir", Repo: r}}, Period: time.Hour,
		Archive: func(ctx context.Context, r *repo.Repository, e *repo.Entry) (status.Archive, error) {
			tip, err := restore.ReadTip(ctx, r, e, trust)
			return status.Archive(tip), err
		},
	}, s.now)
	text, err := json.MarshalIndent(report, "", " ")
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// divided is a bucket whose listings are divided, as those of a store that can begin them anywhere.
type divided struct{ storage.Bucket }

func (d divided) Properties() storage.Properties {
	p := d.Bucket.Properties()
	p.ListsAfter = true
	return p
}

func (d divided) ListAfter(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return storage.ListAfter(ctx, d.Bucket, prefix, after)
}

// TestSameAnswer: whatever somebody does to the objects of a target between two looks, the answer is the same with what was kept and
// without, to people who trust different keys, and however the listing was divided. The clock stands while something works: no look takes too
// long on a busy machine.
func TestSameAnswer(t *testing.T) { synctest.Test(t, sameAnswer) }

func sameAnswer(t *testing.T) {
	keys, stranger := sealtest.New(t), sealtest.New(t)
	seen := make(map[string]bool)
	for seed, more := range []int{3, 40, 400} { // the last are more than a page of a listing
		s := newScene(t, uint64(seed), keys, stranger)
		kept := t.TempDir()
		at := s.now.Add(-30 * 24 * time.Hour)
		for round := range 5 {
			for range more / (1 + 4*round) {
				at = at.Add(time.Duration(1+s.random.IntN(3600)) * time.Second)
				s.add(at)
			}
			for range s.random.IntN(8) * round {
				s.spoil()
			}
			for name, trust := range map[string]*seal.Trust{"keys": keys.Trust, "stranger": stranger.Trust} {
				want := s.look(s.bucket, trust)
				seen[want] = true
				for _, how := range []string{"first", "again", "divided"} {
					c := cache.Open(s.bucket, kept)
					b := storage.Bucket(c)
					if how == "divided" {
						b = dividedKnown{divided{c}, c}
					}
					if diff := cmp.Diff(want, s.look(b, trust)); diff != "" {
						t.Fatalf("seed %d, round %d, trusting %s, %s (-without +with the cache):\n%s", seed, round, name, how, diff)
					}
					if err := c.Save(); err != nil {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(want, s.look(divided{s.bucket}, trust)); diff != "" {
					t.Fatalf("seed %d, round %d, trusting %s: (-whole +divided):\n%s", seed, round, name, diff)
				}
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("%d different answers only", len(seen))
	}
}

// dividedKnown is divided, and remembers signatures.
type dividedKnown struct {
	divided
	seal.Known
}
