package prune

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/test/servers"
)

// TestMinIOArchive prunes the archive in buckets of a real server: what is old and what was merged, with credentials that cannot delete,
// and in a versioned bucket.
func TestMinIOArchive(t *testing.T) {
	server := servers.StartMinIO(t, servers.WithCA(servers.NewCA(t)))
	t.Run("plain", func(t *testing.T) { pruneArchive(t, server, "archive", false) })
	t.Run("object lock", func(t *testing.T) { pruneArchive(t, server, "versioned", true) })
	t.Run("credentials that cannot delete", func(t *testing.T) {
		server.CreateBucket(t, "refused", false)
		p := in(t, inBucket(t, server.S3, "refused", server.Session(t, mayNotDelete)))
		p.every(6*time.Hour, 3)
		p.segments(time.Hour, 12)
		p.now = p.now.Add(time.Hour)
		before := p.keys()
		results := p.plan(within(2 * time.Hour)).Run(t.Context())
		if results.Count(Failed) != 1 || results.Count(NotTried) != len(results)-1 || len(results) < 5 {
			t.Errorf("%s", results)
		}
		if diff := cmp.Diff(before, p.keys()); diff != "" {
			t.Error(diff)
		}
	})
}

func pruneArchive(t *testing.T, server *servers.MinIO, bucket string, lock bool) {
	server.CreateBucket(t, bucket, lock)
	p := in(t, inBucket(t, server.S3, bucket, server.CredentialsFile))
	p.every(6*time.Hour, 5) // 25 h to 1 h ago
	small := p.segments(time.Hour, 24)
	merged := p.merge(small[14:18]...)
	p.now = p.now.Add(20 * time.Minute) // the store has its own clock
	results := p.plan(within(14*time.Hour + 20*time.Minute)).Run(t.Context())
	if results.Err() != nil || results.Count(Deleted) != len(results) {
		t.Fatalf("%s, %v", results, results.Err())
	}
	// The base is of 19 h ago, six segments are before it.
	p.now = p.now.Add(-20 * time.Minute)
	if diff := cmp.Diff(names(append(append(small[6:14:14], small[18:]...), merged)...), p.archived()); diff != "" {
		t.Error(diff)
	}
	p.reaches(14 * time.Hour)
	if got := len(p.keys()); got != 2*(8+6+1)+3*4 {
		t.Errorf("%d objects are left: %q", got, p.keys())
	}
}
