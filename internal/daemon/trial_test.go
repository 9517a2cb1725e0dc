package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTryListen: what the daemon would not start with is found, and what it would start with is left as it was.
func TestTryListen(t *testing.T) {
	address := reserved(t)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := TryListen(t.Context(), address, ""); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken address: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := TryListen(t.Context(), address, ""); err != nil {
			t.Errorf("a free address: %v", err)
		}
	}
	garbage := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(garbage, []byte("tls_server_config: [s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := TryListen(t.Context(), address, garbage); err == nil || !strings.Contains(err.Error(), "web configuration") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a web configuration that is none: %v", err)
	}
	if err := TryHeartbeat(garbage); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a heartbeat file without URL: %v", err)
	}
	if err := os.WriteFile(garbage, []byte("https://example.org/s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := TryHeartbeat(garbage); err != nil {
		t.Errorf("a heartbeat file: %v", err)
	}
}
