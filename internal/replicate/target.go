package replicate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/drd-project/drd/internal/repo"
)

// Target is one place that gets every snapshot and segment.
type Target struct {
	Name string
	Repo *repo.Repository
	// ReadBack says whether Prove reads every byte, or is content with what the store says of its own copy.
	ReadBack bool
}

// Payload is a sealed object on the local disk.
type Payload struct {
	ID     repo.ID // of the snapshot
	Name   string  // "snapshot.db.zst.age"
	Path   string
	Size   int64  // bytes
	SHA256 string // hex
}

// Outcome is what became of a snapshot in one target.
type Outcome struct {
	Target   string
	Location string        // of the bucket
	Proved   time.Duration // from the start of the capture until the copy was read back; 0 if it was not
	Commit   time.Duration // from the start of the capture until the manifest was there; 0 if it is not
	Err      error
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

// Store brings a segment, whose sealed object is at path: the object, then the record that commits it. It may be repeated;
// equal objects that are there already are success.
func (t Target) Store(ctx context.Context, s *repo.SignedSegment, path string) error {
	if err := t.Repo.PutSegment(ctx, s, func() (io.ReadCloser, error) { return os.Open(path) }); err != nil {
		return fmt.Errorf("upload to %s: %w", t.Name, err)
	}
	return nil
}

// check reads the local copy.
func (p Payload) check() (err error) {
	f, err := os.Open(p.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err == nil && (n != p.Size || hex.EncodeToString(sum.Sum(nil)) != p.SHA256) {
		err = fmt.Errorf("%s: %w", p.Path, repo.ErrDamaged)
	}
	return err
}
