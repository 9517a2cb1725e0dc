package drill

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drd-project/drd/internal/restore"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/storage"
)

// TestSaysNothing: what the machine is to blame for is told from what the backup is.
func TestSaysNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	holder, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := holder.Close(); err != nil {
			t.Error(err)
		}
	})
	_, locked := bolt.Open(path, 0o600, &bolt.Options{Timeout: 10 * time.Millisecond})
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{locked, true},
		{context.Canceled, true},
		{storage.ErrStalled, true},
		{scratch.ErrStalled, true},
		{&restore.LocalError{Err: errors.New("no room")}, true},
		{unsuref("not found out"), true},
		{scratch.ErrRefused, false},
		{restore.ErrDiverged, false},
		{errors.New("timeout"), false},
	} {
		if got := saysNothing(fmt.Errorf("a check: %w", tc.err)); got != tc.want {
			t.Errorf("%v: %t", tc.err, got)
		}
	}
}
