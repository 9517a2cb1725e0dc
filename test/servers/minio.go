package servers

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/drd-project/drd/test/planted"
)

// MinIO is a MinIO server with one drive. It can encrypt objects (SSE-S3 and SSE-KMS, with the key "drd-test").
type MinIO struct{ *S3 }

// StartMinIO starts MinIO and waits until it serves requests.
func StartMinIO(tb testing.TB, opts ...S3Option) *MinIO {
	tb.Helper()
	opts = append([]S3Option{WithEnv(
		"MINIO_BROWSER=off",    // no console, which would take another port
		"MINIO_UPDATE=off",     // no look for newer versions on the network
		"MINIO_CI_CD=1",        // takes a directory on the root file system for its drive
		"MINIO_REGION="+region, // what clients sign for
		"MINIO_KMS_SECRET_KEY=drd-test:"+base64.StdEncoding.EncodeToString(planted.Bytes()),
	)}, opts...)
	s := newS3(tb, "minio", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", opts)
	s.ready = s.knowsUsers

	certs, data := minioCerts(tb, s.ca), tb.TempDir()
	if s.drive > 0 {
		s.mount(data, s.drive)
	}
	s.launchOn(tb, func(addr string) []string {
		return []string{"server", "--quiet", "--address", addr, "--certs-dir", certs, data}
	})
	return &MinIO{s}
}

// knowsUsers is the test for being ready: MinIO serves its owner's requests before it has loaded its users, and until then it cannot tell
// keys that it does not know from others.
func (s *S3) knowsUsers(ctx context.Context) error {
	if err := s.listsBuckets(ctx); err != nil {
		return err
	}
	stranger := *s
	stranger.AccessKey = "stranger"
	err := stranger.listsBuckets(ctx)
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "InvalidAccessKeyId" {
		return nil
	}
	return fmt.Errorf("somebody whom it does not know is told: %w", err)
}

// WithDrive gives MinIO a drive of so many bytes. It is in memory, and empty again when the server is started again.
func WithDrive(size int64) S3Option { return func(s *s3Setup) { s.drive = size } }

// Rekey restarts MinIO with other keys, as its operator does to revoke the ones before. CredentialsFile keeps those until
// the test calls WriteCredentials.
func (m *MinIO) Rekey() {
	m.tb.Helper()
	m.Stop()
	m.newKeys()
	m.env = append(m.env, "MINIO_ROOT_USER="+m.AccessKey, "MINIO_ROOT_PASSWORD="+m.SecretKey) // the last one counts
	m.Start()
}

// minioCerts lays out a certificate the way MinIO wants to find it.
func minioCerts(tb testing.TB, ca *CA) string {
	tb.Helper()
	dir := tb.TempDir()
	cert, key := ca.Issue(tb, "minio")
	for from, to := range map[string]string{cert: "public.crt", key: "private.key"} {
		if err := os.Rename(from, filepath.Join(dir, to)); err != nil {
			tb.Fatalf("place certificate for MinIO: %v", err)
		}
	}
	return dir
}
