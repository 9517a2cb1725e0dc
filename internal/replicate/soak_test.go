//go:build soak

package replicate

import (
	"net/url"
	"testing"
	"time"

	"github.com/drd-project/drd/test/servers"
)

// TestSoakKill is TestKilledAtRandom at length, with a bucket of MinIO as one of the targets.
func TestSoakKill(t *testing.T) {
	minio := servers.StartMinIO(t)
	minio.CreateBucket(t, "soak", false)
	options := url.Values{
		"endpoint": {minio.Endpoint}, "region": {minio.Region}, "path_style": {"true"},
		"ca_file": {minio.CAFile}, "credentials_file": {minio.CredentialsFile},
	}
	s := newSite(t, "s3://soak/drd?"+options.Encode())
	s.killAtRandom(t, 200, 400*time.Millisecond)
}
