package s3_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drd-project/drd/test/servers"
)

// TestAuthorityRotates: ca_file is replaced while a Bucket is in use, and counts for the next request. A file that is not whole
// leaves the one before in force.
func TestAuthorityRotates(t *testing.T) {
	server := servers.StartVersityGW(t)
	server.CreateBucket(t, "authority", false)
	other := servers.NewCA(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	modified := time.Now()
	install := func(from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		modified = modified.Add(time.Second) // within the resolution of any clock
		if err == nil {
			err = os.Chtimes(file, modified, modified)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	install(other.CertFile())
	cfg := config(server.S3, "authority")
	cfg.CAFile = file
	b := open(t, cfg)
	stat := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, err := range b.List(ctx, "") {
			return err
		}
		return nil
	}
	if err := stat(); err == nil {
		t.Fatal("a server whose authority is not in ca_file is trusted")
	}
	install(server.CAFile)
	if err := stat(); err != nil {
		t.Fatalf("its authority is in ca_file now: %v", err)
	}
	install(empty)
	if err := stat(); err != nil {
		t.Errorf("while ca_file is being replaced: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := stat(); err != nil {
		t.Errorf("while ca_file is away: %v", err)
	}
	install(other.CertFile())
	if err := stat(); err == nil {
		t.Error("an authority that was taken out of ca_file is trusted still")
	}
}
