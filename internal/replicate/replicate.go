// Package replicate brings one sealed snapshot to one target and proves that it is there.
//
// The order is fixed: payload, then signature and manifest (the commit), then the read-back. What
// the store accepted is not yet a copy: Prove downloads the object, compares its SHA-256, decrypts it with the
// retained file key and decompresses it to the last byte. No identity is needed for that, so a
// node proves what it wrote while it holds public keys only.
package replicate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// Target is one place that gets every snapshot.
type Target struct {
	Name string
	Repo *repo.Repository
	// ReadBack says whether Prove reads every byte, or is content with what the store says of its own copy.
	ReadBack bool
}

// Payload is a sealed object on the local disk.
type Payload struct {
	ID     repo.ID
	Name   string // "snapshot.db.zst.age"
	Path   string
	Size   int64  // bytes
	SHA256 string // hex
}

// Upload stores the payload. It may be repeated; an equal object that is there already is success.
func (t Target) Upload(ctx context.Context, p Payload) error {
	open := func() (io.ReadCloser, error) { return os.Open(p.Path) }
	if _, err := t.Repo.PutPayload(ctx, p.ID, p.Name, open, p.Size, p.SHA256); err != nil {
		return fmt.Errorf("upload to %s: %w", t.Name, err)
	}
	return nil
}

// Commit stores signature and manifest: from then on the snapshot exists in the target.
func (t Target) Commit(ctx context.Context, s *repo.Signed) error {
	if err := t.Repo.Commit(ctx, s); err != nil {
		return fmt.Errorf("commit to %s: %w", t.Name, err)
	}
	return nil
}

// Prove reads back what the target holds. Without ReadBack it compares size, and SHA-256 where the store keeps one.
func (t Target) Prove(ctx context.Context, m *repo.Manifest, key seal.FileKey) error {
	err := t.compare(ctx, m)
	if t.ReadBack {
		err = t.readBack(ctx, m, key)
	}
	if err != nil {
		return hint.New(fmt.Errorf("read back from %s: %w", t.Name, err), "do not count on this copy; run `drd check`, and take another snapshot")
	}
	return nil
}

func (t Target) compare(ctx context.Context, m *repo.Manifest) error {
	id, err := repo.ParseID(m.ID)
	if err != nil {
		return err
	}
	obj, err := t.Repo.Bucket().Stat(ctx, t.Repo.PayloadKey(id, m.Object.Name))
	if err != nil {
		return err
	}
	if obj.Size != m.Object.Size || (obj.SHA256 != "" && obj.SHA256 != m.Object.SHA256) {
		return fmt.Errorf("%s: %w", obj.Key, repo.ErrDamaged)
	}
	return nil
}

// readBack proves the copy. Three things together say that the plaintext is the snapshot that was taken: the object's
// SHA-256, the checksum that zstd keeps of the plaintext, and the snapshot's own length and trailer. Hashing the
// plaintext once more would say nothing new and cost more than all of them.
func (t Target) readBack(ctx context.Context, m *repo.Manifest, key seal.FileKey) (err error) {
	object, err := t.Repo.Payload(ctx, m)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	format, err := seal.FormatByName(m.Object.Envelope)
	if err != nil {
		return err
	}
	plain, err := format.Open(object, []age.Identity{key.Identity()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	end := &lastBytes{}
	n, err := io.CopyBuffer(end, plain, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if n != m.Plain.Size || hex.EncodeToString(end.tail) != m.Plain.SHA256 {
		return fmt.Errorf("%s: %w: its content is not the snapshot of the manifest", m.ID, repo.ErrDamaged)
	}
	// The envelope may end before the object does; only at the object's end is its SHA-256 known.
	if _, err := io.Copy(io.Discard, object); err != nil {
		return err
	}
	return nil
}

// lastBytes keeps the last 32 bytes written to it: the snapshot's trailer.
type lastBytes struct{ tail []byte }

func (l *lastBytes) Write(p []byte) (int, error) {
	const size = 32
	l.tail = append(l.tail, p[max(0, len(p)-size):]...)
	l.tail = append(l.tail[:0], l.tail[max(0, len(l.tail)-size):]...)
	return len(p), nil
}
