package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/storage"
)

// Payload opens the sealed object of a manifest for reading, in several ranges at once where the
// bucket likes that. The reader checks what it hands out: in place of io.EOF it returns an error
// wrapping ErrDamaged when SHA-256 or size are not those of the manifest. Until io.EOF nothing is
// proved. A payload that is not there wraps storage.ErrNotExist. The reader must be closed.
func (r *Repository) Payload(ctx context.Context, m *Manifest) (io.ReadCloser, error) {
	id, err := r.owns(m)
	if err != nil {
		return nil, err
	}
	key := r.PayloadKey(id, m.Object.Name)
	obj, err := r.bucket.Stat(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("open payload of %s in %s: %w", m.ID, r.bucket.Location(), err)
	}
	if obj.Size != m.Object.Size {
		return nil, hint.New(fmt.Errorf("%s in %s: %w: %d bytes instead of %d",
			key, r.bucket.Location(), ErrDamaged, obj.Size, m.Object.Size), hintElsewhere)
	}
	return r.fetch(ctx, key, m.Object.Size, m.Object.SHA256), nil
}

// owns says which snapshot of this repository a manifest describes.
func (r *Repository) owns(m *Manifest) (ID, error) {
	if err := m.Validate(); err != nil {
		return ID{}, err
	}
	if m.Cluster != r.cluster {
		return ID{}, fmt.Errorf("manifest %s is of cluster %s, this is the repository of %s", m.ID, m.Cluster, r.cluster)
	}
	return ParseID(m.ID)
}

func (r *Repository) fetch(ctx context.Context, key string, size int64, sha256hex string) io.ReadCloser {
	src := storage.Fetch(ctx, r.bucket, key, size, r.bucket.Properties().Parallel, storage.DefaultChunk)
	return newChecked(src, key+" in "+r.bucket.Location(), hintElsewhere, size, sha256hex)
}

const (
	hintElsewhere = "choose another target or another snapshot: `drd list` shows them"
	hintLocal     = "check this host's disk, then take a new snapshot with `drd snapshot`"
)

// checked passes on what it reads and, at the end, compares it with what it should have been.
type checked struct {
	src  io.ReadCloser
	what string // for errors
	hint string // what to do when the content is not as expected
	size int64
	want string // hex SHA-256

	sum hash.Hash
	n   int64
	err error // sticky
}

func newChecked(src io.ReadCloser, what, hint string, size int64, sha256hex string) *checked {
	return &checked{src: src, what: what, hint: hint, size: size, want: sha256hex, sum: sha256.New()}
}

func (c *checked) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.src.Read(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	switch {
	case c.n > c.size:
		err = c.damaged("more than %d bytes", c.size)
	case err == io.EOF: //nolint:errorlint // the end is io.EOF itself; an error that wraps it is a failure
		err = c.verdict()
	}
	c.err = err
	return n, err
}

// verdict is io.EOF for the content that was expected.
func (c *checked) verdict() error {
	if c.n != c.size {
		return c.damaged("%d bytes instead of %d", c.n, c.size)
	}
	if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.want {
		return c.damaged("SHA-256 is %s instead of %s", got, c.want)
	}
	return io.EOF
}

func (c *checked) damaged(format string, args ...any) error {
	return hint.New(fmt.Errorf("%s: %w: %s", c.what, ErrDamaged, fmt.Sprintf(format, args...)), "%s", c.hint)
}

func (c *checked) Close() error { return c.src.Close() }
