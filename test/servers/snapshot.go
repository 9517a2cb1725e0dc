package servers

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// SaveSnapshot writes a snapshot to a file, as etcdctl snapshot save does, with the 32 bytes of SHA-256 behind the store. The file goes
// with the test.
func SaveSnapshot(tb testing.TB, client *clientv3.Client) (path string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "snapshot.db")
	if err := saveSnapshot(tb, client, path); err != nil {
		tb.Fatalf("save a snapshot: %v", err)
	}
	return path
}

func saveSnapshot(tb testing.TB, client *clientv3.Client, path string) error {
	stream, err := client.Snapshot(tb.Context())
	if err != nil {
		return err
	}
	defer stream.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, stream)
	return errors.Join(err, f.Close())
}
