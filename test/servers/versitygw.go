package servers

import (
	"os"
	"path/filepath"
	"testing"
)

// VersityGW is the Versity S3 gateway over a directory. Buckets can have versions and Object Lock.
type VersityGW struct{ *S3 }

// StartVersityGW starts the gateway and waits until it serves requests.
func StartVersityGW(tb testing.TB, opts ...S3Option) *VersityGW {
	tb.Helper()
	s := newS3(tb, "versitygw", "ROOT_ACCESS_KEY", "ROOT_SECRET_KEY", opts)

	dir := tb.TempDir()
	data, versions, meta := filepath.Join(dir, "data"), filepath.Join(dir, "versions"), filepath.Join(dir, "meta")
	for _, d := range []string{data, versions, meta} {
		if err := os.Mkdir(d, 0o700); err != nil {
			tb.Fatalf("make directories for versitygw: %v", err)
		}
	}
	cert, key := s.ca.Issue(tb, "versitygw")
	s.launchOn(tb, func(addr string) []string {
		return []string{
			"--port", addr, "--region", region, "--cert", cert, "--key", key, "--quiet",
			"posix", "--versioning-dir", versions,
			"--sidecar", meta, // not in extended attributes, which not every file system for temporary files has
			data,
		}
	})
	return &VersityGW{s}
}
