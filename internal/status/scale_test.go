//go:build bench

package status_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drd-project/drd/internal/replicate"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/seal/sealtest"
	"github.com/drd-project/drd/internal/status"
	"github.com/drd-project/drd/internal/storage"
	"github.com/drd-project/drd/internal/storage/cache"
	"github.com/drd-project/drd/test/servers"
)

// TestStatusAtScale looks at 10,000 snapshots and the segments of a day, one each five seconds, in MinIO: with nothing kept, with
// all kept by the look before, and without keeping anything. It prints the times; docs/status.md has those of one run.
func TestStatusAtScale(t *testing.T) {
	snapshots, segments := size(t, "DRD_SNAPSHOTS", 10_000), size(t, "DRD_SEGMENTS", 17_280)
	m := servers.StartMinIO(t)
	m.CreateBucket(t, "drd", false)
	b, err := s3.Open(t.Context(), s3.Config{Bucket: "drd", Endpoint: m.Endpoint, Region: m.Region, CAFile: m.CAFile, PathStyle: true, CredentialsFile: m.CredentialsFile})
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(b, cluster)
	if err != nil {
		t.Fatal(err)
	}
	keys := sealtest.New(t)
	now := time.Now().UTC().Truncate(time.Second)
	begin := time.Now()
	fill(t, r, keys, now, snapshots, segments)
	t.Logf("filled in %s", time.Since(begin).Round(time.Second))

	dir := t.TempDir()
	for _, how := range []string{"no cache", "empty cache", "cache", "cache"} {
		var bucket storage.Bucket = b
		begin := time.Now()
		if how != "no cache" {
			bucket = cache.Open(b, dir)
		}
		seen, err := repo.Open(bucket, cluster)
		if err != nil {
			t.Fatal(err)
		}
		report := status.Look(t.Context(), status.Config{
			Cluster: cluster, Trust: keys.Trust, Targets: []replicate.Target{{Name: "minio", Repo: seen}}, Period: 24 * time.Hour,
			Archive: func(ctx context.Context, r *repo.Repository, e *repo.Entry) (status.Archive, error) {
				tip, err := restore.ReadTip(ctx, r, e, keys.Trust)
				return status.Archive(tip), err
			},
		}, now)
		took := time.Since(begin)
		if c, ok := bucket.(*cache.Bucket); ok {
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
		}
		if !report.Healthy || report.Targets[0].Restorable != snapshots || !report.RecoveryPoint.Equal(now) {
			t.Errorf("%s: %s\n%s", how, report.Verdict(), texts(report))
		}
		t.Logf("%s: %s, with what is kept written %s", how, took.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the cache has %d bytes", info.Size())
}

func size(t *testing.T, name string, usual int) int {
	t.Helper()
	if text := os.Getenv(name); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	return usual
}

// fill writes snapshots, one each five minutes until a day ago, and segments until now. Nothing is read back: that is not measured.
func fill(t *testing.T, r *repo.Repository, keys *sealtest.Keys, now time.Time, snapshots, segments int) {
	t.Helper()
	const timeline = "00000000000000a1"
	var group errgroup.Group
	group.SetLimit(32)
	put := func(key string, content []byte) error {
		_, err := r.Bucket().Create(t.Context(), key, strings.NewReader(string(content)))
		return err
	}
	day := now.Add(-24 * time.Hour)
	for i := range snapshots {
		group.Go(func() error {
			id := repo.ID{Time: day.Add(-time.Duration(snapshots-1-i) * 5 * time.Minute), Revision: int64(i + 1), Member: 0xa1}
			signed, err := repo.Sign(&repo.Manifest{
				Format: repo.ManifestFormat, ID: id.String(), Cluster: cluster, EtcdClusterID: "c1", Timeline: timeline,
				Member: repo.Member{ID: "a1", Name: "node1"}, CaptureStart: id.Time, CaptureEnd: id.Time.Add(time.Second), Revision: id.Revision, CompactRevision: -1,
				DBSize: 1000, Keys: 1, Revisions: 1, EtcdVersion: "3.7.3", HashKV: repo.HashKV{Revision: id.Revision, CompactRevision: -1},
				Plain:  repo.Plain{SHA256: strings.Repeat("ab", 32), Size: 1032},
				Object: repo.Object{Name: "snapshot.db.zst.age", SHA256: strings.Repeat("ab", 32), Size: 6, Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
				Drd:    repo.Build{Version: "test"},
			}, keys.Signer)
			if err != nil {
				return err
			}
			if err := put(r.PayloadKey(id, "snapshot.db.zst.age"), []byte("sealed")); err != nil {
				return err
			}
			if err := put(r.SignatureKey(id), signed.Signature); err != nil {
				return err
			}
			return put(r.ManifestKey(id), signed.Bytes)
		})
	}
	step := 24 * time.Hour / time.Duration(segments)
	for i := range segments {
		group.Go(func() error {
			revision := int64(snapshots + 1 + i)
			sum := sha256.Sum256([]byte(fmt.Sprint(i)))
			s := &repo.Segment{
				Kind: repo.SegmentKind, Format: repo.SegmentFormat, Cluster: cluster, EtcdClusterID: "c1", Timeline: timeline, Member: repo.Member{ID: "a1", Name: "node1"},
				First: revision, Last: revision, Events: 1, From: day.Add(time.Duration(i) * step), To: day.Add(time.Duration(i+1) * step), CompactRevision: -1,
				LastRevisionSHA256: strings.Repeat("cd", 32), Plain: repo.SegmentPlain{SHA256: hex.EncodeToString(sum[:]), Size: 2048}, Drd: repo.Build{Version: "test"},
				Object: repo.Object{SHA256: hex.EncodeToString(sum[:]), Size: 6, Envelope: "age-v1", Recipients: []string{"SHA256:x"}},
			}
			s.Object.Name = s.Name().String() + ".zst.age"
			signed, err := repo.SignSegment(s, keys.Signer)
			if err != nil {
				return err
			}
			if err := put(r.SegmentPayloadKey(s), []byte("sealed")); err != nil {
				return err
			}
			return put(r.SegmentRecordKey(s.Name()), signed.Record())
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}
