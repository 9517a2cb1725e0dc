//go:build soak

package replicate

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/targets"
	"github.com/drd-project/drd/test/servers"
)

// bucketOf starts a MinIO with a bucket, and returns the URL of a target in it.
func bucketOf(t *testing.T) (*servers.MinIO, string) {
	t.Helper()
	minio := servers.StartMinIO(t)
	minio.CreateBucket(t, "soak", false)
	options := url.Values{
		"endpoint": {minio.Endpoint}, "region": {minio.Region}, "path_style": {"true"},
		"ca_file": {minio.CAFile}, "credentials_file": {minio.CredentialsFile},
	}
	return minio, "s3://soak/drd?" + options.Encode()
}

// TestSoakKill is TestKilledAtRandom at length, with a bucket of MinIO as one of the targets.
func TestSoakKill(t *testing.T) {
	_, location := bucketOf(t)
	newSite(t, location).killAtRandom(t, 200, 400*time.Millisecond)
}

// TestSoakOutage archives ten segments a second and a snapshot every ten seconds, while MinIO is away for three quarters of the
// time, stopped first, then hanging. Then it gets everything, in a fraction of the time.
func TestSoakOutage(t *testing.T) {
	minio, location := bucketOf(t)
	n := newNode(t, 2)
	b, err := targets.OpenURL(t.Context(), location)
	n.must(err)
	r, err := repo.Open(b, cluster)
	n.must(err)
	n.cfg.Targets[0].Repo = r
	n.reopen()
	stop := n.start()
	defer stop()
	const count, snapshots = 1200, 12
	for i := range count {
		switch i {
		case 200:
			minio.Stop()
		case 600:
			minio.Start()
		case 700:
			minio.Pause()
		}
		n.follow(i)
		if i%100 == 0 {
			n.enqueue(i / 100)
		}
		if lag := (i + 1) - int(n.segments(1).Acked.Revision)/perPiece; lag > 50 {
			t.Fatalf("the healthy target lags %d segments behind", lag)
		}
		time.Sleep(100 * time.Millisecond)
	}
	waited, began := n.segments(0).Queued, time.Now()
	if waited < 400 {
		t.Errorf("only %d segments wait at the end of the outage", waited)
	}
	minio.Resume()
	n.q.Retry()
	n.until("nothing that waits", func() bool { return len(n.following()) == 0 && len(n.spooled()) == 0 })
	t.Logf("%d segments waited at the end of the outage, and are there %s later", waited, time.Since(began))
	stop()
	if got := archived(t, r, n.keys.Trust); !slices.Equal(got, upTo(count)) {
		t.Errorf("MinIO has %d segments of %d", len(got), count)
	}
	if got := restorable(t, r, n.keys.Trust); !slices.Equal(got, upTo(snapshots)) {
		t.Errorf("MinIO has the snapshots %v", got)
	}
	n.wantArchive(1, upTo(count)...)
	if got := append(n.losses(), n.holes()...); len(got) != 0 {
		t.Errorf("lost: %v", got)
	}
	n.clean()
}
