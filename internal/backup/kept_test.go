package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/drd-project/drd/internal/disk"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage/dir"
)

// TestKeptCopy: the newest snapshot stays on the node after every target has it: sealed, whole, and openable with the
// identity and nothing else, in a repository of its own.
func TestKeptCopy(t *testing.T) {
	n := newNode(t, 2)
	n.cfg.Keep = 1
	n.mustRun()
	n.put(strings.Repeat(secret, 3))
	result := n.mustRun()
	if result.Spooled != "" {
		t.Errorf("a kept copy is told as one that waits: %q", result.Spooled)
	}
	if got := n.spooled(); !slices.Equal(got, []string{result.Manifest.ID + " ok"}) {
		t.Errorf("the spool holds %q, want %s", got, result.Manifest.ID)
	}
	if got := files(t, filepath.Join(n.state, "work")); len(got) != 0 {
		t.Errorf("left in the working directory: %q", got)
	}
	n.noPlaintext()
	if plain := n.openKept(result.Manifest); int64(len(plain)) != result.Manifest.Plain.Size || !bytes.Contains(plain, []byte(secret)) {
		t.Errorf("the kept copy opens to %d bytes, want %d with the values of the store", len(plain), result.Manifest.Plain.Size)
	}
}

// grown is a member that seems to have a large database when it is asked for the first time.
type grown struct {
	*etcd.Client
	size  int64
	asked atomic.Int32
}

// Status is that of the member, but for the size.
func (g *grown) Status(ctx context.Context) (etcd.Status, error) {
	status, err := g.Client.Status(ctx)
	if g.asked.Add(1) == 1 {
		status.DBSize = g.size
	}
	return status, err
}

// TestKeptCopyMakesRoom on a disk that is too small for it and a new snapshot, and only if that is enough. The kept copy
// is made to look large: what a disk of this machine has free is not for a test to say.
func TestKeptCopyMakesRoom(t *testing.T) {
	const copySize = 1 << 40 // of a file without content
	for name, c := range map[string]struct {
		missing int64
		goes    bool
	}{"enough": {copySize / 2, true}, "not enough": {2 * copySize, false}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1)
			n.cfg.Keep = 2
			kept := n.mustRun().Manifest
			payload := filepath.Join(n.state, "spool", cluster, "snapshots", kept.ID, kept.Object.Name)
			n.cfg.SpoolMax = 4 * copySize
			if err := os.Truncate(payload, copySize); err != nil {
				t.Fatal(err)
			}
			free, err := disk.Free(n.state)
			if err != nil {
				t.Fatal(err)
			}
			// With the bucket down nothing tidies the spool, so that what is gone has made room.
			n.buckets[0].SetDown(errors.New("down"))
			_, _ = n.run(t.Context(), &grown{Client: n.member, size: (free + c.missing) / 2})
			if went := strings.Contains(n.log.String(), "a kept copy makes room for a snapshot"); went != c.goes {
				t.Errorf("the kept copy made room: %v, want %v", went, c.goes)
			}
			if got := n.spooled(); len(got) == 0 || !strings.HasSuffix(got[len(got)-1], " ok") {
				t.Errorf("the spool holds %q, want the new snapshot", got)
			}
		})
	}
}

// openKept is the content of a kept snapshot.
func (n *node) openKept(m *repo.Manifest) []byte {
	n.t.Helper()
	bucket, err := dir.Open(filepath.Join(n.state, "spool"), dir.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	r, err := repo.Open(bucket, cluster)
	if err != nil {
		n.t.Fatal(err)
	}
	object, err := r.Payload(n.t.Context(), m)
	if err != nil {
		n.t.Fatal(err)
	}
	defer object.Close()
	plain, err := seal.Default().Open(object, n.keys.Identities)
	if err != nil {
		n.t.Fatal(err)
	}
	b, err := io.ReadAll(plain)
	if err != nil {
		n.t.Fatal(err)
	}
	return b
}
